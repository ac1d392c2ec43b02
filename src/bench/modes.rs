//! The course of a run: open, warm up, measure, wait for the last, report.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::load::Load;
use super::pace::Pace;
use super::process::Process;
use super::report::{per_each, per_sec};
use super::{Mode, Plan, Report, Stop};

/// Connections before those whose cost is measured.
const FIRST: usize = 16;
/// Before it is measured, a load runs for so long.
const WARM_UP: Duration = Duration::from_millis(500);
/// When nothing has come for so long, nothing more will.
const LAST_MAX: Duration = Duration::from_secs(10);
/// So long is looked for what became of those who never read.
const SLOW_MAX: Duration = Duration::from_secs(10);
/// After the last handshake the server has this much time to tidy up before its memory is looked at.
const SETTLE: Duration = Duration::from_millis(500);
/// A rate without end.
const FOREVER: Duration = Duration::from_secs(1 << 32);

/// How far a run is, for those who wait.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What is being done.
    pub what: &'static str,
    /// How much of it is done.
    pub done: u64,
    /// How much of it there is.
    pub of: u64,
}

/// Makes a run. `progress` is called some ten times a second.
///
/// # Errors
///
/// The run did not come to its end; what was found so far is worth nothing.
pub fn run(plan: &Plan, progress: &mut dyn FnMut(Progress)) -> Result<Report, Stop> {
    plan.check()?;
    raise_descriptors(plan.descriptors())?;
    let process = plan.pid.map(Process::new).transpose()?;
    let mut run =
        Run { plan, process, load: Load::new(plan)?, report: Report::default(), progress };
    // The first ones make the server touch code and tables that are there for all.
    let first = (plan.listeners / 2).min(FIRST);
    run.connect(first, "connecting")?;
    let before = run.rss_bytes()?;
    run.connect(plan.listeners - first, "connecting")?;
    match plan.mode {
        Mode::Idle => run.wait(plan.secs, "idle")?,
        _ => run.wait(SETTLE, "settling")?,
    }
    if let (Some(before), Some(after)) = (before, run.rss_bytes()?) {
        let added = after as f64 - before as f64;
        run.report.rss_bytes_per_connection = per_each(added, (plan.listeners - first) as u64);
    }
    match plan.mode {
        Mode::Idle => {}
        Mode::Throughput => run.speak(Pace::Window(plan.window))?,
        Mode::Latency | Mode::Slow => run.speak(run.rate())?,
        Mode::Storm => run.storm()?,
    }
    run.finish()
}

struct Run<'a> {
    plan: &'a Plan,
    process: Option<Process>,
    load: Load,
    report: Report,
    progress: &'a mut dyn FnMut(Progress),
}

impl Run<'_> {
    fn rate(&self) -> Pace {
        Pace::rate(self.plan.rate, self.load.now_ns(), FOREVER)
    }

    /// Opens `count` more connections, and notes what that takes.
    fn connect(&mut self, count: usize, what: &'static str) -> Result<(), Stop> {
        let (begin, cpu) = (self.load.now_ns(), self.cpu_ns()?);
        let all = self.load.open() + count;
        self.load.want_more(count);
        self.until(u64::MAX, what, |load| ((load.open() + count - all) as u64, count as u64))?;
        self.report.connects_per_sec = per_sec(count as u64, self.since(begin));
        if let (Some(before), Some(after)) = (cpu, self.cpu_ns()?) {
            let us = (after - before) as f64 / 1e3;
            self.report.cpu_us_per_connection = per_each(us, count as u64);
        }
        Ok(())
    }

    /// Messages flow, are measured once they flow evenly, and end.
    fn speak(&mut self, pace: Pace) -> Result<(), Stop> {
        self.load.pace = pace;
        self.wait(WARM_UP, "warming up")?;
        self.measure(self.plan.secs, "measuring")
    }

    fn measure(&mut self, length: Duration, what: &'static str) -> Result<(), Stop> {
        let (begin, cpu) = (self.load.now_ns(), self.cpu_ns()?);
        let deliveries = self.load.tally.deliveries;
        self.load.tally.watched = begin..u64::MAX;
        self.wait(length, what)?;
        let deliveries = self.load.tally.deliveries - deliveries;
        self.report.deliveries_per_sec = per_sec(deliveries, self.since(begin));
        if let (Some(before), Some(after)) = (cpu, self.cpu_ns()?) {
            self.report.cpu_ns_per_delivery = per_each((after - before) as f64, deliveries);
        }
        Ok(())
    }

    /// Listeners hear messages at a fixed rate, first in calm, then while the storm lasts.
    fn storm(&mut self) -> Result<(), Stop> {
        self.speak(self.rate())?;
        let calm_ns_per_delivery = self.report.cpu_ns_per_delivery;
        self.hush()?;
        let (begin, cpu) = (self.load.now_ns(), self.cpu_ns()?);
        let (deliveries, heard) = (self.load.tally.deliveries, self.load.tally.heard());
        self.load.tally.latencies.reset();
        self.load.tally.watched = begin..u64::MAX;
        self.load.pace = self.rate();
        self.connect(self.plan.storm, "storm")?;
        // However short it was, a message falls into it, and is heard.
        let next = Duration::from_secs_f64(1.0 / self.plan.rate) + LAST_MAX;
        let end = begin + next.as_nanos() as u64;
        self.until(end, "storm", |load| (load.tally.latencies.len().min(1), 1))?;
        let deliveries = self.load.tally.deliveries - deliveries;
        self.report.deliveries_per_sec = per_sec(deliveries, self.since(begin));
        self.hush()?;
        // The guests hear it as well, at their leisure.
        self.wait(SETTLE, "settling")?;
        if let (Some(ns), Some(before), Some(after)) = (calm_ns_per_delivery, cpu, self.cpu_ns()?) {
            // What the messages cost is not the storm's.
            let heard = self.load.tally.heard() - heard;
            let us = ((after - before) as f64 - ns * heard as f64) / 1e3;
            self.report.cpu_us_per_connection = per_each(us, self.plan.storm as u64);
        }
        Ok(())
    }

    /// No more messages; the last ones arrive, or never will.
    fn hush(&mut self) -> Result<(), Stop> {
        self.load.pace = Pace::Silent;
        let left = self.load.ledger.on_the_way() as u64;
        let gone = |load: &Load| (left - load.ledger.on_the_way() as u64, left);
        loop {
            let deliveries = self.load.tally.deliveries;
            let end = self.load.now_ns() + LAST_MAX.as_nanos() as u64;
            self.until(end, "the last ones", gone)?;
            if self.load.ledger.on_the_way() == 0 || self.load.tally.deliveries == deliveries {
                return Ok(());
            }
        }
    }

    /// What is still on its way is waited for, and all is summed up.
    fn finish(mut self) -> Result<Report, Stop> {
        self.hush()?;
        if self.plan.slow > 0 {
            self.load.wake_slow()?;
            let end = self.load.now_ns() + SLOW_MAX.as_nanos() as u64;
            let slow = self.plan.slow as u64;
            self.until(end, "the slow ones", |load| (load.tally.slow_closed, slow))?;
        }
        let Self { load, mut report, .. } = self;
        report.set_latencies(&load.tally.latencies);
        report.set_faults(load.ledger.close());
        report.closed = load.tally.closed;
        report.slow_closed = load.tally.slow_closed;
        Ok(report)
    }

    fn wait(&mut self, length: Duration, what: &'static str) -> Result<(), Stop> {
        let begin = self.load.now_ns();
        let length_ns = length.as_nanos() as u64;
        let done = |load: &Load| ((load.now_ns() - begin) / 1_000_000, length_ns / 1_000_000);
        self.until(begin + length_ns, what, done)
    }

    /// Turns until the time is over, or `done` says that all of its parts are.
    fn until(
        &mut self,
        end_ns: u64,
        what: &'static str,
        done: impl Fn(&Load) -> (u64, u64),
    ) -> Result<(), Stop> {
        const SHOW_EVERY_NS: u64 = 100_000_000;
        let mut shown_ns = 0;
        loop {
            let now = self.load.now_ns();
            let (done, of) = done(&self.load);
            if now >= shown_ns + SHOW_EVERY_NS {
                shown_ns = now;
                (self.progress)(Progress { what, done, of });
            }
            if done >= of || now >= end_ns {
                return Ok(());
            }
            self.load.turn(end_ns)?;
        }
    }

    fn since(&self, begin_ns: u64) -> Duration {
        Duration::from_nanos(self.load.now_ns() - begin_ns)
    }

    fn cpu_ns(&self) -> Result<Option<u64>, Stop> {
        self.process.map(Process::cpu_ns).transpose()
    }

    fn rss_bytes(&self) -> Result<Option<u64>, Stop> {
        self.process.map(Process::rss_bytes).transpose()
    }
}

/// Lets this process have as many descriptors as the run needs.
fn raise_descriptors(needed: u64) -> Result<(), Stop> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < needed) {
        if maximum.is_some_and(|maximum| maximum < needed) {
            let limit = format!(
                "it needs {needed} open files and may have {} (raise the hard limit: ulimit -Hn)",
                maximum.unwrap_or_default()
            );
            return Err(Stop::Machine { open: 0, limit });
        }
        let raised = Rlimit { current: Some(needed), maximum };
        setrlimit(Resource::Nofile, raised).map_err(std::io::Error::from)?;
    }
    Ok(())
}

//! The phases of a run: connect, warm up, measure, drain, report.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::BenchError;
use super::load::Load;
use super::options::{Mode, Options};
use super::process::Process;
use super::report::{Report, p99_us, per_each, per_sec, rounded};
use super::schedule::Schedule;

/// Connections that are opened before the cost of others is measured: they make the
/// server load code and tables that all share.
const FIRST: usize = 16;
/// Time before a load is measured.
const WARM_UP: Duration = Duration::from_millis(500);
/// After this time without a delivery, messages in flight are lost.
const DRAIN: Duration = Duration::from_secs(10);
/// Time in which slow listeners must be seen to be closed.
const SLOW_MAX: Duration = Duration::from_secs(10);
/// Time after the last handshake before the server's memory is measured.
const SETTLE: Duration = Duration::from_millis(500);

/// Measures a server. `progress` is called some ten times per second, with the name of
/// the phase, how much of it is done, and how much there is.
///
/// # Errors
///
/// The run did not finish, so there are no results.
pub fn run(
    options: &Options,
    progress: &mut dyn FnMut(&'static str, u64, u64),
) -> Result<Report, BenchError> {
    options.check()?;
    raise_descriptors(options.descriptors())?;
    let process = options.pid.map(Process::new).transpose()?;
    let load = Load::new(options)?;
    let mut run = Run { options, process, load, report: Report::default(), progress };
    let first = (options.listeners / 2).min(FIRST);
    run.connect(first, "connecting")?;
    let before = run.rss_bytes()?;
    run.connect(options.listeners - first, "connecting")?;
    match options.mode {
        Mode::Idle => run.wait(options.secs, "idle")?,
        _ => run.wait(SETTLE, "settling")?,
    }
    if let (Some(before), Some(after)) = (before, run.rss_bytes()?) {
        let added = after as f64 - before as f64;
        run.report.rss_bytes_per_connection = per_each(added, (options.listeners - first) as u64);
    }
    match options.mode {
        Mode::Idle => {}
        Mode::Throughput => run.send(Schedule::Window(options.window))?,
        Mode::Latency | Mode::Slow => run.send(run.rate())?,
        Mode::Storm => run.storm()?,
        Mode::Resume => run.resume()?,
    }
    run.finish()
}

struct Run<'a> {
    options: &'a Options,
    process: Option<Process>,
    load: Load,
    report: Report,
    progress: &'a mut dyn FnMut(&'static str, u64, u64),
}

/// The counters at one moment.
struct Sample {
    at_ns: u64,
    cpu_ns: Option<u64>,
    deliveries: u64,
    /// Messages that any connection received.
    received: u64,
}

impl Sample {
    fn cpu_ns_since(&self, before: &Self) -> Option<f64> {
        Some(self.cpu_ns? as f64 - before.cpu_ns? as f64)
    }
}

impl Run<'_> {
    fn sample(&self) -> Result<Sample, BenchError> {
        let counts = &self.load.counts;
        Ok(Sample {
            at_ns: self.load.now_ns(),
            cpu_ns: self.process.map(Process::cpu_ns).transpose()?,
            deliveries: counts.deliveries,
            received: counts.deliveries + counts.storm_deliveries,
        })
    }

    fn rate(&self) -> Schedule {
        Schedule::rate(self.options.rate, self.load.now_ns())
    }

    /// Opens `count` more connections and measures that.
    fn connect(&mut self, count: usize, phase: &'static str) -> Result<(), BenchError> {
        let before = self.sample()?;
        let had = self.load.open();
        self.load.open_more(count);
        self.until(u64::MAX, phase, |load| ((load.open() - had) as u64, count as u64))?;
        let (now, count) = (self.sample()?, count as u64);
        self.report.connects_per_sec = per_sec(count, now.at_ns - before.at_ns);
        let cpu_ns = now.cpu_ns_since(&before);
        self.report.cpu_us_per_connection = cpu_ns.and_then(|ns| per_each(ns / 1e3, count));
        Ok(())
    }

    /// Sends messages and measures their delivery.
    fn send(&mut self, schedule: Schedule) -> Result<(), BenchError> {
        self.load.schedule = schedule;
        self.wait(WARM_UP, "warming up")?;
        let before = self.sample()?;
        self.load.counts.measured_from_ns = before.at_ns;
        self.wait(self.options.secs, "measuring")?;
        let now = self.sample()?;
        let deliveries = now.deliveries - before.deliveries;
        self.report.deliveries_per_sec = per_sec(deliveries, now.at_ns - before.at_ns);
        let cpu_ns = now.cpu_ns_since(&before);
        self.report.cpu_ns_per_delivery = cpu_ns.and_then(|ns| per_each(ns, deliveries));
        Ok(())
    }

    /// Measures deliveries at a fixed rate, first without and then with new connections.
    fn storm(&mut self) -> Result<(), BenchError> {
        self.send(self.rate())?;
        self.drain()?;
        let before = self.sample()?;
        self.load.counts.latencies.reset();
        self.load.counts.measured_from_ns = before.at_ns;
        self.load.schedule = self.rate();
        self.connect(self.options.storm, "storm")?;
        // However short the storm is, one message must be measured.
        self.until(self.next_delivery_ns(before.at_ns), "storm", measured)?;
        let now = self.sample()?;
        let deliveries = now.deliveries - before.deliveries;
        self.report.deliveries_per_sec = per_sec(deliveries, now.at_ns - before.at_ns);
        self.drain()?;
        // The new connections receive the messages later.
        self.wait(SETTLE, "settling")?;
        let now = self.sample()?;
        if let (Some(ns), Some(cpu_ns)) =
            (self.report.cpu_ns_per_delivery, now.cpu_ns_since(&before))
        {
            // Without the cost of the messages.
            let us = (cpu_ns - ns * (now.received - before.received) as f64) / 1e3;
            self.report.cpu_us_per_connection = per_each(us, self.options.storm as u64);
        }
        Ok(())
    }

    /// Cuts many listeners, and measures deliveries at a fixed rate while they are away and
    /// while they come back.
    fn resume(&mut self) -> Result<(), BenchError> {
        let count = self.options.storm;
        self.connect(count, "connecting")?;
        self.send(self.rate())?;
        self.drain()?;
        self.report.before_latency_p99_us = p99_us(&self.load.counts.latencies);
        let before = self.rss_peak_bytes()?;
        let had = self.load.tracker.end();
        self.load.cut();
        // The server must have seen it, and its work for that is no part of the calm.
        self.wait(SETTLE, "cutting")?;
        self.load.counts.latencies.reset();
        self.load.counts.measured_from_ns = self.load.now_ns();
        self.load.schedule = self.rate();
        self.wait(self.options.secs, "away")?;
        // However short the time is, something must be missed.
        self.until(u64::MAX, "away", |load| ((load.tracker.end() - had).min(1), 1))?;
        self.report.away_latency_p99_us = p99_us(&self.load.counts.latencies);

        let begin_ns = self.load.now_ns();
        self.load.counts.latencies.reset();
        self.load.counts.measured_from_ns = begin_ns;
        self.load.counts.resume_end = self.load.tracker.end();
        self.connect(count, "resuming")?;
        loop {
            let resumed = self.load.counts.resumed;
            let end_ns = self.load.now_ns() + DRAIN.as_nanos() as u64;
            self.until(end_ns, "resuming", |load| (load.counts.resumed, count as u64))?;
            if self.load.counts.resumed == count as u64 {
                let ms = (self.load.now_ns() - begin_ns) as f64 / 1e6;
                self.report.resume_ms = Some(rounded(ms));
                break;
            }
            if self.load.counts.resumed == resumed {
                break;
            }
        }
        // However short that was, one message must be measured.
        self.until(self.next_delivery_ns(begin_ns), "resuming", measured)?;
        self.drain()?;
        if let (Some(before), Some(now)) = (before, self.rss_peak_bytes()?) {
            self.report.rss_growth_bytes = Some(now - before);
        }
        Ok(())
    }

    /// When a message that is due after `begin_ns` must have been received.
    fn next_delivery_ns(&self, begin_ns: u64) -> u64 {
        let next = Duration::from_secs_f64(1.0 / self.options.rate) + DRAIN;
        begin_ns + next.as_nanos() as u64
    }

    /// Stops sending and waits until no message is in flight, or until the rest is lost.
    fn drain(&mut self) -> Result<(), BenchError> {
        self.load.schedule = Schedule::Stopped;
        let total = self.load.tracker.in_flight() as u64;
        let arrived = |load: &Load| (total - load.tracker.in_flight() as u64, total);
        loop {
            let deliveries = self.load.counts.deliveries;
            let end_ns = self.load.now_ns() + DRAIN.as_nanos() as u64;
            self.until(end_ns, "draining", arrived)?;
            if self.load.tracker.in_flight() == 0 || self.load.counts.deliveries == deliveries {
                return Ok(());
            }
        }
    }

    fn finish(mut self) -> Result<Report, BenchError> {
        self.drain()?;
        let slow = self.options.slow() as u64;
        if slow > 0 {
            self.load.watch_slow()?;
            let end_ns = self.load.now_ns() + SLOW_MAX.as_nanos() as u64;
            self.until(end_ns, "slow listeners", |load| (load.counts.slow_closed, slow))?;
        }
        let Self { load, mut report, .. } = self;
        report.set_latencies(&load.counts.latencies);
        report.errors = load.tracker.finish();
        report.closed = load.counts.closed;
        report.slow_closed = load.counts.slow_closed;
        Ok(report)
    }

    fn wait(&mut self, time: Duration, phase: &'static str) -> Result<(), BenchError> {
        let begin_ns = self.load.now_ns();
        let time_ns = time.as_nanos() as u64;
        let done = |load: &Load| ((load.now_ns() - begin_ns) / 1_000_000, time_ns / 1_000_000);
        self.until(begin_ns + time_ns, phase, done)
    }

    /// Runs the loop until `end_ns`, or until `done` returns two equal numbers: how much
    /// is done, and how much there is.
    fn until(
        &mut self,
        end_ns: u64,
        phase: &'static str,
        done: impl Fn(&Load) -> (u64, u64),
    ) -> Result<(), BenchError> {
        const SHOW_INTERVAL_NS: u64 = 100_000_000;
        let mut next_show_ns = 0;
        loop {
            let now_ns = self.load.now_ns();
            let (done, total) = done(&self.load);
            if now_ns >= next_show_ns {
                next_show_ns = now_ns + SHOW_INTERVAL_NS;
                (self.progress)(phase, done, total);
            }
            if done >= total || now_ns >= end_ns {
                return Ok(());
            }
            self.load.turn(end_ns)?;
        }
    }

    fn rss_peak_bytes(&self) -> Result<Option<u64>, BenchError> {
        self.process.map(Process::rss_peak_bytes).transpose()
    }

    fn rss_bytes(&self) -> Result<Option<u64>, BenchError> {
        self.process.map(Process::rss_bytes).transpose()
    }
}

/// Whether a latency was measured, for [`Run::until`].
fn measured(load: &Load) -> (u64, u64) {
    (load.counts.latencies.len().min(1), 1)
}

/// Raises this process's limit of open files, if it must.
fn raise_descriptors(needed: u64) -> Result<(), BenchError> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if let Some(maximum) = maximum.filter(|maximum| *maximum < needed) {
        let limit = format!(
            "the run needs {needed} open files and may open {maximum} (raise the hard limit: \
             ulimit -Hn)"
        );
        return Err(BenchError::Machine { open: 0, limit });
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum })
        .map_err(std::io::Error::from)?;
    Ok(())
}

//! Where log lines go: to the journal with their fields, or to stderr as text.
//! Nothing here waits for whoever reads them.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::panic;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use tracing::level_filters::LevelFilter;
use tracing::{Level, error};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use super::journal_entry::{JournalLayer, JournalSocket};
use super::log_queue::{LogQueue, Sink};

/// How long the last lines of the process may take.
const LAST_LINES_PATIENCE: Duration = Duration::from_secs(1);

/// A hold on the log that has been started.
#[derive(Clone, Debug)]
pub struct Log {
    level: reload::Handle<LevelFilter, Registry>,
}

/// Waits, when it is dropped, until all lines are written, for a bounded time.
#[derive(Debug)]
pub struct LastLines(LogQueue);

/// Starts the log for the whole process, at `level`; panics are logged too.
///
/// Under systemd that is the journal itself, so that fields stay fields and
/// have their priorities; otherwise stderr, coloured if it is a terminal.
///
/// # Errors
///
/// The system has no thread or descriptor left, or a log was started before.
pub fn start(level: Level) -> io::Result<(Log, LastLines)> {
    let (filter, handle) = reload::Layer::new(LevelFilter::from_level(level));
    let log = tracing_subscriber::registry().with(filter);
    let (queue, started) = match journal() {
        Some(journal) => {
            let queue = LogQueue::start(journal)?;
            (queue.clone(), log.with(JournalLayer::new(queue)).try_init())
        }
        None => {
            let queue = LogQueue::start(Stderr::open()?)?;
            (queue.clone(), log.with(text(queue)).try_init())
        }
    };
    started.map_err(io::Error::other)?;
    log_panics(queue.clone());
    Ok((Log { level: handle }, LastLines(queue)))
}

/// Writes `text` and a newline to stderr, for a process that is about to end:
/// it waits for whoever reads there, but not for ever.
pub fn last_words(text: &str) {
    let line = format!("{text}\n").into_bytes();
    match Stderr::open().and_then(LogQueue::start) {
        Ok(queue) => {
            queue.push(line);
            queue.finish(LAST_LINES_PATIENCE);
        }
        // There is no other place to report an error.
        Err(_) => drop(io::stderr().write_all(&line)),
    }
}

impl Log {
    /// Logs from now on what is at least as important as `level`.
    pub fn set_level(&self, level: Level) {
        // It can only fail when the log is gone, and then nobody reads it.
        let _ = self.level.modify(|filter| *filter = LevelFilter::from_level(level));
    }
}

impl Drop for LastLines {
    fn drop(&mut self) {
        self.0.finish(LAST_LINES_PATIENCE);
    }
}

/// A panic ends the process if it is in a shard; its message is written before.
fn log_panics(queue: LogQueue) {
    panic::set_hook(Box::new(move |info| {
        let (text, thread) = (info.to_string().replace('\n', " "), thread::current());
        error!("thread {} {text}", thread.name().unwrap_or("without a name"));
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            error!("{backtrace}");
        }
        queue.flush(LAST_LINES_PATIENCE);
    }));
}

/// The journal, if stderr goes there as well and its socket exists.
fn journal() -> Option<JournalSocket> {
    let ours = env::var_os("JOURNAL_STREAM").is_some_and(|stream| is_stderr(&stream));
    if ours { JournalSocket::open().ok() } else { None }
}

/// Whether `stream`, as systemd sets it (systemd.exec(5)), is what stderr is;
/// a shell inside a service inherits the variable, but has another stderr.
fn is_stderr(stream: &OsStr) -> bool {
    rustix::fs::fstat(io::stderr()).is_ok_and(|stat| {
        stream.to_str() == Some(format!("{}:{}", stat.st_dev, stat.st_ino).as_str())
    })
}

fn text<S>(queue: LogQueue) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
{
    let colours =
        io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // A message says all in words; the fields are for the journal's readers.
    let words = debug_fn(
        |out, field, value| {
            if field.name() == "message" { write!(out, "{value:?}") } else { Ok(()) }
        },
    );
    tracing_subscriber::fmt::layer()
        .fmt_fields(words)
        .with_writer(move || Lines(queue.clone()))
        .with_ansi(colours)
        .with_target(false)
}

/// Takes whole lines, as the text layer writes them.
struct Lines(LogQueue);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A descriptor of its own for stderr: while a write to std's blocks, everybody
/// else who uses that would wait for its lock.
struct Stderr(File);

impl Stderr {
    fn open() -> io::Result<Self> {
        Ok(Self(File::from(io::stderr().as_fd().try_clone_to_owned()?)))
    }
}

impl Sink for Stderr {
    fn write(&mut self, mut line: &[u8]) -> io::Result<()> {
        while !line.is_empty() {
            match self.0.write(line) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => line = line.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Somebody who shares it with us has made it non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], None)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn dropped(&self, count: u64) -> Vec<u8> {
        let mut time = String::new();
        // A line without its time is better than none.
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        format!("{time}  WARN {}\n", dropped_text(count)).into_bytes()
    }
}

/// What the log says of lines that are missing in it.
pub(super) fn dropped_text(count: u64) -> String {
    format!("{count} log lines were dropped, for nobody took them in time")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_lines_are_told_as_a_line_like_the_others() {
        let line = String::from_utf8(Stderr::open().unwrap().dropped(3)).unwrap();
        let (time, rest) = line.split_at(27);
        assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok(), "{line}");
        assert_eq!(rest, "  WARN 3 log lines were dropped, for nobody took them in time\n");
    }
}

//! Sets up the log: entries with fields in the journal, or lines of text on stderr. No
//! thread that logs waits for a reader.

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
use tracing::{Level, Metadata, error};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use super::journal::{JournalLayer, JournalSocket};
use super::log_queue::{LogQueue, LogWriter, dropped_text};

/// How long the process waits at its end until all lines are written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Changes the level of the log.
pub struct LogLevel(reload::Handle<LevelFilter, Registry>);

/// Waits when dropped, for a bounded time, until all lines are written.
pub struct FlushOnDrop(LogQueue);

/// Starts the log of the process at `level`, and logs panics as well. Fails if the
/// system has no thread or descriptor left, or a log was started before.
pub fn start(level: Level) -> io::Result<(LogLevel, FlushOnDrop)> {
    let (filter, handle) = reload::Layer::new(LevelFilter::from_level(level));
    let log = tracing_subscriber::registry().with(filter).with(filter_fn(is_wanted));
    let (queue, started) = match journal() {
        Some(journal) => {
            let queue = LogQueue::start(journal)?;
            (queue.clone(), log.with(JournalLayer(queue)).try_init())
        }
        None => {
            let queue = LogQueue::start(Stderr::open()?)?;
            (queue.clone(), log.with(text(queue)).try_init())
        }
    };
    started.map_err(io::Error::other)?;
    log_panics(queue.clone());
    Ok((LogLevel(handle), FlushOnDrop(queue)))
}

/// Writes `text` and a newline to stderr before the process ends, and waits for a reader
/// for a bounded time.
pub fn write_last_line(text: &str) {
    let line = format!("{text}\n").into_bytes();
    match Stderr::open().and_then(LogQueue::start) {
        Ok(queue) => {
            queue.push(line);
            queue.finish(FLUSH_TIMEOUT);
        }
        // There is no other place to report an error.
        Err(_) => drop(io::stderr().write_all(&line)),
    }
}

impl LogLevel {
    pub fn set(&self, level: Level) {
        // This fails only if the log is gone.
        let _ = self.0.modify(|filter| *filter = LevelFilter::from_level(level));
    }
}

impl Drop for FlushOnDrop {
    fn drop(&mut self) {
        self.0.finish(FLUSH_TIMEOUT);
    }
}

/// async-nats reports every event of a connection; `cluster` reports what matters.
fn is_wanted(metadata: &Metadata<'_>) -> bool {
    !metadata.target().starts_with("async_nats")
}

/// Logs a panic before it may abort the process, as one in a shard does.
fn log_panics(queue: LogQueue) {
    panic::set_hook(Box::new(move |info| {
        let (text, thread) = (info.to_string().replace('\n', " "), thread::current());
        error!("thread {} {text}", thread.name().unwrap_or("without a name"));
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            error!("{backtrace}");
        }
        queue.wait(FLUSH_TIMEOUT);
    }));
}

/// The journal, if stderr is connected to it and its socket exists.
fn journal() -> Option<JournalSocket> {
    if is_journal_stderr() { JournalSocket::open().ok() } else { None }
}

/// Whether stderr is connected to the journal, as that of a unit is.
pub fn is_journal_stderr() -> bool {
    env::var_os("JOURNAL_STREAM").is_some_and(|stream| is_stderr(&stream))
}

/// Whether `stream`, as systemd sets it (systemd.exec(5)), identifies stderr. A shell in a
/// service inherits the variable, but may have another stderr.
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
    // The message has the values of all fields in words.
    let message =
        debug_fn(
            |out, field, value| {
                if field.name() == "message" { write!(out, "{value:?}") } else { Ok(()) }
            },
        );
    tracing_subscriber::fmt::layer()
        .fmt_fields(message)
        .with_writer(move || queue.clone())
        .with_ansi(colours)
        .with_target(false)
}

/// A descriptor of its own for stderr: a write to std's that blocks would keep its lock.
struct Stderr(File);

impl Stderr {
    fn open() -> io::Result<Self> {
        Ok(Self(File::from(io::stderr().as_fd().try_clone_to_owned()?)))
    }
}

impl LogWriter for Stderr {
    fn write(&mut self, mut line: &[u8]) -> io::Result<()> {
        while !line.is_empty() {
            match self.0.write(line) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => line = line.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Another process that shares it has made it non-blocking.
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
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        format!("{time}  WARN {}\n", dropped_text(count)).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing_subscriber::layer::Context;

    use super::*;

    #[test]
    fn the_lines_of_the_nats_client_are_left_out() {
        struct Count(Arc<AtomicUsize>);
        impl<S: tracing::Subscriber> Layer<S> for Count {
            fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let count = Arc::new(AtomicUsize::new(0));
        let log = Registry::default().with(filter_fn(is_wanted)).with(Count(Arc::clone(&count)));
        tracing::subscriber::with_default(log, || {
            error!(target: "async_nats::connector", "authorization violation");
            error!(target: "wschat::cluster::nats", "ours");
        });
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn the_line_about_dropped_lines_looks_like_the_others() {
        let line = String::from_utf8(Stderr::open().unwrap().dropped(3)).unwrap();
        let (time, rest) = line.split_at(27);
        assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok(), "{line}");
        assert_eq!(rest, "  WARN 3 log lines were dropped because they were not read in time\n");
    }
}

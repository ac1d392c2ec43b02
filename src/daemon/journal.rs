//! Where log lines go: to the journal with their fields, or to stderr as text.

use std::env;
use std::ffi::OsStr;
use std::io::{self, IsTerminal};

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// A hold on the log that has been started.
#[derive(Clone, Debug)]
pub struct Log {
    level: reload::Handle<LevelFilter, Registry>,
}

/// Starts the log for the whole process, at `level`.
///
/// Under systemd that is the journal itself, so that fields stay fields and
/// have their priorities; otherwise stderr, coloured if it is a terminal.
///
/// # Errors
///
/// A log has been started before.
pub fn start(level: Level) -> io::Result<Log> {
    let (filter, handle) = reload::Layer::new(LevelFilter::from_level(level));
    let log = tracing_subscriber::registry().with(filter);
    match journal() {
        Some(journal) => log.with(journal).try_init(),
        None => log.with(text()).try_init(),
    }
    .map_err(io::Error::other)?;
    Ok(Log { level: handle })
}

impl Log {
    /// Logs from now on what is at least as important as `level`.
    pub fn set_level(&self, level: Level) {
        // It can only fail when the log is gone, and then nobody reads it.
        let _ = self.level.modify(|filter| *filter = LevelFilter::from_level(level));
    }
}

fn journal() -> Option<tracing_journald::Layer> {
    let ours = env::var_os("JOURNAL_STREAM").is_some_and(|stream| is_stderr(&stream));
    let layer = if ours { tracing_journald::layer().ok()? } else { return None };
    Some(
        layer
            .with_syslog_identifier("wschat".to_owned())
            .with_field_prefix(Some("WSCHAT".to_owned()))
            // Left alone, info would be a notice, which is shown in bold.
            .with_priority_mappings(PriorityMappings {
                error: Priority::Error,
                warn: Priority::Warning,
                info: Priority::Informational,
                debug: Priority::Debug,
                trace: Priority::Debug,
            }),
    )
}

/// Whether `stream`, as systemd sets it (systemd.exec(5)), is what stderr is;
/// a shell inside a service inherits the variable, but has another stderr.
fn is_stderr(stream: &OsStr) -> bool {
    rustix::fs::fstat(io::stderr()).is_ok_and(|stat| {
        stream.to_str() == Some(format!("{}:{}", stat.st_dev, stat.st_ino).as_str())
    })
}

fn text<S>() -> impl Layer<S>
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
        .with_writer(io::stderr)
        .with_ansi(colours)
        .with_target(false)
}

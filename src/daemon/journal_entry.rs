//! Log lines as entries of systemd's journal, with their fields (the native
//! protocol, <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).

use std::fmt::{Debug, Write as _};
use std::io;
use std::os::unix::net::UnixDatagram;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::journal::dropped_text;
use super::log_queue::{LogQueue, Sink};

/// The journal's socket.
const PATH: &str = "/run/systemd/journal/socket";
/// Bytes of a value at most, so that an entry fits into a datagram.
const VALUE_BYTES_MAX: usize = 16 * 1024;
/// Our own fields begin with this, so that none is taken for one of systemd's.
const PREFIX: &str = "WSCHAT_";

/// Makes an entry of every event.
pub(super) struct JournalLayer {
    queue: LogQueue,
}

impl JournalLayer {
    /// A layer whose entries go into `queue`.
    pub fn new(queue: LogQueue) -> Self {
        Self { queue }
    }
}

impl<S: Subscriber> Layer<S> for JournalLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let about = event.metadata();
        let mut entry = Entry::new(about.level());
        entry.put("TARGET", about.target());
        if let (Some(file), Some(line)) = (about.file(), about.line()) {
            entry.put("CODE_FILE", file);
            entry.put("CODE_LINE", &line.to_string());
        }
        event.record(&mut entry);
        self.queue.push(entry.0);
    }
}

/// An entry that is being written.
struct Entry(Vec<u8>);

impl Entry {
    fn new(level: &Level) -> Self {
        let priority = match *level {
            Level::ERROR => "3",
            Level::WARN => "4",
            // Notice, 5, would be shown in bold.
            Level::INFO => "6",
            Level::DEBUG | Level::TRACE => "7",
        };
        let mut entry = Self(Vec::with_capacity(256));
        entry.put("PRIORITY", priority);
        entry.put("SYSLOG_IDENTIFIER", "wschat");
        entry
    }

    /// A name, a newline, the length of the value in eight bytes, the value.
    fn put(&mut self, name: &str, value: &str) {
        let value = value.as_bytes();
        let value = value.get(..VALUE_BYTES_MAX).unwrap_or(value);
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'\n');
        self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.put("MESSAGE", value),
            name => self.put(&format!("{PREFIX}{}", name.to_ascii_uppercase()), value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // What cannot be formatted is as long as it got.
        let _ = write!(text, "{value:?}");
        self.record_str(field, &text);
    }
}

/// The way to the journal.
pub(super) struct JournalSocket(UnixDatagram);

impl JournalSocket {
    /// Looks whether there is a journal, without sending anything.
    ///
    /// # Errors
    ///
    /// The system's, if nobody is there.
    pub fn open() -> io::Result<Self> {
        UnixDatagram::unbound()?.connect(PATH)?;
        Ok(Self(UnixDatagram::unbound()?))
    }
}

impl Sink for JournalSocket {
    fn write(&mut self, entry: &[u8]) -> io::Result<()> {
        // By its path each time: it may have been made anew.
        self.0.send_to(entry, PATH).map(drop)
    }

    fn dropped(&self, count: u64) -> Vec<u8> {
        let mut entry = Entry::new(&Level::WARN);
        entry.put("MESSAGE", &dropped_text(count));
        entry.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_cut_and_a_newline_in_it_begins_no_field() {
        let mut entry = Entry(Vec::new());
        entry.put("MESSAGE", "a\nPRIORITY=0");
        assert_eq!(entry.0, b"MESSAGE\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\n");
        let mut entry = Entry(Vec::new());
        entry.put("A", &"ä".repeat(VALUE_BYTES_MAX));
        assert_eq!(entry.0.len(), "A\n".len() + 8 + VALUE_BYTES_MAX + 1);
    }
}

//! Log events as entries of systemd's journal, with their fields (the native protocol,
//! <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).

use std::fmt::Debug;
use std::io;
use std::os::unix::net::UnixDatagram;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::log_queue::{LogQueue, LogWriter, dropped_text};

/// The journal's socket.
const PATH: &str = "/run/systemd/journal/socket";
/// Bytes of a value at most, so that an entry fits into a datagram.
const VALUE_BYTES_MAX: usize = 16 * 1024;
/// The prefix of our own fields, which must differ from systemd's.
const PREFIX: &str = "WSCHAT_";

/// Turns events into entries and adds them to the queue.
pub struct JournalLayer(pub LogQueue);

impl<S: Subscriber> Layer<S> for JournalLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut entry = JournalEntry::new(metadata.level());
        entry.put("TARGET", metadata.target());
        if let (Some(file), Some(line)) = (metadata.file(), metadata.line()) {
            entry.put("CODE_FILE", file);
            entry.put("CODE_LINE", &line.to_string());
        }
        event.record(&mut entry);
        self.0.push(entry.0);
    }
}

/// The bytes of an entry.
struct JournalEntry(Vec<u8>);

impl JournalEntry {
    fn new(level: &Level) -> Self {
        let priority = match *level {
            Level::ERROR => "3",
            Level::WARN => "4",
            // The journal shows notice, 5, in bold.
            Level::INFO => "6",
            Level::DEBUG | Level::TRACE => "7",
        };
        let mut entry = Self(Vec::with_capacity(256));
        entry.put("PRIORITY", priority);
        entry.put("SYSLOG_IDENTIFIER", "wschat");
        entry
    }

    /// Adds a name, a newline, the length of the value in eight bytes, and the value.
    fn put(&mut self, name: &str, value: &str) {
        let value = value.as_bytes();
        let value = value.get(..VALUE_BYTES_MAX).unwrap_or(value);
        let length = (value.len() as u64).to_le_bytes();
        for part in [name.as_bytes(), b"\n", &length, value, b"\n"] {
            self.0.extend_from_slice(part);
        }
    }
}

impl Visit for JournalEntry {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.put("MESSAGE", value),
            name => self.put(&format!("{PREFIX}{}", name.to_ascii_uppercase()), value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// A socket that sends to the journal.
pub struct JournalSocket(UnixDatagram);

impl JournalSocket {
    /// Checks that the journal's socket exists, without sending anything.
    pub fn open() -> io::Result<Self> {
        UnixDatagram::unbound()?.connect(PATH)?;
        Ok(Self(UnixDatagram::unbound()?))
    }
}

impl LogWriter for JournalSocket {
    fn write(&mut self, entry: &[u8]) -> io::Result<()> {
        // By path each time: a restarted journal makes a new socket.
        self.0.send_to(entry, PATH).map(drop)
    }

    fn dropped(&self, count: u64) -> Vec<u8> {
        let mut entry = JournalEntry::new(&Level::WARN);
        entry.put("MESSAGE", &dropped_text(count));
        entry.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_cut_and_a_newline_in_it_begins_no_field() {
        let mut entry = JournalEntry(Vec::new());
        entry.put("MESSAGE", "a\nPRIORITY=0");
        assert_eq!(entry.0, b"MESSAGE\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\n");
        let mut entry = JournalEntry(Vec::new());
        entry.put("A", &"ä".repeat(VALUE_BYTES_MAX));
        assert_eq!(entry.0.len(), "A\n".len() + 8 + VALUE_BYTES_MAX + 1);
    }
}

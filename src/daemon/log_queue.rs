//! A bounded queue of log lines. Writing to stderr or to the journal blocks while nothing
//! reads there, so one thread writes, and all others only add lines to the queue.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::mutex::lock;

/// Bytes of queued lines at most; further lines are dropped.
const BYTES_MAX: usize = 1 << 20;
/// The approximate cost of a queued line beside its bytes.
const LINE_OVERHEAD_BYTES: usize = 64;
/// How long to wait before a line is written again while the receiver is missing.
const RETRY: Duration = Duration::from_secs(1);

/// Writes lines, on the queue's thread.
pub trait LogWriter: Send + 'static {
    /// Writes one line; may block. The queue writes it again later if the receiver is
    /// missing, and drops it after any other error.
    fn write(&mut self, line: &[u8]) -> io::Result<()>;

    /// The line that reports `count` dropped lines.
    fn dropped(&self, count: u64) -> Vec<u8>;
}

/// The text of the line that reports dropped lines.
pub fn dropped_text(count: u64) -> String {
    format!("{count} log lines were dropped because they were not read in time")
}

/// The queue; clones are the same queue.
#[derive(Clone)]
pub struct LogQueue(Arc<LogQueueShared>);

#[derive(Default)]
struct LogQueueShared {
    lines: Mutex<QueuedLines>,
    changed: Condvar,
}

#[derive(Default)]
struct QueuedLines {
    entries: VecDeque<QueuedLine>,
    bytes: usize,
    /// The thread has taken an entry and is still writing it.
    is_writing: bool,
    /// The process is about to end: a line that fails is not written again.
    is_ending: bool,
}

enum QueuedLine {
    Text(Vec<u8>),
    /// This many lines were dropped here.
    Dropped(u64),
}

impl LogQueue {
    /// Starts the thread that writes.
    pub fn start(writer: impl LogWriter) -> io::Result<Self> {
        let queue = Self(Arc::default());
        let shared = Arc::clone(&queue.0);
        thread::Builder::new().name("log".to_owned()).spawn(move || shared.write_all(writer))?;
        Ok(queue)
    }

    /// Adds a line; drops and counts it if the queue is full.
    pub fn push(&self, line: Vec<u8>) {
        let mut lines = lock(&self.0.lines);
        // After a gap half of the queue must be written first: single lines between gaps
        // would make the log unreadable.
        let in_gap = matches!(lines.entries.back(), Some(QueuedLine::Dropped(_)));
        let bytes_max = if in_gap { BYTES_MAX / 2 } else { BYTES_MAX };
        let bytes = line.len() + LINE_OVERHEAD_BYTES;
        if lines.bytes + bytes <= bytes_max {
            lines.bytes += bytes;
            lines.entries.push_back(QueuedLine::Text(line));
        } else if let Some(QueuedLine::Dropped(count)) = lines.entries.back_mut() {
            *count += 1;
        } else {
            lines.entries.push_back(QueuedLine::Dropped(1));
        }
        self.0.changed.notify_all();
    }

    /// Waits until every line is written, or for `timeout`.
    pub fn wait(&self, timeout: Duration) {
        let unwritten = |lines: &mut QueuedLines| lines.is_writing || !lines.entries.is_empty();
        // After a timeout nothing else can be done.
        let _ = self.0.changed.wait_timeout_while(lock(&self.0.lines), timeout, unwritten);
    }

    /// [`wait`](Self::wait) at the end of the process.
    pub fn finish(&self, timeout: Duration) {
        lock(&self.0.lines).is_ending = true;
        self.0.changed.notify_all();
        self.wait(timeout);
    }
}

/// For the text layer, which writes each line in one call.
impl Write for LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LogQueueShared {
    /// The loop of the thread.
    fn write_all(&self, mut writer: impl LogWriter) {
        // Dropped lines that have not been reported yet.
        let mut dropped = 0;
        loop {
            let delivered = match self.next() {
                QueuedLine::Dropped(count) => {
                    dropped += count;
                    true
                }
                QueuedLine::Text(line) => {
                    let delivered = self.deliver(&mut writer, &line);
                    dropped += u64::from(!delivered);
                    delivered
                }
            };
            if delivered && dropped > 0 {
                let report = writer.dropped(dropped);
                if self.deliver(&mut writer, &report) {
                    dropped = 0;
                }
            }
            lock(&self.lines).is_writing = false;
            self.changed.notify_all();
        }
    }

    /// Waits for the next entry.
    fn next(&self) -> QueuedLine {
        let mut lines = lock(&self.lines);
        loop {
            if let Some(entry) = lines.entries.pop_front() {
                if let QueuedLine::Text(line) = &entry {
                    lines.bytes -= line.len() + LINE_OVERHEAD_BYTES;
                }
                lines.is_writing = true;
                return entry;
            }
            lines = self.changed.wait(lines).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes a line, repeatedly while the receiver is missing; false if it is dropped.
    fn deliver(&self, writer: &mut impl LogWriter, line: &[u8]) -> bool {
        loop {
            match writer.write(line) {
                Ok(()) => return true,
                Err(error) if !is_missing(&error) => return false,
                Err(_) => {}
            }
            let not_ending = |lines: &mut QueuedLines| !lines.is_ending;
            let waited = self.changed.wait_timeout_while(lock(&self.lines), RETRY, not_ending);
            if waited.unwrap_or_else(PoisonError::into_inner).0.is_ending {
                return false;
            }
        }
    }
}

/// Whether the receiver is missing; a journal that restarts comes back.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    /// Takes a line whenever the test says so, and reports what it took.
    struct SlowWriter {
        answers: Receiver<io::Result<()>>,
        took: Sender<String>,
    }

    impl LogWriter for SlowWriter {
        fn write(&mut self, line: &[u8]) -> io::Result<()> {
            // Blocks after the end of the test.
            let Ok(answer) = self.answers.recv() else {
                loop {
                    thread::park()
                }
            };
            if answer.is_ok() {
                self.took.send(String::from_utf8_lossy(line).into_owned()).unwrap();
            }
            answer
        }

        fn dropped(&self, count: u64) -> Vec<u8> {
            format!("dropped {count}").into_bytes()
        }
    }

    fn slow() -> (LogQueue, Sender<io::Result<()>>, Receiver<String>) {
        let ((answer, answers), (took, taken)) = (mpsc::channel(), mpsc::channel());
        (LogQueue::start(SlowWriter { answers, took }).unwrap(), answer, taken)
    }

    #[test]
    fn lines_beyond_the_bound_are_dropped_and_counted_where_they_are_missing() {
        let (queue, answer, taken) = slow();
        let line = |number: usize| format!("{number:>1000}").into_bytes();
        let fit = BYTES_MAX / (1000 + LINE_OVERHEAD_BYTES);
        queue.push(b"first".to_vec());
        // One is being written and does not count any more.
        while !lock(&queue.0.lines).is_writing {
            thread::yield_now();
        }
        (0..fit + 7).for_each(|number| queue.push(line(number)));
        for _ in 0..=fit + 1 {
            answer.send(Ok(())).unwrap();
        }
        let next = || taken.recv_timeout(DEADLINE).unwrap();
        assert_eq!(next(), "first");
        (0..fit).for_each(|number| assert_eq!(next().trim_start(), number.to_string()));
        assert_eq!(next(), "dropped 7");
        queue.push(b"last".to_vec());
        answer.send(Ok(())).unwrap();
        assert_eq!(next(), "last");
        queue.finish(DEADLINE);
        assert!(taken.try_recv().is_err(), "the gap is reported once");
    }

    #[test]
    fn a_line_is_written_again_only_while_the_receiver_is_missing() {
        use ErrorKind::{BrokenPipe, ConnectionRefused, NotFound};
        let (queue, answer, taken) = slow();
        let fail = |kind: ErrorKind| answer.send(Err(kind.into())).unwrap();
        ["a", "b", "c"].into_iter().for_each(|line| queue.push(line.into()));
        [BrokenPipe, BrokenPipe, ConnectionRefused, NotFound].into_iter().for_each(fail);
        [(); 2].iter().for_each(|()| answer.send(Ok(())).unwrap());
        let next = || taken.recv_timeout(DEADLINE).unwrap();
        assert_eq!((next(), next()), ("c".into(), "dropped 2".into()));
        // At the end of the process it is not written again.
        fail(NotFound);
        queue.push(b"d".to_vec());
        queue.finish(DEADLINE);
        assert!(lock(&queue.0.lines).entries.is_empty());
    }
}

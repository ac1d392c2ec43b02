//! Log lines on their way out. Writing to stderr or to the journal can block for
//! as long as nobody reads there, so a thread of its own does it: everybody else
//! only adds a line to a bounded queue.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes of the lines that may wait; what comes when there are more is dropped.
const BYTES_MAX: usize = 1 << 20;
/// What a waiting line costs beside its bytes, about.
const LINE_OVERHEAD_BYTES: usize = 64;
/// How long to wait before a line is written again that nobody received.
const RETRY: Duration = Duration::from_secs(1);

/// Where lines are written, on the queue's thread.
pub trait Sink: Send + 'static {
    /// Writes one line; may block.
    ///
    /// # Errors
    ///
    /// The system's. The line is written again later if nobody is there to
    /// receive it, and dropped after any other error.
    fn write(&mut self, line: &[u8]) -> io::Result<()>;

    /// The line which says that `count` lines were dropped.
    fn dropped(&self, count: u64) -> Vec<u8>;
}

/// The queue; clones are the same queue.
#[derive(Clone, Debug)]
pub struct LogQueue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The thread has taken an entry and is not done with it.
    writing: bool,
    /// The process is about to end, so nothing is tried again.
    ending: bool,
}

#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    /// So many lines were dropped here.
    Dropped(u64),
}

impl LogQueue {
    /// Starts the thread that writes to `sink`.
    ///
    /// # Errors
    ///
    /// The system's, if it has no thread left.
    pub fn start(sink: impl Sink) -> io::Result<Self> {
        let queue = Self(Arc::default());
        let shared = Arc::clone(&queue.0);
        thread::Builder::new().name("log".to_owned()).spawn(move || shared.write_all(sink))?;
        Ok(queue)
    }

    /// Adds a line; drops and counts it if too much waits already.
    pub fn push(&self, line: Vec<u8>) {
        let mut state = self.0.state();
        // After a gap some of the queue has to be written first: a line now and
        // then between two gaps would only make the log unreadable.
        let in_gap = matches!(state.entries.back(), Some(Entry::Dropped(_)));
        let bytes_max = if in_gap { BYTES_MAX / 2 } else { BYTES_MAX };
        let bytes = line.len() + LINE_OVERHEAD_BYTES;
        if state.bytes + bytes <= bytes_max {
            state.bytes += bytes;
            state.entries.push_back(Entry::Line(line));
        } else if let Some(Entry::Dropped(count)) = state.entries.back_mut() {
            *count += 1;
        } else {
            state.entries.push_back(Entry::Dropped(1));
        }
        self.0.changed.notify_all();
    }

    /// Waits until every line is written, for `patience` at most.
    pub fn flush(&self, patience: Duration) {
        let unwritten = |state: &mut State| state.writing || !state.entries.is_empty();
        // Whether it was in time or not, there is nothing else to be done.
        let _ = self.0.changed.wait_timeout_while(self.0.state(), patience, unwritten);
    }

    /// As [`flush`](Self::flush), at the end of the process.
    pub fn finish(&self, patience: Duration) {
        self.0.state().ending = true;
        self.0.changed.notify_all();
        self.flush(patience);
    }
}

impl Shared {
    /// The thread: writes for as long as the process runs.
    fn write_all(&self, mut sink: impl Sink) {
        // Dropped lines that have not been reported yet.
        let mut dropped = 0;
        loop {
            let delivered = match self.next() {
                Entry::Dropped(count) => {
                    dropped += count;
                    true
                }
                Entry::Line(line) => {
                    let delivered = self.deliver(&mut sink, &line);
                    dropped += u64::from(!delivered);
                    delivered
                }
            };
            if delivered && dropped > 0 {
                let report = sink.dropped(dropped);
                if self.deliver(&mut sink, &report) {
                    dropped = 0;
                }
            }
            self.state().writing = false;
            self.changed.notify_all();
        }
    }

    /// Waits for the next entry.
    fn next(&self) -> Entry {
        let mut state = self.state();
        loop {
            if let Some(entry) = state.entries.pop_front() {
                if let Entry::Line(line) = &entry {
                    state.bytes -= line.len() + LINE_OVERHEAD_BYTES;
                }
                state.writing = true;
                return entry;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes a line, again and again if nobody is there yet; false if it is lost.
    fn deliver(&self, sink: &mut impl Sink, line: &[u8]) -> bool {
        loop {
            match sink.write(line) {
                Ok(()) => return true,
                Err(error) if !nobody_is_there(&error) => return false,
                Err(_) => {}
            }
            let not_ending = |state: &mut State| !state.ending;
            let waited = self.changed.wait_timeout_while(self.state(), RETRY, not_ending);
            if waited.unwrap_or_else(PoisonError::into_inner).0.ending {
                return false;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the receiver, the journal, may come back.
fn nobody_is_there(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    /// Takes a line whenever the test says so, and reports what it took.
    struct Slow {
        answers: Receiver<io::Result<()>>,
        took: Sender<String>,
    }

    impl Sink for Slow {
        fn write(&mut self, line: &[u8]) -> io::Result<()> {
            // Without the test nobody takes anything any more.
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
        (LogQueue::start(Slow { answers, took }).unwrap(), answer, taken)
    }

    #[test]
    fn lines_beyond_the_bound_are_dropped_and_counted_where_they_are_missing() {
        let (queue, answer, taken) = slow();
        let line = |number: usize| format!("{number:>1000}").into_bytes();
        let fit = BYTES_MAX / (1000 + LINE_OVERHEAD_BYTES);
        queue.push(b"first".to_vec());
        // One is being written and does not count any more.
        while !queue.0.state().writing {
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
    fn a_line_that_fails_is_counted_once_the_next_is_written() {
        let (queue, answer, taken) = slow();
        let broken = || Err(ErrorKind::BrokenPipe.into());
        for (line, result) in [("a", broken()), ("b", broken()), ("c", Ok(()))] {
            queue.push(line.into());
            answer.send(result).unwrap();
        }
        answer.send(Ok(())).unwrap();
        let next = || taken.recv_timeout(DEADLINE).unwrap();
        assert_eq!((next(), next()), ("c".into(), "dropped 2".into()));
    }

    #[test]
    fn a_receiver_that_is_away_gets_the_line_when_it_is_back() {
        let (queue, answer, taken) = slow();
        queue.push(b"a".to_vec());
        for kind in [ErrorKind::ConnectionRefused, ErrorKind::NotFound] {
            answer.send(Err(kind.into())).unwrap();
        }
        answer.send(Ok(())).unwrap();
        assert_eq!(taken.recv_timeout(DEADLINE).unwrap(), "a");
        // At the end there is no time for that.
        answer.send(Err(ErrorKind::NotFound.into())).unwrap();
        queue.push(b"b".to_vec());
        queue.finish(DEADLINE);
        assert!(queue.0.state().entries.is_empty());
    }

    #[test]
    fn waiting_for_a_sink_that_blocks_has_an_end() {
        let (queue, _answer, taken) = slow();
        queue.push(b"a".to_vec());
        queue.finish(Duration::from_millis(10));
        assert!(taken.try_recv().is_err());
    }
}

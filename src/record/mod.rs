//! The record of messages: one JSON line for each, in one file for each day (UTC).
//!
//! ```text
//! room ─► feed ─► recorder (a cursor, on its own thread) ─► DIR/YYYY-MM-DD
//! ```
//!
//! The recorder is one more reader of the feed. It never holds back the feed's tail: if
//! writing takes too long or fails, the tail passes the cursor, the skipped messages are
//! counted, and the recorder continues with the oldest message that is left. So no disk
//! can delay a listener.
//!
//! Old files are deleted by another thread (`keep.rs`).
//!
//! A line is the message as listeners received it. Each batch of lines is one `write`;
//! the kernel decides when it reaches the disk.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod file;
mod keep;
mod lines;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::sync::{Arc, Mutex};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::config::Record;
use crate::feed::Pieces;
use crate::mutex::lock;
use crate::room::Room;
use file::DayFile;
use keep::Keeper;
use lines::Lines;

/// The approximate size of a batch: large enough for its system call, and the most
/// memory that a blocked write holds.
const BATCH_BYTES: usize = 128 * 1024;
/// How long to wait for more messages after the first one of a batch.
const LINGER: Duration = Duration::from_millis(10);
/// How long to wait after an error before the next attempt.
const RETRY: Duration = Duration::from_secs(1);
/// The shortest time between two logged failures, so that a disk which is full again and
/// again does not fill the log.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Controls the recorder's thread.
#[derive(Debug)]
pub struct Recorder {
    room: Arc<Room>,
    stats: Arc<Mutex<RecordStats>>,
    commands: Sender<Command>,
    thread: Thread,
    keeper: Keeper,
}

/// What was recorded so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordStats {
    /// Messages that were written.
    pub recorded: u64,
    /// Messages that were skipped.
    pub dropped: u64,
    /// Why nothing can be written now; `None` without an error.
    pub failing: Option<String>,
    /// The folder; `None` if nothing is recorded.
    #[serde(default)]
    pub dir: Option<PathBuf>,
}

fn change<T>(stats: &Mutex<RecordStats>, change: impl FnOnce(&mut RecordStats) -> T) -> T {
    change(&mut lock(stats))
}

#[derive(Debug)]
enum Command {
    /// Record messages behind this position, or none without a directory.
    SetDir(Option<PathBuf>, Position),
    /// Write everything, reply, and end.
    Finish(Sender<()>),
}

/// A position in the feed.
#[derive(Clone, Copy, Debug, Default)]
struct Position {
    cursor: u64,
    /// How many messages are before it.
    messages: u64,
}

impl Position {
    fn end_of(room: &Room) -> Self {
        let (cursor, messages) = room.inspect(|log, _| (log.end(), log.messages()));
        Self { cursor, messages }
    }
}

impl Recorder {
    /// Starts the threads. They record the messages that this process sends in the directory of
    /// `record`, or none until [`Recorder::set`], and delete its old files.
    ///
    /// # Errors
    ///
    /// The system has no thread left. A directory that cannot be written to is no error
    /// here, because that may change.
    pub fn start(room: Arc<Room>, record: &Record) -> io::Result<Self> {
        let stats = Arc::<Mutex<RecordStats>>::default();
        let (commands, received) = mpsc::channel();
        let writer = Writer::new(Arc::clone(&room), Arc::clone(&stats));
        let handle = thread::Builder::new()
            .name("record".to_owned())
            .spawn(move || writer.run(&received))?;
        let (cursor, messages) = room.start();
        let (thread, keeper) = (handle.thread().clone(), Keeper::start()?);
        let recorder = Self { room, stats, commands, thread, keeper };
        recorder.set_from(record, Position { cursor, messages });
        Ok(recorder)
    }

    /// Records later messages in the directory of `record`, or none, and deletes its old files.
    pub fn set(&self, record: &Record) {
        self.set_from(record, Position::end_of(&self.room));
    }

    fn set_from(&self, record: &Record, from: Position) {
        self.send(Command::SetDir(record.dir.clone(), from));
        self.keeper.set(record);
    }

    /// What was recorded so far.
    pub fn stats(&self) -> RecordStats {
        change(&self.stats, |stats| stats.clone())
    }

    /// Writes everything up to the feed's end and ends the thread. Call it when no
    /// message is sent any more; it waits for `timeout` at most.
    pub fn finish(&self, timeout: Duration) {
        let (done, finished) = mpsc::channel();
        self.send(Command::Finish(done));
        if finished.recv_timeout(timeout) == Err(RecvTimeoutError::Timeout) {
            warn!("the record of messages is incomplete: its device does not respond");
        }
    }

    fn send(&self, command: Command) {
        // This fails only after `finish`.
        let _ = self.commands.send(command);
        self.thread.unpark();
    }
}

/// The state of the recorder's thread.
struct Writer {
    room: Arc<Room>,
    stats: Arc<Mutex<RecordStats>>,
    dir: Option<PathBuf>,
    /// Everything before it is written or skipped.
    position: Position,
    file: Option<DayFile>,
    lines: Lines,
    failure: Option<Failure>,
    /// When a failure was last logged.
    logged: Option<Instant>,
}

/// Messages cannot be written, or not fast enough.
struct Failure {
    dropped_before: u64,
    is_logged: bool,
}

impl Writer {
    fn new(room: Arc<Room>, stats: Arc<Mutex<RecordStats>>) -> Self {
        Self {
            room,
            stats,
            dir: None,
            position: Position::default(),
            file: None,
            lines: Lines::default(),
            failure: None,
            logged: None,
        }
    }

    fn run(mut self, commands: &Receiver<Command>) {
        loop {
            // The messages are taken before the command, so that none is written that
            // was sent after a command which is still to be executed.
            let messages = self.room.read_from_or_later(self.position.cursor, BATCH_BYTES);
            match commands.try_recv() {
                Ok(Command::SetDir(dir, from)) => self.set_dir(dir, from),
                Ok(Command::Finish(done)) => {
                    self.write_until(Position::end_of(&self.room));
                    // `finish` may have timed out.
                    let _ = done.send(());
                    return;
                }
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => self.write_or_wait(&messages),
            }
        }
    }

    fn set_dir(&mut self, dir: Option<PathBuf>, from: Position) {
        if dir == self.dir {
            return;
        }
        match (&self.dir, &dir) {
            (None, _) => self.position = from,
            (Some(_), None) => self.write_until(from),
            // What is not written yet goes to the new directory.
            (Some(_), Some(_)) => {}
        }
        match &dir {
            Some(dir) => info!(dir = %dir.display(), "recording messages in {}", dir.display()),
            None => info!("recording of messages stopped"),
        }
        change(&self.stats, |stats| stats.dir.clone_from(&dir));
        self.dir = dir;
        self.file = None;
    }

    fn write_or_wait(&mut self, messages: &Pieces) {
        let Some(dir) = self.dir.clone() else { return thread::park() };
        if messages.is_empty() {
            return self.wait();
        }
        if let Err(error) = self.write_batch(&dir, messages) {
            self.set_failing(&dir, &error.to_string());
            thread::park_timeout(RETRY);
        }
    }

    /// Waits for the next message, and a little longer for more of them.
    fn wait(&mut self) {
        self.clear_failing();
        if !self.room.has_news_or_wake(self.position.cursor, &thread::current()) {
            thread::park();
        }
        if self.room.end() - self.position.cursor < BATCH_BYTES as u64 {
            thread::park_timeout(LINGER);
        }
    }

    /// Writes the first of `messages`, which are not empty.
    fn write_batch(&mut self, dir: &Path, messages: &Pieces) -> io::Result<()> {
        let first = messages.iter().next();
        if let Some(first) = first.filter(|first| first.start > self.position.cursor) {
            let left = Position { cursor: first.start, messages: first.messages_before };
            self.set_failing(dir, "it is too slow");
            self.drop_until(left);
        }
        self.lines.fill(messages, self.position.cursor);
        let written = match self.lines.day {
            Some(day) => self.write(dir.join(String::from_utf8_lossy(&day).as_ref()))?,
            None => 0,
        };
        let Some(whole) = self.lines.whole(written) else {
            return Err(ErrorKind::StorageFull.into());
        };
        let messages = self.position.messages + whole.lines;
        self.position = Position { cursor: whole.cursor, messages };
        change(&self.stats, |stats| stats.recorded += whole.lines);
        Ok(())
    }

    /// Writes the lines to the file at `path`. Returns how many bytes the file got, and
    /// removes the beginning of a line that did not fit.
    fn write(&mut self, path: PathBuf) -> io::Result<usize> {
        let mut file = match self.file.take() {
            Some(file) if file.is_at(&path) => file,
            _ => DayFile::open(path)?,
        };
        let written = file.write(&self.lines.text)?;
        let incomplete = written - self.lines.whole(written).map_or(0, |whole| whole.bytes);
        // If it cannot be removed, the next `DayFile::open` ends the line.
        if incomplete == 0 || file.cut(incomplete).is_ok() {
            self.file = Some(file);
        }
        Ok(written)
    }

    /// Writes everything before `end`, and gives up at the first error.
    fn write_until(&mut self, end: Position) {
        let Some(dir) = self.dir.clone() else { return };
        while self.position.cursor < end.cursor {
            let left_bytes = end.cursor - self.position.cursor;
            let bytes_max = BATCH_BYTES.min(left_bytes as usize);
            let messages = self.room.read_from_or_later(self.position.cursor, bytes_max);
            if let Err(error) = self.write_batch(&dir, &messages) {
                let lost = self.drop_until(end);
                return warn!(lost, "the last {lost} messages were not recorded: {error}");
            }
        }
        self.clear_failing();
    }

    /// Skips all messages before `position`. Returns how many they are.
    fn drop_until(&mut self, position: Position) -> u64 {
        let dropped = position.messages.saturating_sub(self.position.messages);
        change(&self.stats, |stats| stats.dropped += dropped);
        self.position = position;
        dropped
    }

    fn set_failing(&mut self, dir: &Path, error: &str) {
        let dropped_before = change(&self.stats, |stats| {
            stats.failing = Some(error.to_owned());
            stats.dropped
        });
        if self.failure.is_some() {
            return;
        }
        let is_logged = self.logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL);
        if is_logged {
            self.logged = Some(Instant::now());
            let dir = dir.display();
            warn!(%dir, why = error, "cannot record messages in {dir}: {error}; they are still sent");
        }
        self.failure = Some(Failure { dropped_before, is_logged });
    }

    /// Every message of the feed is written.
    fn clear_failing(&mut self) {
        let Some(failure) = self.failure.take() else { return };
        let dropped = change(&self.stats, |stats| {
            stats.failing = None;
            stats.dropped - failure.dropped_before
        });
        if failure.is_logged {
            info!(dropped, "recording messages again; {dropped} were not recorded");
        }
    }
}

#[cfg(test)]
mod tests;

//! The record of messages: a JSON line for each, in a file for each day (UTC).
//!
//! ```text
//! room ─► feed ─► recorder (a cursor, on a thread of its own) ─► DIR/YYYY-MM-DD
//! ```
//!
//! The recorder is one more reader of the feed, whose tail is its buffer. It
//! never holds back the tail: where writing takes too long or fails, the tail
//! passes the cursor, the messages in the gap are counted, and the recorder
//! goes on with the oldest that is left. So no disk can delay a listener.
//!
//! The lines are those that listeners got. They reach the system with every
//! batch, and the disk when the system thinks it right.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod file;
mod lines;
mod trouble;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::sync::{Arc, Mutex};
use std::thread::{self, Thread};
use std::time::Duration;

use tracing::{info, warn};

use crate::feed::Pieces;
use crate::mutex::lock;
use crate::room::Room;
use file::DayFile;
use lines::Lines;
use trouble::Troubles;

/// The feed's bytes in one batch, about: a write that is worth its call, and
/// all the memory that a stuck one holds.
const BATCH_BYTES: usize = 128 * 1024;
/// How long more messages may join the first one of a batch.
const LINGER: Duration = Duration::from_millis(10);
/// How long to wait after a failure before the next try.
const RETRY: Duration = Duration::from_secs(1);

/// A hold on the recorder's thread.
#[derive(Debug)]
pub struct Recorder {
    room: Arc<Room>,
    figures: Arc<Figures>,
    orders: Sender<Order>,
    thread: Thread,
}

/// The figures of the record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages that were written.
    pub recorded: u64,
    /// Messages that were not, and will not be.
    pub dropped: u64,
    /// Why nothing can be written now; none if all is well.
    pub failing: Option<String>,
}

/// What the thread tells.
#[derive(Debug, Default)]
struct Figures {
    recorded: AtomicU64,
    dropped: AtomicU64,
    failing: Mutex<Option<String>>,
}

/// What the thread is told.
#[derive(Debug)]
enum Order {
    /// Record there what is sent from the mark on; nothing without a directory.
    Record(Option<PathBuf>, Mark),
    /// Write what there is, tell, and end.
    End(Sender<()>),
}

/// A place in the feed.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    cursor: u64,
    /// How many messages are before it.
    messages: u64,
}

impl Recorder {
    /// Starts to record in `dir` what is sent in the room of this process;
    /// without it, waits for [`Recorder::set_dir`].
    ///
    /// # Errors
    ///
    /// The system's, if there can be no thread. A directory that cannot be
    /// written to is no error here: that may change.
    pub fn start(room: Arc<Room>, dir: Option<PathBuf>) -> io::Result<Self> {
        let figures = Arc::<Figures>::default();
        let (orders, received) = mpsc::channel();
        let writer = Writer::new(Arc::clone(&room), Arc::clone(&figures));
        let handle = thread::Builder::new()
            .name("record".to_owned())
            .spawn(move || writer.run(&received))?;
        let (cursor, messages) = room.start_position();
        let recorder = Self { room, figures, orders, thread: handle.thread().clone() };
        recorder.order(Order::Record(dir, Mark { cursor, messages }));
        Ok(recorder)
    }

    /// Records from now on in `dir`, or nothing.
    pub fn set_dir(&self, dir: Option<PathBuf>) {
        self.order(Order::Record(dir, Mark::end_of(&self.room)));
    }

    /// The figures so far.
    pub fn stats(&self) -> Stats {
        Stats {
            recorded: self.figures.recorded.load(Ordering::Relaxed),
            dropped: self.figures.dropped.load(Ordering::Relaxed),
            failing: lock(&self.figures.failing).clone(),
        }
    }

    /// Writes everything up to the feed's end and ends the record. To be called
    /// when nothing is sent any more; waits for `patience` at most.
    pub fn finish(&self, patience: Duration) {
        let (done, ended) = mpsc::channel();
        self.order(Order::End(done));
        if ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            warn!("the record of messages is not finished: its device does not answer");
        }
    }

    fn order(&self, order: Order) {
        // It can only fail when the thread has ended, as it was told to.
        let _ = self.orders.send(order);
        self.thread.unpark();
    }
}

impl Mark {
    fn end_of(room: &Room) -> Self {
        let (cursor, messages) = room.inspect(|log, _| (log.end(), log.messages()));
        Self { cursor, messages }
    }
}

/// The state of the recorder's thread.
struct Writer {
    room: Arc<Room>,
    figures: Arc<Figures>,
    /// Where the record goes, if there is one.
    dir: Option<PathBuf>,
    /// All before this is written or lost.
    at: Mark,
    file: Option<DayFile>,
    lines: Lines,
    troubles: Troubles,
}

impl Writer {
    fn new(room: Arc<Room>, figures: Arc<Figures>) -> Self {
        Self {
            room,
            figures,
            dir: None,
            at: Mark::default(),
            file: None,
            lines: Lines::default(),
            troubles: Troubles::default(),
        }
    }

    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            // The news before the orders: so what was sent after an order was
            // given is never written without it.
            let news = self.room.since(self.at.cursor, BATCH_BYTES);
            match orders.try_recv() {
                Ok(Order::Record(dir, from)) => self.turn_to(dir, from),
                Ok(Order::End(done)) => {
                    self.write_out(Mark::end_of(&self.room));
                    // Whoever asked may have run out of patience.
                    let _ = done.send(());
                    return;
                }
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => self.go_on(&news),
            }
        }
    }

    /// Records from here on in `dir`.
    fn turn_to(&mut self, dir: Option<PathBuf>, from: Mark) {
        if dir == self.dir {
            return;
        }
        match (&self.dir, &dir) {
            (None, _) => self.at = from,
            (Some(_), None) => self.write_out(from),
            // What is not written yet is for the new directory.
            (Some(_), Some(_)) => {}
        }
        match &dir {
            Some(dir) => info!(dir = %dir.display(), "recording messages in {}", dir.display()),
            None => info!("messages are not recorded any more"),
        }
        self.dir = dir;
        self.file = None;
    }

    /// Writes the news, or waits for some.
    fn go_on(&mut self, news: &Pieces) {
        let Some(dir) = self.dir.clone() else { return thread::park() };
        if news.is_empty() {
            return self.wait();
        }
        if let Err(error) = self.step(&dir, news) {
            self.fails(&dir, &error.to_string());
            thread::park_timeout(RETRY);
        }
    }

    /// Waits for the next message, and a little longer for more of them.
    fn wait(&mut self) {
        self.recovers();
        if !self.room.has_news(self.at.cursor, &thread::current()) {
            thread::park();
        }
        if self.room.end() - self.at.cursor < BATCH_BYTES as u64 {
            thread::park_timeout(LINGER);
        }
    }

    /// Writes the first of `news`, which are not empty.
    fn step(&mut self, dir: &Path, news: &Pieces) -> io::Result<()> {
        if let Some(first) = news.iter().next().filter(|first| first.start > self.at.cursor) {
            self.lose(Mark { cursor: first.start, messages: first.messages_before }, dir);
        }
        self.lines.fill(news, self.at.cursor);
        let written = match self.lines.day {
            Some(day) => self.write(dir.join(String::from_utf8_lossy(&day).as_ref()))?,
            None => 0,
        };
        let Some(whole) = self.lines.whole(written) else {
            return Err(ErrorKind::StorageFull.into());
        };
        self.at = Mark { cursor: whole.cursor, messages: self.at.messages + whole.lines };
        self.figures.recorded.fetch_add(whole.lines, Ordering::Relaxed);
        Ok(())
    }

    /// Writes the lines to the file at `path`; gives back how many bytes are in
    /// it, and leaves none there of a line that did not fit.
    fn write(&mut self, path: PathBuf) -> io::Result<usize> {
        let mut file = match self.file.take() {
            Some(file) if file.is_at(&path) => file,
            _ => DayFile::open(path)?,
        };
        let written = file.write(&self.lines.text)?;
        let torn = written - self.lines.whole(written).map_or(0, |whole| whole.bytes);
        // If it cannot be cut off, opening the file anew ends the line.
        if torn == 0 || file.cut(torn).is_ok() {
            self.file = Some(file);
        }
        Ok(written)
    }

    /// The last chance for what comes before `end` and is not written yet.
    fn write_out(&mut self, end: Mark) {
        let Some(dir) = self.dir.clone() else { return };
        while self.at.cursor < end.cursor {
            let left_bytes = end.cursor - self.at.cursor;
            let news = self.room.since(self.at.cursor, BATCH_BYTES.min(left_bytes as usize));
            if let Err(error) = self.step(&dir, &news) {
                let lost = end.messages.saturating_sub(self.at.messages);
                warn!(lost, "{lost} messages at the end of the record are lost: {error}");
                self.figures.dropped.fetch_add(lost, Ordering::Relaxed);
                return;
            }
        }
        self.recovers();
    }

    /// Nothing before `mark` can be recorded any more.
    fn lose(&mut self, mark: Mark, dir: &Path) {
        let lost = mark.messages.saturating_sub(self.at.messages);
        self.fails(dir, "it is too slow");
        self.figures.dropped.fetch_add(lost, Ordering::Relaxed);
        self.at = mark;
    }

    fn fails(&mut self, dir: &Path, why: &str) {
        *lock(&self.figures.failing) = Some(why.to_owned());
        self.troubles.begin(dir, why, self.figures.dropped.load(Ordering::Relaxed));
    }

    fn recovers(&mut self) {
        if self.troubles.end(self.figures.dropped.load(Ordering::Relaxed)) {
            *lock(&self.figures.failing) = None;
        }
    }
}

#[cfg(test)]
mod tests;

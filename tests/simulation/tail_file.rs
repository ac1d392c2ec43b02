//! The tail file of a process, in memory.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use wschat::chat::Tim;
use wschat::feed::{Log, Piece, RecoveredTail, StreamMark, TailFileWriter};
use wschat::room::TailStore;

/// What a crash leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    Tail,
    /// The tail, but its newest record is damaged.
    DamagedTail,
    Nothing,
}

/// The bytes of a tail file.
#[derive(Debug, Default)]
pub struct TailFile {
    bytes: Vec<u8>,
    /// A byte of the newest record.
    newest: Option<usize>,
}

#[derive(Debug)]
struct Store {
    file: Arc<Mutex<TailFile>>,
    writer: TailFileWriter,
}

impl TailFile {
    /// A file with what is in `log`, and what writes to it.
    pub fn create(log: &Log, tail_bytes: usize) -> (Arc<Mutex<Self>>, Box<dyn TailStore>) {
        let bytes = vec![0; TailFileWriter::file_bytes(tail_bytes)];
        let file = Arc::new(Mutex::new(Self { bytes, newest: None }));
        let first = log.pieces().iter().next();
        let start = first.map_or((log.end(), log.messages()), |it| (it.start, it.messages_before));
        let file_bytes = TailFileWriter::file_bytes(tail_bytes);
        let write = |at, bytes: &[u8]| file.lock().unwrap().write(at, bytes);
        let Ok(writer) = TailFileWriter::new(file_bytes, start, log.complete_since(), write);
        let mut store = Store { file: Arc::clone(&file), writer };
        log.pieces().iter().for_each(|piece| store.append(piece, None));
        if let Some(stream_mark) = log.stream_mark() {
            store.advance(stream_mark);
        }
        (file, Box::new(store))
    }

    /// What the next process finds.
    pub fn recover(&self, left: Left) -> Option<RecoveredTail> {
        let mut bytes = self.bytes.clone();
        let damaged = self.newest.filter(|_| left == Left::DamagedTail);
        if let Some(newest) = damaged {
            bytes[newest] ^= 1;
        }
        let tail = RecoveredTail::decode(bytes).expect("only the newest record may be damaged");
        assert_eq!(tail.lacks_newest, damaged.is_some());
        (left != Left::Nothing).then_some(tail)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Infallible> {
        let at = at as usize;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        // The mark is at the start.
        self.newest = if at > 0 { Some(at + bytes.len() - 1) } else { self.newest };
        Ok(())
    }
}

impl TailStore for Store {
    fn append(&mut self, messages: &Piece, stream_mark: Option<StreamMark>) {
        let Self { file, writer } = self;
        let write = |at, bytes: &[u8]| file.lock().unwrap().write(at, bytes);
        let frames = messages.message_frames();
        let Piece { messages, last_tim, .. } = messages;
        let Ok(()) = writer.append(&frames, *messages, *last_tim, stream_mark, write);
    }

    fn lack_until(&mut self, _: Tim) {}

    fn start_at(&mut self, complete_since: Tim) {
        let Self { file, writer } = self;
        let write = |at, bytes: &[u8]| file.lock().unwrap().write(at, bytes);
        let Ok(()) = writer.start_at(complete_since, write);
    }

    fn advance(&mut self, stream_mark: StreamMark) {
        let Self { file, writer } = self;
        let write = |at, bytes: &[u8]| file.lock().unwrap().write(at, bytes);
        let Ok(()) = writer.advance(stream_mark, write);
    }
}

//! The tail file in a memory file (memfd_create(2)), which systemd keeps after a crash.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, memfd_create};
use tracing::warn;

use crate::chat::Tim;
use crate::feed::{Log, Piece, RecoveredTail, RoomHistory, StreamMark, TailFileWriter};
use crate::room::TailStore;

/// A memory file with the tail of the feed. Its memory is used as far as it is written.
#[derive(Debug)]
pub struct TailMemfd {
    file: File,
    /// None after an error.
    writer: Option<TailFileWriter>,
}

impl TailMemfd {
    /// A file for the newest `tail_bytes` bytes of the feed, with what is in `log`, of a room
    /// with this history.
    pub fn create(log: &Log, tail_bytes: usize, history: RoomHistory) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(memfd_create("wschat-tail", flags)?);
        let bytes = TailFileWriter::file_bytes(tail_bytes);
        file.set_len(bytes as u64)?;
        fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        let first = log.pieces().iter().next();
        let start = first.map_or((log.end(), log.messages()), |it| (it.start, it.messages_before));
        let write = |at, bytes: &[u8]| file.write_all_at(bytes, at);
        let (at, history) = history.encode();
        write(at, &history)?;
        let mut writer = TailFileWriter::new(bytes, start, log.complete_since(), write)?;
        for piece in log.pieces().iter() {
            let frames = piece.message_frames();
            writer.append(&frames, piece.messages, piece.last_tim, None, write)?;
        }
        if let Some(stream_mark) = log.stream_mark() {
            writer.advance(stream_mark, write)?;
        }
        Ok(Self { file, writer: Some(writer) })
    }
}

impl AsFd for TailMemfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl TailStore for TailMemfd {
    fn append(&mut self, messages: &Piece, stream_mark: Option<StreamMark>) {
        let Piece { bytes, messages, last_tim, .. } = messages;
        let write = |at, bytes: &[u8]| self.file.write_all_at(bytes, at);
        let written = self
            .writer
            .as_mut()
            .map(|writer| writer.append(bytes, *messages, *last_tim, stream_mark, write));
        self.check(written);
    }

    fn start_at(&mut self, complete_since: Tim) {
        let write = |at, bytes: &[u8]| self.file.write_all_at(bytes, at);
        let written = self.writer.as_mut().map(|writer| writer.start_at(complete_since, write));
        self.check(written);
    }

    fn lack_until(&mut self, tim: Tim) {
        let write = |at, bytes: &[u8]| self.file.write_all_at(bytes, at);
        let written = self.writer.as_mut().map(|writer| writer.lack_until(tim, write));
        self.check(written);
    }

    fn advance(&mut self, stream_mark: StreamMark) {
        let write = |at, bytes: &[u8]| self.file.write_all_at(bytes, at);
        let written = self.writer.as_mut().map(|writer| writer.advance(stream_mark, write));
        self.check(written);
    }
}

impl TailMemfd {
    /// Discards the file after an error: what is not complete must not be recovered.
    fn check(&mut self, written: Option<io::Result<()>>) {
        let Some(Err(error)) = written else { return };
        warn!(%error, "messages will not outlive a crash: {error}");
        self.writer = None;
        if let Err(error) = discard(&self.file) {
            warn!(%error, "cannot discard the stored messages: {error}");
        }
    }
}

/// Makes the content invalid, and frees its memory: a file of zeros is not a tail file.
fn discard(file: &File) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(fallocate(file, flags, 0, file.metadata()?.len())?)
}

/// The tail in the files that earlier processes have left: usually one, but two if a process
/// ended while it started. `None` if there is no file.
pub fn recover(files: impl Iterator<Item = io::Result<File>>) -> io::Result<Option<RecoveredTail>> {
    let mut newest: Option<RecoveredTail> = None;
    for file in files {
        let mut bytes = Vec::new();
        file?.read_to_end(&mut bytes)?;
        let tail = RecoveredTail::decode(bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if newest.as_ref().is_none_or(|newest| newest.last_tim <= tail.last_tim) {
            newest = Some(tail);
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::stamp;
    use crate::feed::EncodedMessages;

    const HISTORY: RoomHistory = RoomHistory { restarts: 3, crashes: 2 };

    /// Appends a message to both.
    fn send(log: &mut Log, memfd: &mut TailMemfd, secs: u64) {
        let mut message = EncodedMessages::default();
        message.push(|out| out.extend([b'x'; 300]));
        message.stamp(|text| stamp(text, Tim::from_nanos(secs * 1_000_000_000)));
        log.append(message.bytes(), 1);
        memfd.append(log.pieces().iter().next_back().unwrap(), log.stream_mark());
    }

    /// The file as the next process opens it.
    fn reopened(memfd: &TailMemfd) -> io::Result<File> {
        use std::os::fd::AsRawFd;
        File::open(format!("/proc/self/fd/{}", memfd.file.as_raw_fd()))
    }

    fn frames(tail: &RecoveredTail) -> Vec<u8> {
        tail.records.iter().flat_map(|(_, frames)| frames.clone()).collect()
    }

    #[test]
    fn the_next_process_has_the_tail_and_passes_it_on() {
        let mut log = Log::resume(65_536, 700, 7, Tim::from_nanos(5));
        let mut memfd = TailMemfd::create(&log, 65_536, HISTORY).unwrap();
        (1..4).for_each(|secs| send(&mut log, &mut memfd, secs));
        let mut next = TailMemfd::create(&log, 65_536, HISTORY).unwrap();
        send(&mut log, &mut next, 4);
        // Both are there if the process ends before it has removed the first.
        let files = [&next, &memfd].map(reopened);
        let tail = recover(files.into_iter()).unwrap().unwrap();
        assert_eq!((tail.start, tail.messages_before), (700, 7));
        assert_eq!((tail.complete_since, tail.history), (Tim::from_nanos(5), HISTORY));
        assert_eq!(tail.last_tim.whole_secs(), 4);
        let all: Vec<u8> = log.pieces().iter().flat_map(|piece| piece.bytes.to_vec()).collect();
        assert!(frames(&tail) == all);
    }

    #[test]
    fn the_file_has_a_fixed_size() {
        let memfd = TailMemfd::create(&Log::new(65_536), 65_536, HISTORY).unwrap();
        let size = memfd.file.metadata().unwrap().len();
        assert!(memfd.file.set_len(size + 1).is_err() && memfd.file.set_len(0).is_err());
        assert!(memfd.file.write_all_at(b"x", size).is_err());
    }

    #[test]
    fn nothing_is_recovered_after_an_error() {
        let mut log = Log::new(65_536);
        let mut memfd = TailMemfd::create(&log, 65_536, HISTORY).unwrap();
        send(&mut log, &mut memfd, 1);
        let not_writable = reopened(&memfd).unwrap();
        let writable = std::mem::replace(&mut memfd.file, not_writable);
        send(&mut log, &mut memfd, 2);
        assert!(memfd.writer.is_none());
        memfd.file = writable;
        send(&mut log, &mut memfd, 3);
        discard(&memfd.file).unwrap();
        let error = recover([reopened(&memfd)].into_iter()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(recover(std::iter::empty()).unwrap(), None);
    }
}

//! The tail file: a file that was written and then damaged, and any mark with a valid checksum.
#![no_main]

use std::convert::Infallible;

use libfuzzer_sys::fuzz_target;
use wschat::chat::Tim;
use wschat::feed::{Log, Position, RecoveredTail, StreamMark, TailFileWriter};
use wschat::ws::frame::{self, Opcode};

/// Where the ring starts, and where the checksum of the mark is.
const RING_START: usize = 4096;
const CHECKSUM: usize = 120;

fuzz_target!(|data: &[u8]| {
    recover(data);
    let Some(([size, batches], data)) = data.split_first_chunk() else { return };
    let (lengths, damage) = data.split_at((*batches as usize).min(data.len()));
    let (frames, mut file) = written(RING_START + 200 + 16 * usize::from(*size), lengths);
    let whole = recover(&file).expect("a file that was written is valid");
    assert!(frames.ends_with(&whole));
    for change in damage.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]]))
            % (CHECKSUM + 4 + file.len() - RING_START);
        let at = if at < CHECKSUM + 4 { at } else { at - CHECKSUM - 4 + RING_START };
        file[at] ^= change[2];
    }
    if let Some(found) = recover(&file) {
        assert!(whole.starts_with(&found), "no wrong byte");
    }
    // As if the numbers of the mark were meant.
    let checksum = crc32fast::hash(&file[..CHECKSUM]);
    file[CHECKSUM..CHECKSUM + 4].copy_from_slice(&checksum.to_le_bytes());
    recover(&file);
});

/// A file with a batch for each of `lengths`, and all frames that were appended.
fn written(size: usize, lengths: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut file, mut all) = (vec![0; size], Vec::new());
    let mut write = |at: u64, bytes: &[u8]| {
        file[at as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok::<_, Infallible>(())
    };
    let start = (1 << 20, 77);
    let Ok(mut writer) = TailFileWriter::new(size, start, Tim::from_nanos(1), &mut write);
    for (number, length) in lengths.iter().enumerate() {
        let tim = Tim::from_nanos(2 + number as u64);
        let text = format!("{}\"tim\":\"{tim}\"}}", "x".repeat(3 * usize::from(*length)));
        let before = all.len();
        frame::put(Opcode::Text, text.as_bytes(), &mut all);
        let position = Position { created: 5, sequence: number as u64 };
        let stream_mark = (length % 2 == 0).then_some(StreamMark { position, tim, newest: tim });
        let Ok(()) = writer.append(&all[before..], 1, tim, stream_mark, &mut write);
    }
    (all, file)
}

/// Everything that the next process does with a file. Returns the recovered frames.
fn recover(file: &[u8]) -> Option<Vec<u8>> {
    let tail = RecoveredTail::decode(file.to_vec()).ok()?;
    let mut log = Log::resume(65_536, tail.start, tail.messages_before, tail.complete_since);
    tail.records.iter().for_each(|(messages, frames)| log.append(frames, *messages));
    assert_eq!(log.messages(), log.pieces().messages_before(log.end()).max(tail.messages_before));
    log.pieces().first_after(Tim::default());
    Some(tail.records.into_iter().flat_map(|(_, frames)| frames).collect())
}

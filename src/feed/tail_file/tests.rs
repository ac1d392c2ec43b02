use std::convert::Infallible;

use proptest::prelude::*;
use proptest::sample::Index;

use super::format::{MARK_BYTES, RECORD_HEADER_BYTES, RING_START, VERSION};
use super::*;
use crate::chat::{Tim, gap_notice};
use crate::feed::{Position, StreamMark};
use crate::ws::frame::{self, Opcode};

/// A file in memory, and every write to it.
struct TestFile {
    writer: TailFileWriter,
    size: usize,
    writes: Vec<(u64, Vec<u8>)>,
    /// For each batch, the number of writes after it.
    ends: Vec<usize>,
    /// For each batch, the number of messages before it.
    sent: Vec<usize>,
    /// All frames so far, and the end and the `tim` of each message.
    frames: Vec<u8>,
    messages: Vec<(usize, Tim)>,
    start: (u64, u64),
}

impl TestFile {
    fn new(size: usize, start: (u64, u64)) -> Self {
        let mut writes = Vec::new();
        let store = |at, bytes: &[u8]| {
            writes.push((at, bytes.to_vec()));
            Ok::<_, Infallible>(())
        };
        let Ok(writer) = TailFileWriter::new(size, start, Tim::from_nanos(1), store);
        let (ends, sent) = (vec![writes.len()], vec![0]);
        let (frames, messages) = Default::default();
        Self { writer, size, writes, ends, sent, frames, messages, start }
    }

    /// The place in the stream of this batch, as a record of the stream would have it.
    fn stream_mark(batch: usize) -> Option<StreamMark> {
        let position = Position { created: 5, sequence: batch as u64 };
        let of = |base: u64| Tim::from_nanos(base + batch as u64);
        (batch > 0).then(|| StreamMark { position, tim: of(1_000), newest: of(2_000) })
    }

    /// Appends messages of these lengths, or only notes the place in the stream.
    fn append(&mut self, lengths: &[usize]) {
        let (before, mut last_tim) = (self.frames.len(), Tim::default());
        for length in lengths {
            last_tim = Tim::from_nanos(2 + self.messages.len() as u64);
            let padding = "x".repeat(*length);
            let text = format!("{{\"usr\":\"{padding}\",\"msg\":\"\",\"tim\":\"{last_tim}\"}}");
            frame::put(Opcode::Text, text.as_bytes(), &mut self.frames);
            self.messages.push((self.frames.len(), last_tim));
        }
        let store = |at, bytes: &[u8]| {
            self.writes.push((at, bytes.to_vec()));
            Ok(())
        };
        let batch = &self.frames[before..];
        let stream_mark = Self::stream_mark(self.ends.len());
        let done: Result<_, Infallible> = match stream_mark.filter(|_| lengths.is_empty()) {
            Some(stream_mark) => self.writer.advance(stream_mark, store),
            None => self.writer.append(batch, lengths.len() as u32, last_tim, stream_mark, store),
        };
        let Ok(()) = done;
        self.ends.push(self.writes.len());
        self.sent.push(self.messages.len());
    }

    /// The file after all writes.
    fn bytes(&self) -> Vec<u8> {
        let mut file = vec![0; self.size];
        for (at, written) in &self.writes {
            file[*at as usize..][..written.len()].copy_from_slice(written);
        }
        file
    }

    /// Checks that a recovered tail is a run of whole messages as they were sent, and returns
    /// the numbers of its first message and of the first message behind it.
    fn check(&self, tail: &RecoveredTail) -> (usize, usize) {
        let start = (tail.start - self.start.0) as usize;
        let bytes: Vec<u8> = tail.records.iter().flat_map(|record| record.1.clone()).collect();
        let end = start + bytes.len();
        assert!(bytes == self.frames[start..end], "no wrong byte");
        let number = |position: usize| match position {
            0 => 0,
            position => self.messages.iter().position(|end| end.0 == position).unwrap() + 1,
        };
        let (first, behind) = (number(start), number(end));
        assert_eq!(tail.messages_before, self.start.1 + first as u64);
        let counted: u32 = tail.records.iter().map(|record| record.0).sum();
        assert_eq!(counted as usize, behind - first);
        let tim = |behind: usize| Tim::from_nanos(1 + behind as u64);
        if tail.lacks_newest {
            assert!(behind < self.messages.len());
            assert_eq!(tail.complete_since, tail.last_tim);
        } else {
            assert_eq!((tail.complete_since, tail.last_tim), (tim(first), tim(behind)));
            let sequence = tail.stream_mark.map_or(0, |mark| mark.position.sequence as usize);
            assert_eq!(self.sent[sequence], behind, "whole batches, up to the place in the stream");
        }
        (first, behind)
    }
}

/// Batches of messages, by the lengths of their padding.
fn batches() -> impl Strategy<Value = Vec<Vec<usize>>> {
    let length = prop_oneof![8 => 0usize..40, 1 => 0usize..700];
    prop::collection::vec(prop::collection::vec(length, 0..6), 1..60)
}

fn filled(size: usize, batches: &[Vec<usize>]) -> TestFile {
    let mut file = TestFile::new(RING_START + size, (1_000_000, 500));
    batches.iter().for_each(|lengths| file.append(lengths));
    file
}

/// The newest recorded file in tests/handover: its ring has begun again.
fn recorded() -> TestFile {
    filled(400, &[vec![10, 20], vec![30], vec![40, 0], vec![50]])
}

/// If this fails, the next release cannot continue after a crash of this one. `RECORD_STATE=1`
/// records the file of a version that has none yet.
#[test]
#[allow(clippy::disallowed_methods)]
fn every_version_so_far_is_read() {
    let path =
        |version: u8| format!("{}/tests/handover/v{version}.tail", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("RECORD_STATE").is_some() && !std::fs::exists(path(VERSION)).unwrap() {
        std::fs::write(path(VERSION), recorded().bytes()).unwrap();
    }
    for version in 1..=VERSION {
        let mut tail = RecoveredTail::decode(std::fs::read(path(version)).unwrap()).unwrap();
        if version == 1 {
            assert_eq!(tail.stream_mark, None);
            tail.stream_mark = TestFile::stream_mark(4);
        }
        assert_eq!(tail.stream_mark, TestFile::stream_mark(4), "version {version}");
        assert_eq!(recorded().check(&tail), (2, 6), "version {version}");
    }
    // The newest version is also written as before.
    assert_eq!(std::fs::read(path(VERSION)).unwrap(), recorded().bytes());
}

#[test]
fn an_empty_file_has_its_position_and_time() {
    let file = TestFile::new(TailFileWriter::file_bytes(65_536), (7, 3));
    let tail = RecoveredTail::decode(file.bytes()).unwrap();
    let tim = Tim::from_nanos(1);
    let want = RecoveredTail {
        start: 7,
        messages_before: 3,
        complete_since: tim,
        last_tim: tim,
        ..RecoveredTail::default()
    };
    assert_eq!(tail, want);
}

#[test]
fn before_the_first_message_the_time_can_be_set() {
    let mut file = TestFile::new(RING_START + 2000, (0, 0));
    for (lengths, nanos, want) in [(&[][..], 7, 7), (&[0], 3, 3), (&[0], 9, 3)] {
        let store = |at, bytes: &[u8]| {
            file.writes.push((at, bytes.to_vec()));
            Ok::<_, Infallible>(())
        };
        let Ok(()) = file.writer.start_at(Tim::from_nanos(nanos), store);
        let tail = RecoveredTail::decode(file.bytes()).unwrap();
        assert_eq!(tail.complete_since, Tim::from_nanos(want));
        file.append(lengths);
    }
}

#[test]
fn the_whole_tail_is_kept() {
    let tail_bytes = 100_000;
    let quarter = tail_bytes / 4;
    // The smallest messages, each alone; large batches; batches longer than a record; and the
    // longest messages among the smallest.
    let kinds: [&[&[usize]]; 4] = [
        &[&[0]],
        &[&[16_000], &[10; 150]],
        &[&[700; 130]],
        &[&[0; 20], &[0], &[quarter - 80], &[0]],
    ];
    for kind in kinds {
        let mut file = TestFile::new(TailFileWriter::file_bytes(tail_bytes), (0, 0));
        for lengths in kind.iter().cycle() {
            file.append(lengths);
            let tail = RecoveredTail::decode(file.bytes()).unwrap();
            let (first, behind) = file.check(&tail);
            assert_eq!(behind, file.messages.len());
            let kept = file.frames.len() - tail.start as usize;
            assert!(kept >= tail_bytes.min(file.frames.len()), "{kept} bytes in {kind:?}");
            if file.frames.len() > 4 * tail_bytes {
                assert!(first > 0);
                break;
            }
            // This saves the time to repeat them.
            file.writes = vec![(0, file.bytes())];
        }
    }
}

#[test]
fn a_message_longer_than_the_file_empties_it() {
    let mut file = filled(2000, &[vec![0], vec![10, 20]]);
    file.append(&[3000]);
    let tail = RecoveredTail::decode(file.bytes()).unwrap();
    assert_eq!(file.check(&tail), (4, 4));
    file.append(&[0]);
    let tail = RecoveredTail::decode(file.bytes()).unwrap();
    assert_eq!(file.check(&tail), (4, 5));
}

#[test]
fn the_newest_messages_of_a_batch_longer_than_the_file_are_kept() {
    let mut file = filled(2000, &[vec![0], vec![10, 20]]);
    file.append(&[100; 30]);
    let tail = RecoveredTail::decode(file.bytes()).unwrap();
    let (first, behind) = file.check(&tail);
    assert!((20..24).contains(&first) && behind == 33, "{first}");
    file.append(&[]);
    let later = RecoveredTail::decode(file.bytes()).unwrap();
    assert_eq!(later, RecoveredTail { stream_mark: TestFile::stream_mark(4), ..tail });
}

#[test]
fn a_record_of_an_earlier_round_is_not_valid() {
    let record = RECORD_HEADER_BYTES + filled(2000, &[vec![0]]).frames.len();
    let fill = |batches| filled(10 * record, &vec![vec![0]; batches]).bytes();
    let (earlier, mut later) = (fill(10), fill(15));
    let third = RING_START + 2 * record..RING_START + 3 * record;
    later[third.clone()].copy_from_slice(&earlier[third]);
    assert_eq!(RecoveredTail::decode(later), Err(TailFileError::Record));
}

#[test]
fn a_file_of_zeros_or_of_another_version_is_refused() {
    let file = filled(2000, &[vec![0]]).bytes();
    let mut newer = file.clone();
    newer[7] = VERSION + 1;
    let checksum = crc32fast::hash(&newer[..MARK_BYTES - 4]).to_le_bytes();
    newer[MARK_BYTES - 4..MARK_BYTES].copy_from_slice(&checksum);
    for bytes in [&vec![0; file.len()], &newer, &file[..50], &file[..RING_START], &[]] {
        assert_eq!(RecoveredTail::decode(bytes.to_vec()), Err(TailFileError::Mark));
    }
}

#[test]
fn messages_that_are_missing_are_missing_in_the_next_process() {
    let mut file = TestFile::new(RING_START + 600, (0, 0));
    for (lengths, since) in [(1, 1), (2, 3), (3, 3), (40, 3), (40, 40)] {
        file.append(&[lengths]);
        if since == 3 {
            let store = |at, bytes: &[u8]| {
                file.writes.push((at, bytes.to_vec()));
                Ok::<_, Infallible>(())
            };
            let Ok(()) = file.writer.lack_until(Tim::from_nanos(3), store);
        }
        let tail = RecoveredTail::decode(file.bytes()).unwrap();
        assert_eq!(tail.complete_since, Tim::from_nanos(since.min(3)));
    }
    for number in 6..40 {
        file.append(&[40]);
        let tail = RecoveredTail::decode(file.bytes()).unwrap();
        let first = 1 + tail.messages_before;
        assert_eq!(tail.complete_since, Tim::from_nanos(first.max(3)), "{number}");
    }
}

/// Who asks for a time within a gap gets its notice, or a new one.
#[test]
fn the_notice_of_a_gap_is_forgotten_with_what_follows_it() {
    for ring in (300..2_000).step_by(31) {
        for (before, length) in [(0, 10), (3, 50), (9, 0), (5, 300), (2, 1_500)] {
            let mut file = TestFile::new(RING_START + ring, (0, 0));
            let tim = |nanos| Tim::from_nanos(nanos);
            let mut append = |texts: &[(u64, Vec<u8>)]| {
                let mut frames = Vec::new();
                texts.iter().for_each(|(_, text)| frame::put(Opcode::Text, text, &mut frames));
                let store = |at, bytes: &[u8]| {
                    file.writes.push((at, bytes.to_vec()));
                    Ok::<_, Infallible>(())
                };
                let (last, count) = (tim(texts.last().unwrap().0), texts.len() as u32);
                let Ok(()) = file.writer.append(&frames, count, last, None, store);
                let tail = RecoveredTail::decode(file.bytes()).unwrap();
                let has_notice = tail.records.iter().any(|(_, frames)| {
                    let start = br#""err":"gap""#;
                    frames.windows(start.len()).any(|window| window == start)
                });
                (tail.complete_since, has_notice)
            };
            let text = |nanos| {
                let padding = "x".repeat(length);
                let text = format!("{{\"msg\":\"{padding}\",\"tim\":\"{}\"}}", tim(nanos));
                (nanos, text.into_bytes())
            };
            let mut notice = Vec::new();
            gap_notice(None, None, tim(101), &mut notice);
            for number in 0..before {
                append(&[text(10 + number)]);
            }
            if ring % 2 == 0 {
                append(&[text(100), (101, notice)]);
            } else {
                append(&[(101, notice)]);
            }
            for number in 0..20 {
                let (since, has_notice) = append(&[text(1_000 + number)]);
                assert!(since < tim(101) && has_notice || since >= tim(999), "{ring} {since}");
            }
        }
    }
}

proptest! {
    // Each case decodes the file some thousand times.
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The process ends after any byte of any write.
    #[test]
    fn a_cut_loses_nothing_that_was_appended(batches in batches(), size in 1500usize..5000) {
        let file = filled(size, &batches);
        let mut bytes = vec![0; file.size];
        for (number, (start, written)) in file.writes.iter().enumerate() {
            let start = *start as usize;
            // The mark is written at once.
            let steps = if start == 0 { vec![written.len()] } else { vec![1; written.len()] };
            let mut done = 0;
            for step in steps {
                bytes[start + done..][..step].copy_from_slice(&written[done..][..step]);
                done += step;
                let tail = RecoveredTail::decode(bytes.clone()).unwrap();
                let (_, behind) = file.check(&tail);
                // All batches whose last write is done.
                let writes = number + usize::from(done == written.len());
                let appended = file.ends.partition_point(|end| *end <= writes).saturating_sub(1);
                let sent: usize = batches[..appended].iter().map(Vec::len).sum();
                prop_assert!(behind >= sent && !tail.lacks_newest, "{behind} of {sent} messages");
            }
        }
    }
}

proptest! {
    #[test]
    fn damage_gives_no_wrong_byte(
        batches in batches(),
        size in 1500usize..5000,
        damage in prop::collection::vec((any::<Index>(), 0usize..400, any::<u8>(), any::<bool>()), 1..4),
    ) {
        let file = filled(size, &batches);
        let mut bytes = file.bytes();
        for (at, length, byte, is_flip) in damage {
            // The gap between the mark and the ring contains nothing.
            let at = at.index(RING_START / 40 + size);
            let at = if at < RING_START / 40 { at } else { at - RING_START / 40 + RING_START };
            let end = if is_flip { at + 1 } else { (at + length).min(bytes.len()) };
            for place in &mut bytes[at..end] {
                *place = if is_flip { *place ^ byte } else { byte };
            }
        }
        if let Ok(tail) = RecoveredTail::decode(bytes.clone()) {
            let (_, behind) = file.check(&tail);
            prop_assert!(tail.lacks_newest || behind == file.messages.len());
            let newest = batches.iter().rev().map(Vec::len).find(|len| *len > 0).unwrap_or(0);
            prop_assert!(behind + newest >= file.messages.len());
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_flipped_byte_is_noticed(batches in batches(), size in 1500usize..3000, by in 1u8..) {
        let file = filled(size, &batches);
        let (mut bytes, mut kinds) = (file.bytes(), [0; 3]);
        let whole = RecoveredTail::decode(bytes.clone()).unwrap();
        for at in (0..MARK_BYTES).chain(RING_START..bytes.len()) {
            bytes[at] ^= by;
            match RecoveredTail::decode(bytes.clone()) {
                Ok(tail) if tail == whole => kinds[0] += 1,
                Ok(tail) => {
                    file.check(&tail);
                    prop_assert!(tail.lacks_newest);
                    kinds[1] += 1;
                }
                Err(_) => kinds[2] += 1,
            }
            bytes[at] ^= by;
        }
        // The bytes of the newest record, those of the others with the mark, and the rest.
        let newest = whole.records.last().map_or(0, |record| RECORD_HEADER_BYTES + record.1.len());
        let used: usize = whole.records.iter().map(|record| RECORD_HEADER_BYTES + record.1.len()).sum();
        prop_assert_eq!(kinds, [size - used, newest, used - newest + MARK_BYTES]);
    }
}

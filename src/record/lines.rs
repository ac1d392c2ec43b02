//! Makes lines of a file from frames of the feed, without a file or a clock.

use crate::chat::{is_presence, stamped_tim};
use crate::feed::Pieces;
use crate::ws::frame;

/// The first characters of a `tim`: `2020-08-11`, in UTC.
pub(super) type Day = [u8; 10];

/// Lines of one day, for one write.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// `None` if there are no lines.
    pub day: Option<Day>,
    /// The lines, each with its newline.
    pub text: Vec<u8>,
    /// For each frame the end of its line in `text`, the lines up to there, and the cursor behind
    /// the frame.
    ends: Vec<(usize, u64, u64)>,
}

impl Lines {
    /// Takes what `pieces` hold behind `cursor`, but only messages of the first one's day.
    pub fn fill(&mut self, pieces: &Pieces, cursor: u64) {
        self.day = None;
        self.text.clear();
        self.ends.clear();
        for piece in pieces.since(cursor) {
            let skip = cursor.saturating_sub(piece.start) as usize;
            let mut rest = piece.bytes.get(skip..).unwrap_or_default();
            while let Some((payload, behind)) = frame::split(rest) {
                if !self.push(payload) {
                    return;
                }
                rest = behind;
                let lines = self.ends.last().map_or(0, |(_, lines, _)| *lines);
                let lines = lines + u64::from(!is_presence(payload));
                self.ends.push((self.text.len(), lines, piece.end() - rest.len() as u64));
            }
        }
    }

    /// The whole lines in the first `written` bytes; `None` if no frame was taken.
    pub fn whole(&self, written: usize) -> Option<Whole> {
        let frames = self.ends.partition_point(|(end, ..)| *end <= written);
        let (bytes, lines, cursor) = *self.ends.get(frames.checked_sub(1)?)?;
        Some(Whole { lines, bytes, cursor })
    }

    /// Adds a line, unless it belongs to another day.
    fn push(&mut self, payload: &[u8]) -> bool {
        // The feed has no message without a `tim`; presence is not recorded.
        let Some(day) = day(payload) else { return true };
        if *self.day.get_or_insert(day) != day {
            return false;
        }
        // Strings have newlines escaped; white space in a nested value may have them.
        let newline = |byte: &u8| matches!(byte, b'\n' | b'\r');
        self.text.extend(payload.iter().map(|byte| if newline(byte) { b' ' } else { *byte }));
        self.text.push(b'\n');
        true
    }
}

/// The first lines of [`Lines`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    pub lines: u64,
    pub bytes: usize,
    pub cursor: u64,
}

fn day(payload: &[u8]) -> Option<Day> {
    // It becomes a file name.
    stamped_tim(payload)?.first_chunk().copied().filter(is_day)
}

/// Whether `day` has the form `2020-08-11`.
pub(super) fn is_day(day: &Day) -> bool {
    day.iter().enumerate().all(|(at, byte)| match at {
        4 | 7 => *byte == b'-',
        _ => byte.is_ascii_digit(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Presence;
    use crate::feed::Log;
    use crate::ws::frame::Opcode;

    fn message(day: &str, msg: &str) -> String {
        format!(r#"{{"usr":"a","msg":"{msg}","tim":"{day}T00:00:00.000000001Z"}}"#)
    }

    /// A feed with these messages in each piece.
    fn feed(pieces: &[&[String]]) -> Log {
        let mut log = Log::new(1 << 20);
        for messages in pieces {
            let mut frames = Vec::new();
            for message in *messages {
                frame::put(Opcode::Text, message.as_bytes(), &mut frames);
            }
            log.append(&frames, messages.len() as u32);
        }
        log
    }

    fn fill(log: &Log, cursor: u64) -> Lines {
        let mut lines = Lines::default();
        lines.fill(log.pieces(), cursor);
        lines
    }

    #[test]
    fn each_message_is_a_line() {
        let [a, b, c] = ["a", "b", &"c".repeat(300)].map(|msg| message("2020-08-11", msg));
        // JSON allows newlines between values.
        let b = b.replace(',', ",\r\n");
        let log = feed(&[&[a.clone(), b.clone()], std::slice::from_ref(&c)]);
        let lines = fill(&log, 0);
        let b = b.replace("\r\n", "  ");
        assert_eq!(lines.text, format!("{a}\n{b}\n{c}\n").as_bytes());
        assert_eq!(lines.day.as_ref().unwrap(), b"2020-08-11");
        let all = Whole { lines: 3, bytes: lines.text.len(), cursor: log.end() };
        assert_eq!(lines.whole(lines.text.len()), Some(all));
        assert_eq!(fill(&log, log.end()).whole(0), None);
    }

    #[test]
    fn presence_is_not_recorded() {
        let mut presence = Vec::new();
        Presence::default().write(&mut presence);
        let presence = String::from_utf8(presence).unwrap();
        let a = message("2020-08-11", "a");
        let log = feed(&[&[presence.clone(), a.clone(), presence.clone()]]);
        let lines = fill(&log, 0);
        assert_eq!(lines.text, format!("{a}\n").as_bytes());
        let all = Whole { lines: 1, bytes: a.len() + 1, cursor: log.end() };
        assert_eq!(lines.whole(lines.text.len()), Some(all));
        let lines = fill(&feed(&[&[presence]]), 0);
        assert_eq!((lines.day, lines.whole(0).map(|whole| whole.lines)), (None, Some(0)));
    }

    #[test]
    fn each_day_has_its_own_batch() {
        let (late, early) = (message("2020-12-31", "late"), message("2021-01-01", "early"));
        let log = feed(&[&[late.clone(), early.clone()]]);
        let first = fill(&log, 0);
        assert_eq!(first.text, format!("{late}\n").as_bytes());
        let whole = first.whole(first.text.len()).unwrap();
        let second = fill(&log, whole.cursor);
        assert_eq!(second.text, format!("{early}\n").as_bytes());
        assert_eq!(second.day.as_ref().unwrap(), b"2021-01-01");
        assert_eq!(second.whole(second.text.len()).unwrap().cursor, log.end());
    }

    #[test]
    fn an_incomplete_write_is_continued_at_the_first_incomplete_line() {
        let messages = ["one", "two", "three", "four"].map(|msg| message("2020-08-11", msg));
        let log = feed(&[&messages[..1], &messages[1..3], &messages[3..]]);
        let all = fill(&log, 0);
        for cut in 0..=all.text.len() {
            let (written, cursor) = all.whole(cut).map_or((0, 0), |w| (w.bytes, w.cursor));
            let rest = fill(&log, cursor);
            assert_eq!([&all.text[..written], &rest.text].concat(), all.text, "cut at {cut}");
        }
    }

    #[test]
    fn a_message_without_a_day_is_skipped() {
        let log = feed(&[&["".to_owned(), "{}".to_owned(), message("../../../a", "x")]]);
        let lines = fill(&log, 0);
        assert!(lines.text.is_empty());
        assert_eq!(lines.whole(0).unwrap().cursor, log.end());
    }
}

//! From frames of the feed to lines of a file. Pure: no file, no clock.

use crate::chat::Tim;
use crate::feed::Pieces;
use crate::ws::frame;

/// The day of a message as its `tim` begins: `2020-08-11`, in UTC.
pub(super) type Day = [u8; 10];

/// What stands between the first digit of `tim` and the end of every message:
/// the digits themselves, a quote and a brace.
const FROM_TIM_BYTES: usize = Tim::LEN + 2;

/// Lines of one day, ready for one write.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The day of them all; none if there are no lines.
    pub day: Option<Day>,
    /// The lines, each with its newline.
    pub text: Vec<u8>,
    /// For each frame where its line ends in `text`, and the cursor behind it.
    ends: Vec<(usize, u64)>,
}

impl Lines {
    /// Takes from `pieces` what lies behind `cursor`, up to the end of the
    /// first day.
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
                self.ends.push((self.text.len(), piece.end() - rest.len() as u64));
            }
        }
    }

    /// How many whole lines the first `written` bytes hold, how many bytes
    /// those are, and the cursor behind the last of them.
    pub fn whole(&self, written: usize) -> Option<Whole> {
        let lines = self.ends.partition_point(|(end, _)| *end <= written);
        let (bytes, cursor) = *self.ends.get(lines.checked_sub(1)?)?;
        Some(Whole { lines: lines as u64, bytes, cursor })
    }

    /// Adds a line, unless it belongs to another day.
    fn push(&mut self, payload: &[u8]) -> bool {
        // A frame without a `tim` is no message; there is none in the feed.
        let Some(day) = day(payload) else { return true };
        if *self.day.get_or_insert(day) != day {
            return false;
        }
        // A newline in a message can only be white space inside of a nested
        // value, since a string has it escaped.
        let newline = |byte: &u8| matches!(byte, b'\n' | b'\r');
        self.text.extend(payload.iter().map(|byte| if newline(byte) { b' ' } else { *byte }));
        self.text.push(b'\n');
        true
    }
}

/// Some first lines of a [`Lines`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    /// How many they are.
    pub lines: u64,
    /// Their length together.
    pub bytes: usize,
    /// The position in the feed behind the last of them.
    pub cursor: u64,
}

fn day(payload: &[u8]) -> Option<Day> {
    let tim = payload.get(payload.len().checked_sub(FROM_TIM_BYTES)?..)?;
    tim.first_chunk().copied().filter(|day: &Day| {
        // It becomes the name of a file.
        day.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::Log;
    use crate::ws::frame::Opcode;

    fn message(day: &str, msg: &str) -> String {
        format!(r#"{{"usr":"a","msg":"{msg}","tim":"{day}T00:00:00.000000001Z"}}"#)
    }

    /// A feed whose pieces hold those messages.
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
        let log = feed(&[&[a.clone(), b.clone()], std::slice::from_ref(&c)]);
        let lines = fill(&log, 0);
        assert_eq!(lines.text, format!("{a}\n{b}\n{c}\n").as_bytes());
        assert_eq!(lines.day.as_ref().unwrap(), b"2020-08-11");
        let all = Whole { lines: 3, bytes: lines.text.len(), cursor: log.end() };
        assert_eq!(lines.whole(lines.text.len()), Some(all));
        assert_eq!(fill(&log, log.end()).whole(0), None);
    }

    #[test]
    fn another_day_is_another_batch() {
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
    fn a_write_cut_anywhere_goes_on_with_the_first_line_that_is_not_whole() {
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
    fn a_line_has_no_newline_inside() {
        let text = "{\"usr\":\"a\",\"msg\":\"b\",\"x\":{\r\n\"y\":1\n},\"tim\":\"2020-08-11T00:00:00.000000001Z\"}";
        let lines = fill(&feed(&[&[text.to_owned()]]), 0);
        let line = String::from_utf8(lines.text).unwrap();
        assert_eq!(line.trim_end().matches(['\n', '\r']).count(), 0);
        let (got, want): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(&line).unwrap(), serde_json::from_str(text).unwrap());
        assert_eq!(got, want);
    }

    #[test]
    fn what_has_no_day_is_no_line() {
        let log = feed(&[&["".to_owned(), "{}".to_owned(), message("../../../a", "x")]]);
        let lines = fill(&log, 0);
        assert!(lines.text.is_empty());
        assert_eq!(lines.whole(0).unwrap().cursor, log.end(), "it is passed over");
    }
}

//! What a server sends to a client, as NATS's protocol frames it; the time of the messages of a
//! stream is rewritten in it.

/// The time of a stream steps at one of its messages, as the clock of its leader did.
#[derive(Clone, Copy, Debug)]
pub struct TimeStep {
    /// The sequence of the first message with another time.
    pub from_sequence: u64,
    /// How far it steps, in nanoseconds.
    pub by_ns: i64,
}

/// The position in the bytes of a server.
#[derive(Default)]
pub struct Deliveries {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// What is left of the header and payload of a message, with the line break behind it.
    rest: usize,
}

impl Deliveries {
    /// Appends the next bytes to `out`, with other times of messages if there is a step.
    pub fn rewrite(&mut self, mut bytes: &[u8], step: Option<TimeStep>, out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let (now, later) = bytes.split_at(self.rest.min(bytes.len()));
                out.extend_from_slice(now);
                (self.rest, bytes) = (self.rest - now.len(), later);
                continue;
            }
            let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                self.line.extend_from_slice(bytes);
                return;
            };
            self.line.extend_from_slice(&bytes[..=end]);
            bytes = &bytes[end + 1..];
            let line = String::from_utf8(std::mem::take(&mut self.line)).expect("a line of text");
            out.extend_from_slice(rewritten(&line, step).as_bytes());
            self.rest = message_bytes(&line);
        }
    }
}

/// `MSG <subject> <sid> [reply] <bytes>` and
/// `HMSG <subject> <sid> [reply] <header bytes> <bytes>` are followed by a message.
fn message_bytes(line: &str) -> usize {
    let words: Vec<_> = line.split_ascii_whitespace().collect();
    match words[..] {
        ["MSG" | "HMSG", .., bytes] => bytes.parse::<usize>().expect("a length") + 2,
        _ => 0,
    }
}

/// The line with another time in its reply subject, if it has one:
/// `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumer sequence>.<time>.<pending>`.
fn rewritten(line: &str, step: Option<TimeStep>) -> String {
    let unchanged = line.to_owned();
    let Some(step) = step else { return unchanged };
    let words: Vec<_> = line.split_ascii_whitespace().collect();
    let (["MSG", _, _, reply, _] | ["HMSG", _, _, reply, _, _]) = words[..] else {
        return unchanged;
    };
    let Some(tokens) = reply.strip_prefix("$JS.ACK.") else { return unchanged };
    let tokens: Vec<_> = tokens.split('.').collect();
    let [.., sequence, _, time, _] = tokens[..] else { return unchanged };
    let number = |text: &str| text.parse::<u64>().expect("a number in a reply subject");
    if number(sequence) < step.from_sequence {
        return unchanged;
    }
    let stepped = number(time).checked_add_signed(step.by_ns).unwrap().to_string();
    assert_eq!(stepped.len(), time.len());
    // The time is the last token but one.
    let (before, pending) = reply.rsplit_once('.').unwrap();
    let before = before.strip_suffix(time).unwrap();
    unchanged.replacen(reply, &format!("{before}{stepped}.{pending}"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: TimeStep = TimeStep { from_sequence: 7, by_ns: -5_000_000_000 };

    /// The bytes, in pieces of each length.
    fn check(bytes: &str, want: &str) {
        for length in 1..=bytes.len() {
            let (mut deliveries, mut out) = (Deliveries::default(), Vec::new());
            for piece in bytes.as_bytes().chunks(length) {
                deliveries.rewrite(piece, Some(STEP), &mut out);
            }
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
    }

    #[test]
    fn only_the_time_of_later_messages_is_rewritten() {
        let ack = |sequence, time| format!("$JS.ACK.wschat.c.1.{sequence}.1.{time}.0");
        let payload = "HMSG a 1 $JS.ACK.wschat.c.1.9.1.1700000000000000009.0 2 4\r\n";
        let stream = |time| {
            format!(
                "INFO {{\"a\":1}}\r\nPING\r\nMSG a 1 {}\r\n{payload}\r\n-ERR 'x'\r\n\
                 HMSG wschat 1 {} 12 14\r\nNATS/1.0\r\n\r\nhi\r\nMSG b 2 0\r\n\r\n+OK\r\n",
                payload.len(),
                ack(7, time)
            )
        };
        check(&stream("1700000005000000001"), &stream("1700000000000000001"));
        let early = format!("MSG wschat 1 {} 2\r\nhi\r\n", ack(6, "1700000005000000001"));
        check(&early, &early);
    }
}

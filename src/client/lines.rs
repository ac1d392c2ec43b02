//! The client in a pipe: lines in, messages out, an exit code at the end.

use std::io::{self, BufRead, Read, Write};
use std::pin::pin;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::{Address, Event, Heard, Incoming, Link, LinkError, Paint, TokenError, TokenSource};
use super::{encode, harmless_text, json_line, new_id, stdout_gone};
use crate::zone;

/// Bytes of the longest line that is read; no room takes so long a message.
const LINE_BYTES_MAX: u64 = 1024 * 1024;
/// Lines read ahead of the one that is being sent.
const LINES_AHEAD_MAX: usize = 16;

/// How long the room may take to send a line back; a busy one is slow to take
/// what is said, so this is no short time.
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(60);

/// Where the lines to send come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin {
    /// Nobody writes there: a terminal that is not ours to read, or /dev/null.
    Nobody,
    /// A pipe or a file; at its end all is said.
    Lines,
}

/// The client in a pipe.
#[derive(Debug)]
pub struct Lines {
    /// The room.
    pub address: Address,
    /// The name to speak under.
    pub usr: String,
    /// The token to speak with.
    pub token: TokenSource,
    /// Messages as JSON instead of as lines for people.
    pub json: bool,
    /// Colours for the lines for people.
    pub paint: Paint,
    /// Where the lines to send come from.
    pub stdin: Stdin,
}

/// How it ended, if nothing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every line was sent and came back, or nobody reads our output any more.
    Done,
    /// The server did not send a line on; why is on stderr.
    NotSent,
}

/// Why it ended too early.
#[derive(Debug, thiserror::Error)]
pub enum LinesError {
    /// There is no connection, or no more.
    #[error("{0}")]
    Connection(#[from] LinkError),
    /// A line was neither sent on nor refused.
    #[error("the line has not come back in {} s", RECEIPT_TIMEOUT.as_secs())]
    NoReceipt,
    /// The token cannot be read.
    #[error("{0}")]
    Token(#[from] TokenError),
    /// The lines to send cannot be read.
    #[error("{0}")]
    Stdin(io::Error),
    /// The messages cannot be written.
    #[error("{0}")]
    Stdout(io::Error),
}

impl Lines {
    /// Sends each line, one after the other, and prints what the room says,
    /// until all lines have come back; without a line to send, until the
    /// connection or our reader is gone. A line that comes too early is sent
    /// again when its time has come.
    ///
    /// # Errors
    ///
    /// If there is no connection, it ends too early, or a file cannot be read.
    pub async fn run(self) -> Result<End, LinesError> {
        let jwt = self.token.read()?;
        let mut link = Link::open(&self.address).await?;

        let mut lines = (self.stdin == Stdin::Lines).then(read_stdin);
        let mut reader = pin!(stdout_gone());
        let mut reader_gone = false;
        let mut spoken = false;
        let mut heard = Heard::default();
        // The line that has not come back yet: one at a time, so that a notice
        // can only mean that one.
        let mut under_way: Option<Line> = None;
        let mut warned = false;
        loop {
            let speaking = lines.is_some() || under_way.is_some();
            if !speaking && (spoken || reader_gone || (self.stdin == Stdin::Lines && !self.json)) {
                link.close().await;
                return Ok(End::Done);
            }
            let due = under_way.as_ref().map_or_else(Instant::now, |line| line.due);
            tokio::select! {
                event = link.next() => match event {
                    Event::Closed(why) => return Err(why.into()),
                    Event::Text(text) => {
                        let Some(message) = Incoming::parse(&text) else { continue };
                        if message.is_notice() && let Some(line) = &mut under_way {
                            let why = harmless_text(&message.msg);
                            let Some(wait) = message.too_early() else {
                                eprintln!("wschat: {why}");
                                link.close().await;
                                return Ok(End::NotSent);
                            };
                            if !warned {
                                eprintln!("wschat: {why}; then it is sent again");
                            }
                            warned = true;
                            (line.sent, line.due) = (false, Instant::now() + wait);
                            continue;
                        }
                        reader_gone = reader_gone || !self.print(&text, &message, &mut heard)?;
                        if under_way.as_ref().is_some_and(|line| message.has_id(&line.id)) {
                            under_way = None;
                        }
                    }
                },
                line = next_line(&mut lines), if under_way.is_none() && lines.is_some() => match line {
                    Some(line) => {
                        let line = line.map_err(LinesError::Stdin)?;
                        let id = new_id();
                        let json = encode(&self.usr, &line, &id, jwt.as_deref());
                        under_way = Some(Line { id, json, sent: false, due: Instant::now() });
                        spoken = true;
                    }
                    None => lines = None,
                },
                () = sleep_until(due), if under_way.is_some() => {
                    let Some(line) = under_way.as_mut().filter(|line| !line.sent) else {
                        return Err(LinesError::NoReceipt);
                    };
                    (line.sent, line.due) = (true, Instant::now() + RECEIPT_TIMEOUT);
                    link.send(line.json.clone()).await?;
                }
                () = &mut reader, if !reader_gone => reader_gone = true,
            }
        }
    }

    /// Prints a message and flushes it; `false` if nobody reads any more.
    fn print(&self, text: &str, message: &Incoming, heard: &mut Heard) -> Result<bool, LinesError> {
        let line = match self.json {
            true => json_line(text),
            false => heard.line(message, zone::here(), self.paint),
        };
        let mut stdout = io::stdout().lock();
        match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(LinesError::Stdout(error)),
        }
    }
}

/// A line that has not come back yet.
struct Line {
    id: String,
    json: String,
    /// Whether the room has it to answer.
    sent: bool,
    /// When it is to be sent or, once it is, to be back.
    due: Instant,
}

async fn next_line(
    lines: &mut Option<mpsc::Receiver<io::Result<String>>>,
) -> Option<io::Result<String>> {
    lines.as_mut()?.recv().await
}

/// Reads stdin on a thread of its own, which nobody waits for at the end: a
/// read that blocks cannot be called off.
fn read_stdin() -> mpsc::Receiver<io::Result<String>> {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD_MAX);
    thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        while let Some(line) = read_line(&mut stdin).transpose() {
            let failed = line.is_err();
            if sender.blocking_send(line).is_err() || failed {
                break;
            }
        }
    });
    receiver
}

/// The next line without its end; nothing after the last. What is not UTF-8
/// becomes `�`, for a log with a broken character is still worth sending.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    input.take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes.len() as u64 > LINE_BYTES_MAX {
        return Err(io::Error::other(format!("a line is longer than {LINE_BYTES_MAX} bytes")));
    }
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Ok(Some(String::from_utf8_lossy(line).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_an_input() {
        let check = |input: &[u8], want: &[&str]| {
            let mut input = input;
            let lines = std::iter::from_fn(|| read_line(&mut input).unwrap());
            assert_eq!(lines.collect::<Vec<_>>(), want);
        };
        check(b"", &[]);
        check(b"a\n", &["a"]);
        check(b"a\r\n\nb", &["a", "", "b"]);
        check(b"\xff\n", &["\u{fffd}"]);
    }

    #[test]
    fn a_line_without_an_end_is_bounded() {
        let endless = vec![b'a'; LINE_BYTES_MAX as usize + 10];
        assert!(read_line(&mut endless.as_slice()).is_err());
    }
}

//! The client for pipes and files: sends lines, prints messages, then exits.

use std::future::{Future, pending};
use std::io::{self, BufRead, Read, Write};
use std::pin::pin;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::connection::{ConnectionError, RoomConnection};
use super::message::{Body, Incoming, Kind, encode, new_id};
use super::options::ClientOptions;
use super::render::Renderer;
use super::sanitize::{json_line, sanitize_text};
use crate::zone::Zone;

/// Bytes of the longest input line; no room accepts longer messages.
const LINE_BYTES_MAX: u64 = 1024 * 1024;
/// Lines that are read before the current one is done.
const LINES_AHEAD_MAX: usize = 16;

/// How long the client waits for its own message. A busy room reads messages late,
/// so this is long.
const ECHO_TIMEOUT: Duration = Duration::from_secs(60);

/// Why the client stopped early.
#[derive(Debug, thiserror::Error)]
pub enum PipeError {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("the room did not send the message back within {} s", ECHO_TIMEOUT.as_secs())]
    NoEcho,
    /// The server did not send a message; contains its notice.
    #[error("{0}")]
    NotSent(String),
    #[error("{0}")]
    Token(io::Error),
    #[error("{0}")]
    Stdin(io::Error),
    #[error("{0}")]
    Stdout(io::Error),
}

/// Sends each line of stdin if `reads_stdin` is true, waits until the room has sent it
/// back, then sends the next one. Meanwhile it prints all messages, as JSON if `json`
/// is true. It repeats a line that was sent too early when the time of the notice has
/// passed.
///
/// Returns after the last line. Without a line it listens until the connection ends or
/// stdout is closed.
pub async fn run(options: ClientOptions, json: bool, reads_stdin: bool) -> Result<(), PipeError> {
    let jwt = options.token.read().map_err(PipeError::Token)?;
    let mut connection = RoomConnection::open(&options.url).await?;

    let mut lines = if reads_stdin { read_stdin() } else { mpsc::channel(1).1 };
    let mut has_lines = reads_stdin;
    let mut stdout_closed = pin!(stdout_closed());
    let mut has_reader = true;
    let mut has_sent = false;
    let mut renderer = Renderer::new(Zone::local(), options.colours);
    // One message at a time, so that a notice can only be about this one.
    let mut in_flight: Option<InFlight> = None;
    let mut warned = false;
    loop {
        let is_sending = has_lines || in_flight.is_some();
        if !is_sending && (has_sent || !has_reader || (reads_stdin && !json)) {
            connection.close().await;
            return Ok(());
        }
        let due = in_flight.as_ref().map_or_else(Instant::now, |message| message.due);
        tokio::select! {
            text = connection.next() => {
                let text = text?;
                let Some(message) = Incoming::parse(&text) else { continue };
                if let (Kind::Notice { retry_after }, Some(sent)) = (message.kind, &mut in_flight) {
                    let notice = sanitize_text(&message.msg);
                    let Some(wait) = retry_after else {
                        connection.close().await;
                        return Err(PipeError::NotSent(notice));
                    };
                    if !warned {
                        eprintln!("wschat: {notice}; the message will be sent again");
                    }
                    warned = true;
                    (sent.is_sent, sent.due) = (false, Instant::now() + wait);
                    continue;
                }
                let line = match json {
                    true => json_line(&text),
                    false => renderer.render(&message, |text, _| sanitize_text(text)),
                };
                has_reader = has_reader && print(&line)?;
                in_flight.take_if(|sent| message.id.as_ref() == Some(&sent.id));
            },
            line = lines.recv(), if in_flight.is_none() && has_lines => match line {
                Some(line) => {
                    let (msg, id) = (line.map_err(PipeError::Stdin)?, new_id());
                    let body = Body::Text { msg: &msg, id: &id };
                    let text = encode(&options.usr, body, jwt.as_deref());
                    in_flight = Some(InFlight { id, text, is_sent: false, due: Instant::now() });
                    has_sent = true;
                }
                None => has_lines = false,
            },
            () = sleep_until(due), if in_flight.is_some() => {
                let Some(message) = in_flight.as_mut().filter(|message| !message.is_sent) else {
                    return Err(PipeError::NoEcho);
                };
                (message.is_sent, message.due) = (true, Instant::now() + ECHO_TIMEOUT);
                connection.send(message.text.clone()).await?;
            }
            () = &mut stdout_closed, if has_reader => has_reader = false,
        }
    }
}

/// Prints a line and flushes it. Returns whether stdout is still open.
fn print(line: &str) -> Result<bool, PipeError> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(PipeError::Stdout(error)),
    }
}

/// A message that the room has not sent back yet.
struct InFlight {
    id: String,
    text: String,
    is_sent: bool,
    /// When to send it or, after that, when to stop waiting for it.
    due: Instant,
}

/// Reads stdin on a thread of its own that nothing joins, because a blocking read
/// cannot be cancelled.
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

/// The next line without its line end, `None` at the end of the input. Invalid
/// UTF-8 becomes `�`, so that a damaged log line is still sent.
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

/// Waits until the reader of stdout has closed it, so that `wschat join … | head -1`
/// exits at once and not with the next message. Never returns if stdout is a file.
fn stdout_closed() -> impl Future<Output = ()> {
    let (sender, receiver) = oneshot::channel();
    // poll(2) cannot be cancelled, so nothing joins this thread.
    thread::spawn(move || {
        let stdout = io::stdout();
        // Even without requested events poll(2) reports that the other end closed.
        let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
        let result = loop {
            match poll(&mut fds, None) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                result => break result,
            }
        };
        // The client may have ended before.
        result.is_ok().then(|| sender.send(()));
    });
    async {
        if receiver.await.is_err() {
            pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_input() {
        let check = |mut input: &[u8], want: &[&str]| {
            let lines = std::iter::from_fn(|| read_line(&mut input).unwrap());
            assert_eq!(lines.collect::<Vec<_>>(), want);
        };
        check(b"", &[]);
        check(b"a\n", &["a"]);
        check(b"a\r\n\nb", &["a", "", "b"]);
        check(b"\xff\n", &["\u{fffd}"]);
        let endless = vec![b'a'; LINE_BYTES_MAX as usize + 10];
        assert!(read_line(&mut endless.as_slice()).is_err());
    }
}

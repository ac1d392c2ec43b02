//! The client for pipes and files: sends lines, prints messages, then exits.

use std::future::{Future, pending};
use std::io::{self, IsTerminal, Write};
use std::mem::take;
use std::pin::pin;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

use super::connection::{ConnectionError, RoomConnection};
use super::message::{Body, Incoming, IncomingKind, JsonLine, encode, encode_json, new_id, raw_id};
use super::options::ClientOptions;
use super::render::Renderer;
use super::resume::Resume;
use super::sanitize::{json_line, sanitize_text};
use crate::zone::Zone;

/// Bytes of the longest input line; no room accepts longer messages.
const LINE_BYTES_MAX: usize = 1024 * 1024;

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
    /// A line of stdin is not a JSON object.
    #[error(
        "line {0} is not a JSON object; with --json, each line of the input is a message with its \
         own fields"
    )]
    NotJson(u64),
    #[error("{0}")]
    Token(io::Error),
    #[error("{0}")]
    Stdin(io::Error),
    #[error("{0}")]
    Stdout(io::Error),
}

/// Sends each line of stdin if `reads_stdin` is true, waits until the room has sent it
/// back, then sends the next one. Meanwhile it prints all messages, as JSON if `json`
/// is true; then each line of stdin is a message with its own fields. It repeats a line that was
/// sent too early when the time of the notice has passed.
///
/// Returns after the last line. Without a line it listens until stdout is closed. If the
/// connection ends, it reconnects if it only listens, for a program (`json`), and the
/// options allow it, and nobody has put it out.
pub async fn run(options: ClientOptions, json: bool, reads_stdin: bool) -> Result<(), PipeError> {
    let jwt = options.token.read().map_err(PipeError::Token)?;
    let mut resume = Resume::new(options.url.clone(), options.since);
    let mut connection = resume.open().await?;

    let mut stdin = BufReader::new(tokio::io::stdin());
    let mut line = vec![];
    let mut has_lines = reads_stdin;
    let mut stdout_closed = pin!(stdout_closed());
    let mut has_reader = true;
    let mut has_sent = false;
    let mut renderer = Renderer::new(Zone::local(), options.colours);
    // One message at a time, so that a notice can only be about this one.
    let mut in_flight: Option<InFlight> = None;
    let mut warned = false;
    let mut line_number = 0;
    renderer.set_own_name(&options.usr);
    loop {
        let is_sending = has_lines || in_flight.is_some();
        if !is_sending && (has_sent || !has_reader || (reads_stdin && !json)) {
            connection.close().await;
            return Ok(());
        }
        let due = in_flight.as_ref().map_or_else(Instant::now, |message| message.due);
        tokio::select! {
            text = connection.next() => {
                let text = match text {
                    Ok(text) => text,
                    Err(error) if json && options.reconnects && !is_sending && !error.is_kick => {
                        eprintln!("wschat: {}: {error}; reconnecting", options.url.authority());
                        connection.close().await;
                        connection = tokio::select! {
                            () = &mut stdout_closed => return Ok(()),
                            reopened = reopen(&mut resume, error) => reopened,
                        };
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                };
                let Some(message) = Incoming::parse(&text).filter(|new| resume.advance(new)) else {
                    continue;
                };
                if let (IncomingKind::Notice { retry_after }, Some(sent)) = (message.kind, &mut in_flight) {
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
                if message.kind == IncomingKind::Presence {
                    // A line is a message, for the programs that read them.
                    continue;
                }
                let line = match (json, columns()) {
                    (true, _) => json_line(&text),
                    (false, None) => renderer.render(&message, |text, _| sanitize_text(text)),
                    (false, Some(columns)) => renderer.render_in(&message, columns),
                };
                has_reader = has_reader && print(&line)?;
                let is_ack = message.kind == IncomingKind::Ack;
                in_flight.take_if(|sent| {
                    sent.is_command && is_ack || raw_id(&text).as_ref() == Some(&sent.id)
                });
            },
            line = read_line(&mut stdin, &mut line), if in_flight.is_none() && has_lines => match line {
                Ok(Some(msg)) => {
                    line_number += 1;
                    let msg = if line_number == 1 { msg.trim_start_matches('\u{feff}') } else { &msg };
                    if json && msg.trim().is_empty() {
                        continue;
                    }
                    let Some(message) = outgoing(msg, json, &options.usr, jwt.as_deref()) else {
                        connection.close().await;
                        return Err(PipeError::NotJson(line_number));
                    };
                    in_flight = Some(message);
                    has_sent = true;
                }
                Ok(None) => has_lines = false,
                Err(error) => return Err(PipeError::Stdin(error)),
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

/// Opens the next connection, however often that fails.
async fn reopen(resume: &mut Resume, mut error: ConnectionError) -> RoomConnection {
    loop {
        sleep(resume.delay(&error)).await;
        match resume.open().await {
            Ok(connection) => return connection,
            Err(next) => error = next,
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
    /// The JSON of its `id`.
    id: String,
    text: String,
    is_command: bool,
    is_sent: bool,
    /// When to send it or, after that, when to stop waiting for it.
    due: Instant,
}

/// The message that a line of the input becomes. `None` if it has to be JSON and is not.
fn outgoing(line: &str, json: bool, usr: &str, jwt: Option<&str>) -> Option<InFlight> {
    let JsonLine { text, id, is_command } = if json {
        encode_json(line, usr, jwt)?
    } else {
        let id = new_id();
        let text = encode(usr, Body::Text { msg: line, id: &id }, jwt);
        JsonLine { text, id: format!("{id:?}"), is_command: false }
    };
    Some(InFlight { id, text, is_command, is_sent: false, due: Instant::now() })
}

/// The columns of the terminal, if stdout is one.
fn columns() -> Option<usize> {
    let (columns, _) = io::stdout().is_terminal().then(crossterm::terminal::size)?.ok()?;
    Some(usize::from(columns)).filter(|columns| *columns > 0)
}

/// The next line without its line end, `None` at the end of the input. Invalid UTF-8
/// becomes `�`, so that a damaged log line is still sent.
///
/// If the future is dropped, `bytes` has the part of the line that was read.
async fn read_line(
    input: &mut (impl AsyncBufRead + Unpin),
    bytes: &mut Vec<u8>,
) -> io::Result<Option<String>> {
    let limit = LINE_BYTES_MAX + 1 - bytes.len();
    input.take(limit as u64).read_until(b'\n', bytes).await?;
    if bytes.len() > LINE_BYTES_MAX {
        return Err(io::Error::other(format!("a line is longer than {LINE_BYTES_MAX} bytes")));
    }
    let line = take(bytes);
    let line_end: &[u8] = if line.ends_with(b"\r\n") { b"\r\n" } else { b"\n" };
    let text = String::from_utf8_lossy(line.strip_suffix(line_end).unwrap_or(&line));
    Ok((!line.is_empty()).then(|| text.into_owned()))
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

    #[tokio::test]
    async fn lines_of_the_input() {
        for (mut input, want) in [
            (&b""[..], &[][..]),
            (b"a\n", &["a"]),
            (b"a\r\n\nb", &["a", "", "b"]),
            (b"\xff\n", &["\u{fffd}"]),
        ] {
            let mut lines = vec![];
            while let Some(line) = read_line(&mut input, &mut vec![]).await.unwrap() {
                lines.push(line);
            }
            assert_eq!(lines, want);
        }
        let endless = vec![b'a'; LINE_BYTES_MAX + 10];
        assert!(read_line(&mut endless.as_slice(), &mut vec![]).await.is_err());
        assert_eq!(read_line(&mut &b"c\n"[..], &mut b"ab".to_vec()).await.unwrap().unwrap(), "abc");
    }
}

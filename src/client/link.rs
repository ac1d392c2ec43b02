//! One connection to a room.

use std::io;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use tungstenite::client::ClientRequestBuilder;
use tungstenite::protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode};
use tungstenite::{Error, Message};

use super::{Address, harmless_text};

/// How long name look-up, TCP, TLS and the upgrade may take together.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Silence after which we ask whether the server is still there.
const PING_AFTER: Duration = Duration::from_secs(30);
/// Silence after which the connection is taken for dead; the room itself pings
/// every 25 s.
const DEAD_AFTER: Duration = Duration::from_secs(60);
/// How long a message may take to leave; a server that reads nothing for so
/// long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(20);
/// How long we wait for the answer to our close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of the longest message that is taken: more than any room lets through.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes read at once; the library's default of 128 KiB is for files.
const READ_BUFFER_BYTES: usize = 16 * 1024;

/// One open connection.
#[derive(Debug)]
pub struct Link {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// When the last frame of any kind came.
    heard: Instant,
    /// Whether a ping of ours is unanswered.
    asked: bool,
    /// How long silence is believed, before and after we asked.
    patience: [Duration; 2],
}

/// What a connection has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A text message, as it came.
    Text(String),
    /// The end, and why, in words for people; nothing follows.
    Closed(LinkError),
}

/// Why there is no connection, or no more, in words for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LinkError(String);

impl LinkError {
    /// For this reason.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl Link {
    /// Opens a connection.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached within ten seconds, proves to be another
    /// one than the URL names, or does not speak WebSocket.
    pub async fn open(address: &Address) -> Result<Self, LinkError> {
        install_crypto();
        let agent = concat!("wschat/", env!("CARGO_PKG_VERSION"));
        let request =
            ClientRequestBuilder::new(address.uri().clone()).with_header("User-Agent", agent);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        match timeout(OPEN_TIMEOUT, connect_async_with_config(request, Some(config), true)).await {
            Ok(Ok((socket, _))) => {
                let patience = [PING_AFTER, DEAD_AFTER];
                Ok(Self { socket, heard: Instant::now(), asked: false, patience })
            }
            Ok(Err(error)) => Err(LinkError(reason(&error))),
            Err(_) => Err(LinkError(format!("no answer in {} s", OPEN_TIMEOUT.as_secs()))),
        }
    }

    /// Sends a text message.
    ///
    /// # Errors
    ///
    /// If the connection broke, or the server reads nothing.
    pub async fn send(&mut self, text: String) -> Result<(), LinkError> {
        match timeout(SEND_TIMEOUT, self.socket.send(Message::text(text))).await {
            Ok(sent) => sent.map_err(|error| LinkError(reason(&error))),
            Err(_) => Err(LinkError("the server takes nothing".into())),
        }
    }

    /// Waits for the next thing to tell. It can be dropped at any time without
    /// losing one.
    pub async fn next(&mut self) -> Event {
        loop {
            let silence = self.patience[usize::from(self.asked)];
            let Ok(frame) = timeout_at(self.heard + silence, self.socket.next()).await else {
                if self.asked {
                    return Event::Closed(LinkError("the server is silent".into()));
                }
                self.asked = true;
                // An error here is told by the next read as well.
                let _ = timeout(SEND_TIMEOUT, self.socket.send(Message::Ping("".into()))).await;
                continue;
            };
            self.heard = Instant::now();
            self.asked = false;
            match frame {
                Some(Ok(Message::Text(text))) => return Event::Text(text.to_string()),
                Some(Ok(Message::Close(frame))) => {
                    return Event::Closed(LinkError(farewell(frame.as_ref())));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Event::Closed(LinkError(reason(&error))),
                None => return Event::Closed(LinkError(farewell(None))),
            }
        }
    }

    /// Says goodbye; what still comes in is not looked at.
    pub async fn close(mut self) {
        let goodbye = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let answered = async {
            if self.socket.close(Some(goodbye)).await.is_ok() {
                while let Some(Ok(_)) = self.socket.next().await {}
            }
        };
        let _ = timeout(CLOSE_TIMEOUT, answered).await;
    }
}

/// Makes aws-lc the process's TLS crypto, which rustls wants to be said once.
fn install_crypto() {
    // An error means that it is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Why the server closed, with its code and its own words.
fn farewell(frame: Option<&CloseFrame>) -> String {
    let Some(frame) = frame else { return "the server closed the connection".into() };
    let code = u16::from(frame.code);
    let words = match (frame.reason.as_str(), frame.code) {
        ("", CloseCode::Normal) => "it was done",
        ("", CloseCode::Away) => "it is going away",
        ("", CloseCode::Size) => "the message was too long",
        ("", CloseCode::Restart) => "it restarts",
        ("", CloseCode::Again) => "try again later",
        ("", _) => return format!("the server closed the connection ({code})"),
        (words, _) => words,
    };
    format!("the server closed the connection: {} ({code})", harmless_text(words))
}

/// An error in a few words: the library's texts name its own parts.
fn reason(error: &Error) -> String {
    match error {
        Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            "connection refused: nothing listens there".into()
        }
        Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => farewell(None),
        Error::Io(error) => error.to_string(),
        Error::Http(response) => format!("no room there: HTTP {}", response.status()),
        Error::ConnectionClosed | Error::AlreadyClosed => farewell(None),
        Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            "the connection broke".into()
        }
        error => harmless_text(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_that_dies_in_silence_is_noticed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("ws://{}", listener.local_addr().unwrap()).parse().unwrap();
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            tokio_tungstenite::accept_async(stream).await.unwrap()
        };
        let (link, mut server) = tokio::join!(Link::open(&address), server);
        let mut link = link.unwrap();
        assert_eq!(link.patience, [Duration::from_secs(30), Duration::from_secs(60)]);
        link.patience = [Duration::from_millis(10), Duration::from_millis(20)];
        // It asks, and nobody reads the question.
        assert_eq!(link.next().await, Event::Closed(LinkError("the server is silent".into())));
        assert!(matches!(server.next().await, Some(Ok(Message::Ping(_)))));
    }

    #[test]
    fn farewells() {
        let check = |frame: Option<(u16, &str)>, want: &str| {
            let frame = frame.map(|(code, reason)| CloseFrame {
                code: CloseCode::from(code),
                reason: reason.into(),
            });
            assert_eq!(farewell(frame.as_ref()), want);
        };
        check(None, "the server closed the connection");
        check(Some((1001, "")), "the server closed the connection: it is going away (1001)");
        check(Some((1008, "idle")), "the server closed the connection: idle (1008)");
        check(Some((4000, "")), "the server closed the connection (4000)");
        check(Some((4000, "\x1b[2J")), "the server closed the connection: ␛[2J (4000)");
    }
}

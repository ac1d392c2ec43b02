//! A connection to a room.

use std::io;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use tungstenite::client::ClientRequestBuilder;
use tungstenite::error::ProtocolError;
use tungstenite::protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode};
use tungstenite::{Error, Message};

use super::room_url::RoomUrl;
use super::sanitize::sanitize_text;
use super::tls_words::tls_words;

/// Time limit for the name look-up, TCP, TLS and the upgrade together.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Silence after which the client sends a ping.
const PING_AFTER: Duration = Duration::from_secs(30);
/// Silence after which the connection counts as lost; the room pings every 25 s.
const LOST_AFTER: Duration = Duration::from_secs(60);
/// Time limit for sending a message.
const SEND_TIMEOUT: Duration = Duration::from_secs(20);
/// Time limit for the closing handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of the longest message that is accepted; no room accepts longer ones.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The reason of the close frame after a kick.
const KICKED: &str = "kicked";
/// Bytes of the read buffer; the library's default is 128 KiB.
const READ_BUFFER_BYTES: usize = 16 * 1024;

/// An open connection.
#[derive(Debug)]
pub struct RoomConnection {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// When the last frame of any kind arrived.
    last_frame: Instant,
    /// Whether a ping was sent since then.
    pinged: bool,
    /// [`PING_AFTER`] and [`LOST_AFTER`], shorter in tests.
    silence_limits: [Duration; 2],
}

/// Why a connection failed or ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ConnectionError {
    pub text: String,
    /// The server closed it with 1013: the client is too slow, or the server is busy.
    pub is_too_slow: bool,
    /// A moderator or an operator closed it: only the user may connect again.
    pub is_kick: bool,
}

impl RoomConnection {
    pub async fn open(url: &RoomUrl) -> Result<Self, ConnectionError> {
        // An error means that a provider is installed already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let agent = concat!("wschat/", env!("CARGO_PKG_VERSION"));
        let request = ClientRequestBuilder::new(url.uri().clone()).with_header("User-Agent", agent);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        match timeout(OPEN_TIMEOUT, connect_async_with_config(request, Some(config), true)).await {
            Ok(Ok((socket, _))) => Ok(Self {
                socket,
                last_frame: Instant::now(),
                pinged: false,
                silence_limits: [PING_AFTER, LOST_AFTER],
            }),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => {
                Err(ConnectionError::new(format!("no answer within {} s", OPEN_TIMEOUT.as_secs())))
            }
        }
    }

    pub async fn send(&mut self, text: String) -> Result<(), ConnectionError> {
        match timeout(SEND_TIMEOUT, self.socket.send(Message::text(text))).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(ConnectionError::new("the server does not read")),
        }
    }

    /// Waits for the next text message. An error is the end of the connection.
    /// Dropping the future loses no message.
    pub async fn next(&mut self) -> Result<String, ConnectionError> {
        loop {
            let limit = self.last_frame + self.silence_limits[usize::from(self.pinged)];
            let Ok(frame) = timeout_at(limit, self.socket.next()).await else {
                if self.pinged {
                    return Err(ConnectionError::new("the server does not respond"));
                }
                self.pinged = true;
                // The next read reports an error as well.
                let _ = timeout(SEND_TIMEOUT, self.socket.send(Message::Ping("".into()))).await;
                continue;
            };
            self.last_frame = Instant::now();
            self.pinged = false;
            match frame {
                Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                Some(Ok(Message::Close(frame))) => return Err(closed(frame.as_ref())),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Err(closed(None)),
            }
        }
    }

    /// Closes the connection and discards what still arrives.
    pub async fn close(mut self) {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let handshake = async {
            if self.socket.close(Some(frame)).await.is_ok() {
                while let Some(Ok(_)) = self.socket.next().await {}
            }
        };
        let _ = timeout(CLOSE_TIMEOUT, handshake).await;
    }
}

impl ConnectionError {
    /// An error with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_too_slow: false, is_kick: false }
    }
}

/// Names the close code and the reason of the server.
fn closed(frame: Option<&CloseFrame>) -> ConnectionError {
    let Some(frame) = frame else {
        return ConnectionError::new("the server closed the connection");
    };
    let code = u16::from(frame.code);
    let reason = match (frame.reason.as_str(), frame.code) {
        ("", CloseCode::Normal) => ": normal closure".into(),
        ("", CloseCode::Away) => ": it is going away".into(),
        ("", CloseCode::Size) => ": the message is too long".into(),
        ("", CloseCode::Restart) => ": it is restarting".into(),
        ("", CloseCode::Again) => ": try again later".into(),
        ("", _) => String::new(),
        (reason, _) => format!(": {}", sanitize_text(reason)),
    };
    let text = format!("the server closed the connection{reason} ({code})");
    let is_kick = frame.code == CloseCode::Policy && frame.reason.as_str() == KICKED;
    ConnectionError { text, is_too_slow: frame.code == CloseCode::Again, is_kick }
}

/// Replaces texts of the library that name its own parts.
impl From<Error> for ConnectionError {
    fn from(error: Error) -> Self {
        Self::new(match error {
            Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                "connection refused: nothing listens there".into()
            }
            Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return closed(None);
            }
            Error::Io(error) => match error.get_ref().and_then(|it| it.downcast_ref()) {
                Some(error) => tls_words(error),
                None => error.to_string(),
            },
            Error::Protocol(ProtocolError::HttparseError(_)) => {
                "the server does not speak HTTP there; with TLS, the URL begins with wss://".into()
            }
            Error::Http(response) => format!("the server answers HTTP {}", response.status()),
            Error::ConnectionClosed | Error::AlreadyClosed => return closed(None),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                "the connection was reset".into()
            }
            error => sanitize_text(&error.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_does_not_respond_is_noticed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap()).parse().unwrap();
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            tokio_tungstenite::accept_async(stream).await.unwrap()
        };
        let (connection, mut server) = tokio::join!(RoomConnection::open(&url), server);
        let mut connection = connection.unwrap();
        connection.silence_limits = [Duration::from_millis(10), Duration::from_millis(20)];
        let error = ConnectionError::new("the server does not respond");
        assert_eq!(connection.next().await, Err(error));
        assert!(matches!(server.next().await, Some(Ok(Message::Ping(_)))));
    }

    #[test]
    fn close_frames() {
        let check = |code: u16, reason: &str, want: &str| {
            let frame = CloseFrame { code: code.into(), reason: reason.into() };
            let text = format!("the server closed the connection{want} ({code})");
            let is_kick = (code, reason) == (1008, "kicked");
            let want = ConnectionError { text, is_too_slow: code == 1013, is_kick };
            assert_eq!(closed(Some(&frame)), want);
        };
        check(1001, "", ": it is going away");
        check(1008, "idle", ": idle");
        check(1008, "kicked", ": kicked");
        check(1001, "kicked", ": kicked");
        check(1013, "too slow: 7 messages behind", ": too slow: 7 messages behind");
        check(4000, "", "");
        check(4000, "\x1b[2J", ": ␛[2J");
    }
}

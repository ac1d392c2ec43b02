//! The asking side of the control socket.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::control::protocol::{ControlError, FORBIDDEN, Request, read};

/// How long an answer is waited for: longer than the daemon takes to say that
/// there is none.
const TIMEOUT: Duration = Duration::from_secs(75);

/// A connection to a running daemon.
#[derive(Debug)]
pub struct Call {
    stream: BufReader<UnixStream>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens there.
    #[error("wschat is not running, or has its control socket elsewhere (--control)")]
    NotRunning,
    /// It is not for us.
    #[error("{FORBIDDEN}")]
    Forbidden,
    /// It came as one.
    #[error("{0}")]
    ControlError(#[from] ControlError),
    /// The connection broke.
    #[error("{0}")]
    Broken(#[source] io::Error),
}

impl Call {
    /// Calls the daemon whose control socket is at `path`.
    ///
    /// # Errors
    ///
    /// [`CallError::NotRunning`], [`CallError::Forbidden`], or what else the
    /// system says.
    pub fn open(path: &Path) -> Result<Self, CallError> {
        let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => CallError::NotRunning,
            ErrorKind::PermissionDenied => CallError::Forbidden,
            _ => CallError::Broken(error),
        })?;
        stream.set_read_timeout(Some(TIMEOUT)).map_err(CallError::Broken)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    ///
    /// Every other [`CallError`].
    pub fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, CallError> {
        let mut line = serde_json::to_string(request).map_err(|e| CallError::Broken(e.into()))?;
        line.push('\n');
        // Whoever hung up without listening may have said why.
        let written = self.stream.get_mut().write_all(line.as_bytes());
        line.clear();
        let answer = self.stream.read_line(&mut line).and_then(|read| match read {
            0 => Err(io::Error::new(ErrorKind::UnexpectedEof, "the daemon has hung up")),
            _ => written,
        });
        match answer {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                Err(CallError::Broken(io::Error::new(ErrorKind::TimedOut, "no answer in time")))
            }
            Err(error) if line.is_empty() => Err(CallError::Broken(error)),
            _ => Ok(read(&line)?),
        }
    }
}

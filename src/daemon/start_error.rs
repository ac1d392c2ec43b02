//! Why the daemon did not start.

use std::io;
use std::path::PathBuf;

use crate::address::ListenAddress;
use crate::config::Problems;

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is invalid.
    #[error("{0}")]
    Configuration(Problems),
    /// The command line says where to listen, and systemd passed sockets.
    #[error("systemd passed sockets, so there is nothing to bind")]
    ListenTwice,
    /// A server or the stream of the cluster is not as it has to be; what to do.
    #[error("{0}")]
    Cluster(String),
    /// An address of the room cannot be bound.
    #[error("{1}")]
    Bind(ListenAddress, #[source] io::Error),
    /// The address of the metrics cannot be bound.
    #[error("{1}")]
    BindMetrics(ListenAddress, #[source] io::Error),
    /// The control socket cannot be bound at the requested path.
    #[error("{1}")]
    Control(PathBuf, #[source] io::Error),
    /// A system call that the daemon needs failed.
    #[error("{1}")]
    System(&'static str, #[source] io::Error),
}

impl StartError {
    /// The error of a system call; `what` names what it was for.
    pub fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System(what, error)
    }
}

//! Why a run ended early, with all texts.

use std::io;

use rustix::io::Errno;

/// A run that did not finish.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The options contradict each other.
    #[error("{0}")]
    Options(String),
    /// A limit of this machine, not of the server, with `open` connections.
    #[error("a limit of this machine ended the run at {open} connections: {limit}")]
    Machine { open: usize, limit: String },
    /// The server cannot be reached, or refused a connection or a message.
    #[error("{0}")]
    Server(String),
    /// The process of `--pid` cannot be read.
    #[error("--pid {pid}: {error}")]
    Process { pid: u32, error: io::Error },
    /// A system call failed that has to work.
    #[error("{0}")]
    System(#[from] io::Error),
}

impl BenchError {
    /// An error of connecting from `source` when `open` connections are open.
    pub fn connecting(error: io::Error, open: usize, source: &str) -> Self {
        let limit = match Errno::from_io_error(&error) {
            Some(Errno::MFILE) => "no more open files for this process (raise `ulimit -n`)".into(),
            Some(Errno::NFILE) => "no more open files for all (raise fs.file-max)".into(),
            Some(Errno::ADDRNOTAVAIL | Errno::ADDRINUSE) => format!(
                "no free port {source} (widen net.ipv4.ip_local_port_range, or wait a minute \
                 for the ports of an earlier run)"
            ),
            Some(Errno::NOBUFS | Errno::NOMEM) => {
                "no more memory for sockets (see net.ipv4.tcp_mem)".into()
            }
            _ => return Self::Server(format!("connection {}: {error}", open + 1)),
        };
        Self::Machine { open, limit }
    }
}

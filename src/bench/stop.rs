//! Why a run ended before it was done. All texts are here.

use std::io;

use rustix::io::Errno;

/// A run that could not be made to its end.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// The options contradict each other or the machine.
    #[error("{0}")]
    Plan(String),
    /// This machine, not the server, has no more.
    #[error("a limit of this machine ended it at {open} connections: {limit}")]
    Machine {
        /// Connections that were open by then.
        open: usize,
        /// What there is no more of, and what to do.
        limit: String,
    },
    /// The server could not be reached, or turned a connection away.
    #[error("{0}")]
    Server(String),
    /// The process named by `--pid` cannot be looked at.
    #[error("--pid {pid}: {why}")]
    Process {
        /// The process.
        pid: u32,
        /// What the system says.
        why: io::Error,
    },
    /// The system refused something that has to work.
    #[error("{0}")]
    System(#[from] io::Error),
}

impl Stop {
    /// Opening connection number `open` failed, while `source` was its own address.
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

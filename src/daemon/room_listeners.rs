//! Where the room listens: on sockets that systemd passes, on those that it has kept for the
//! previous process, or on configured addresses.

use std::os::fd::AsFd;

use tracing::warn;

use super::handover::fd_store;
use super::notify::ServiceManager;
use super::start_error::StartError;
use crate::address::ListenAddress;
use crate::config::Config;
use crate::server::ListeningSocket;

/// The most sockets that systemd keeps: the connections of a restart need the rest of its store.
const KEPT_MAX: usize = 32;

/// The listening sockets of the room.
pub struct RoomListeners {
    /// Where the room listens.
    pub sockets: Vec<ListeningSocket>,
    /// Where the previous process listened. Connections that wait there are accepted.
    pub former: Vec<ListeningSocket>,
    source: Source,
}

#[derive(PartialEq, Eq)]
enum Source {
    Passed,
    /// systemd passed no socket: its socket unit was changed and not restarted.
    Kept,
    Bound,
}

impl RoomListeners {
    /// The `passed` sockets. Only if there is none, the `kept` ones: the passed sockets are
    /// what the operator has configured. If there are neither, binds the configured addresses.
    pub fn open(
        passed: Vec<ListeningSocket>,
        kept: Vec<ListeningSocket>,
        config: &Config,
    ) -> Result<Self, StartError> {
        Ok(if !passed.is_empty() {
            Self { sockets: passed, former: kept, source: Source::Passed }
        } else if !kept.is_empty() {
            Self { sockets: kept, former: Vec::new(), source: Source::Kept }
        } else {
            Self { sockets: bind(config)?, former: Vec::new(), source: Source::Bound }
        })
    }

    /// Lets systemd keep passed sockets, in place of those with the numbers `old`, so that the
    /// next process can listen even if its socket unit is not restarted after a change.
    pub fn store(&self, manager: &ServiceManager, old: &[u32]) {
        if self.source == Source::Kept {
            return;
        }
        fd_store::remove(manager, fd_store::LISTENER_NAME, old.iter().copied());
        if self.source == Source::Bound || !fd_store::exists(manager) {
            return;
        }
        // With a socket that takes the address alone, the socket unit could not be restarted.
        let kept = self.sockets.iter().filter(|socket| socket.leaves_address_free());
        for (number, socket) in (0..).zip(kept.take(KEPT_MAX)) {
            let prefix = fd_store::LISTENER_NAME;
            if let Err(error) = fd_store::store_one(manager, prefix, number, socket.as_fd()) {
                warn!(%error, "systemd does not keep the socket of {socket}: {error}");
            }
        }
    }

    /// Says that the socket unit has to be restarted, if that is so.
    pub fn problem(&self) -> Option<String> {
        (self.source == Source::Kept).then(|| {
            let names: Vec<_> = self.sockets.iter().map(ToString::to_string).collect();
            format!(
                "the room still listens on {}; to listen as wschat.socket says: systemctl \
                 restart wschat.socket",
                names.join(", ")
            )
        })
    }
}

fn bind(config: &Config) -> Result<Vec<ListeningSocket>, StartError> {
    let bind = |address: &ListenAddress| {
        let bound = ListeningSocket::bind(address, config.is_v6_only(address));
        bound.map_err(|error| StartError::Bind(address.clone(), error))
    };
    config.listen.addresses.iter().map(bind).collect()
}

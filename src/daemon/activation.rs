//! Sockets that systemd opened for us (sd_listen_fds(3)).

use std::collections::BTreeMap;
use std::env;
use std::io;
use std::os::unix::net::UnixStream;
use std::process;

use listenfd::ListenFd;
use rustix::net::{AddressFamily, SocketType};

use super::handover;
use crate::server::ListeningSocket;

/// The name of the room's sockets (`FileDescriptorName=`).
pub const ROOM: &str = "wschat";

/// The name of the sockets where metrics are given over HTTP.
pub const METRICS: &str = "metrics";

/// What was passed to us.
#[derive(Debug, Default)]
pub struct Inherited {
    /// The room's listeners.
    pub room: Vec<ListeningSocket>,
    /// The listeners for metrics.
    pub metrics: Vec<ListeningSocket>,
    /// What the process before left in systemd's store, by number.
    pub handover: BTreeMap<u32, UnixStream>,
    /// Names of descriptors that are not ours to use.
    pub foreign: Vec<String>,
}

/// Takes the descriptors that were passed to this process, if any were.
///
/// They are told apart by name, never by order, which is not stable across
/// units. To be called once, before any thread is started.
///
/// # Errors
///
/// A socket of ours is not one that can be used: not a stream, or not
/// listening.
pub fn inherited() -> io::Result<Inherited> {
    let mut inherited = Inherited::default();
    // listenfd would take descriptors also where nobody says whose they are.
    if env::var("LISTEN_PID").ok().and_then(|pid| pid.parse().ok()) != Some(process::id()) {
        return Ok(inherited);
    }
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut descriptors = ListenFd::from_env();
    for index in 0..descriptors.len() {
        let name = names.next().unwrap_or_default();
        let ours = match name {
            METRICS => &mut inherited.metrics,
            name if is_room(name) => &mut inherited.room,
            other => {
                match other.strip_prefix(handover::NAME).and_then(|number| number.parse().ok()) {
                    Some(number) => {
                        let end = take_parking_place(&mut descriptors, index)?;
                        inherited.handover.extend(end.map(|end| (number, end)));
                    }
                    None => inherited.foreign.push(other.to_owned()),
                }
                continue;
            }
        };
        ours.extend(take(&mut descriptors, index).map_err(|error| {
            io::Error::new(error.kind(), format!("socket {index} ({name:?}): {error}"))
        })?);
    }
    Ok(inherited)
}

/// Whether a socket of this name is the room's: it says so, or its unit did
/// not name it, or whoever passed it knows nothing of names.
fn is_room(name: &str) -> bool {
    matches!(name, ROOM | "wschat.socket" | "" | "unknown")
}

/// Takes the end of a socket pair in which the process before parked sockets.
fn take_parking_place(descriptors: &mut ListenFd, index: usize) -> io::Result<Option<UnixStream>> {
    let (family, kind) = (AddressFamily::UNIX.as_raw().into(), SocketType::STREAM.as_raw());
    descriptors.take_custom(index, family, kind as i32, "parking place")
}

fn take(descriptors: &mut ListenFd, index: usize) -> io::Result<Option<ListeningSocket>> {
    // A socket of the wrong family stays in its place.
    if let Ok(Some(socket)) = descriptors.take_tcp_listener(index) {
        return ListeningSocket::new(socket).map(Some);
    }
    let not_a_stream = |_| io::Error::other("it is not a stream socket");
    let Some(socket) = descriptors.take_unix_listener(index).map_err(not_a_stream)? else {
        return Ok(None);
    };
    ListeningSocket::new(socket).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_whose_they_are() {
        for (name, want) in [
            ("wschat", true),
            ("wschat.socket", true),
            ("", true),
            ("unknown", true),
            ("metrics", false),
            ("wschat-metrics", false),
            ("connection", false),
            ("stored", false),
        ] {
            assert_eq!(is_room(name), want, "{name:?}");
        }
    }
}

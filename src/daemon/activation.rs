//! Sockets and other descriptors that systemd passed (sd_listen_fds(3)).

use std::collections::BTreeMap;
use std::env;
use std::io;
use std::os::unix::net::UnixStream;
use std::process;

use listenfd::ListenFd;
use rustix::net::{AddressFamily, SocketType};

use super::handover::fd_store;
use crate::server::ListeningSocket;

/// The name of the room's sockets (`FileDescriptorName=`).
pub const ROOM: &str = "wschat";

/// The name of the sockets for metrics over HTTP.
pub const METRICS: &str = "metrics";

/// The passed descriptors.
#[derive(Default)]
pub struct PassedDescriptors {
    pub room: Vec<ListeningSocket>,
    pub metrics: Vec<ListeningSocket>,
    /// What the previous process left in systemd's store, by number.
    pub stored: BTreeMap<u32, UnixStream>,
    /// Names of descriptors that wschat does not use.
    pub unknown: Vec<String>,
}

/// Takes the passed descriptors, by name: their order is not stable across units. Must be
/// called once, before any thread is started. Fails if a socket with a known name cannot be
/// used.
pub fn passed_descriptors() -> io::Result<PassedDescriptors> {
    let mut passed = PassedDescriptors::default();
    // Without LISTEN_PID listenfd would take descriptors of another process.
    if env::var("LISTEN_PID").ok().and_then(|pid| pid.parse().ok()) != Some(process::id()) {
        return Ok(passed);
    }
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut descriptors = ListenFd::from_env();
    for index in 0..descriptors.len() {
        let name = names.next().unwrap_or_default();
        let number = name.strip_prefix(fd_store::NAME).and_then(|number| number.parse().ok());
        let listeners = match (name, number) {
            (METRICS, _) => &mut passed.metrics,
            (name, _) if is_room(name) => &mut passed.room,
            (_, Some(number)) => {
                let receiver = take_stored(&mut descriptors, index)?;
                passed.stored.extend(receiver.map(|receiver| (number, receiver)));
                continue;
            }
            (unknown, None) => {
                passed.unknown.push(unknown.to_owned());
                continue;
            }
        };
        listeners.extend(take_listener(&mut descriptors, index).map_err(|error| {
            io::Error::new(error.kind(), format!("socket {index} ({name:?}): {error}"))
        })?);
    }
    Ok(passed)
}

/// Whether a socket of this name is the room's: its name says so, its unit does not name
/// it, or the program that passed it does not support names.
fn is_room(name: &str) -> bool {
    matches!(name, ROOM | "wschat.socket" | "" | "unknown")
}

/// Takes the receiving end of a socket pair with parked sockets.
fn take_stored(descriptors: &mut ListenFd, index: usize) -> io::Result<Option<UnixStream>> {
    let (family, kind) = (AddressFamily::UNIX.as_raw().into(), SocketType::STREAM.as_raw());
    descriptors.take_custom(index, family, kind as i32, "stored socket pair")
}

fn take_listener(descriptors: &mut ListenFd, index: usize) -> io::Result<Option<ListeningSocket>> {
    // A socket of another family stays in its place.
    if let Ok(Some(socket)) = descriptors.take_tcp_listener(index) {
        return ListeningSocket::new(socket).map(Some);
    }
    let not_a_stream = |_| io::Error::other("it is not a stream socket");
    let Some(socket) = descriptors.take_unix_listener(index).map_err(not_a_stream)? else {
        return Ok(None);
    };
    ListeningSocket::new(socket).map(Some)
}

//! Sockets and other descriptors that systemd passed (sd_listen_fds(3)).

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixStream;
use std::process;

use listenfd::ListenFd;
use nix::unistd::close;
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
    /// What previous processes left in systemd's store.
    pub stored: Stored,
    /// Names of descriptors that wschat does not use.
    pub unknown: Vec<String>,
}

/// Descriptors from systemd's store, by number.
#[derive(Default)]
pub struct Stored {
    /// Socket pairs with the parked sockets of a handover.
    pub handover: BTreeMap<u32, UnixStream>,
    /// Tail files.
    pub tails: BTreeMap<u32, io::Result<File>>,
    /// Sockets where the room listened.
    pub listeners: BTreeMap<u32, io::Result<ListeningSocket>>,
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
        let number = |prefix| name.strip_prefix(prefix).and_then(|number| number.parse().ok());
        if let Some(number) = number(fd_store::NAME) {
            let receiver = take_stored(&mut descriptors, index)?;
            passed.stored.handover.extend(receiver.map(|receiver| (number, receiver)));
            continue;
        }
        if let Some(number) = number(fd_store::TAIL_NAME) {
            passed.stored.tails.insert(number, take_tail(&mut descriptors, index));
            continue;
        }
        if let Some(number) = number(fd_store::LISTENER_NAME) {
            let listener = take_listener(&mut descriptors, index);
            passed.stored.listeners.extend(listener.transpose().map(|socket| (number, socket)));
            continue;
        }
        let listeners = match name {
            METRICS => &mut passed.metrics,
            name if is_room(name) => &mut passed.room,
            unknown => {
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
pub fn is_room(name: &str) -> bool {
    matches!(name, ROOM | "wschat.socket" | "" | "unknown")
}

/// Takes the receiving end of a socket pair with parked sockets.
fn take_stored(descriptors: &mut ListenFd, index: usize) -> io::Result<Option<UnixStream>> {
    let (family, kind) = (AddressFamily::UNIX.as_raw().into(), SocketType::STREAM.as_raw());
    descriptors.take_custom(index, family, kind as i32, "stored socket pair")
}

/// Takes a tail file. Opens it a second time, because only unsafe code can make a file of the
/// number of a descriptor.
fn take_tail(descriptors: &mut ListenFd, index: usize) -> io::Result<File> {
    let number = descriptors.take_raw_fd(index)?.ok_or(io::ErrorKind::NotFound)?;
    let path = format!("/proc/self/fd/{number}");
    // To open a pipe could block.
    let file = match fs::metadata(&path) {
        Ok(metadata) if !metadata.is_file() => Err(io::Error::other("the tail is not a file")),
        _ => File::open(path),
    };
    // Otherwise this process would keep the memory of the file.
    close(number)?;
    file
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

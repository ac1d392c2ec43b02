//! The way of a room from one process to the next: systemd's file descriptor
//! store (sd_pid_notify_with_fds(3), systemd.service(5)).
//!
//! The store compares each new descriptor with all that it has, so it does not
//! take one for each client. Instead the sockets are *parked*: sent as messages
//! (`SCM_RIGHTS`, unix(7)) into socket pairs of which only the receiving ends go
//! into the store. The first descriptor of the first pair is a sealed memfd with
//! the [`Snapshot`]; the others are the sockets, in the order of its rows. Each
//! message says where in this order its descriptors are, so that one which went
//! missing makes no client take another's place.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use std::{env, fs};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};
use sd_notify::NotifyState;
use tracing::warn;

use crate::daemon::notify::Manager;
use crate::server::{ConnectionSnapshot, Snapshot, Socket};
use crate::ws::close::Close;
use crate::ws::frame;

/// Stored descriptors are named this and a number.
pub const NAME: &str = "wschat-handover-";

/// The most descriptors in one message (`SCM_MAX_FD` of Linux).
const DESCRIPTORS_PER_MESSAGE: usize = 253;
/// How long systemd may take until it has everything.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);

/// The byte that rides with each descriptor says what it is, whatever the
/// version of the state: this is the state,
const IS_STATE: u8 = b's';
/// this is a client that a close frame can follow: it has whole frames only,
const IS_WHOLE: u8 = b'w';
/// and this one is in the middle of a frame, or has a close frame already.
const IS_BEGUN: u8 = b'b';

/// Whether systemd keeps what it is given until the next process starts.
pub fn store_exists(manager: &Manager) -> bool {
    if !manager.exists() {
        return false;
    }
    // From version 254 on systemd says so; before, our unit file has to be believed.
    env::var("FDSTORE").is_ok_and(|max| max != "0") || systemd_version().is_some_and(|v| v < 254)
}

/// The version of systemd, by the library that its parts share: asking it would
/// take a program to run or a bus to speak to.
fn systemd_version() -> Option<u32> {
    let names = |folder: &str| fs::read_dir(folder).into_iter().flatten().flatten();
    let arch = env::consts::ARCH;
    [format!("/usr/lib/{arch}-linux-gnu/systemd"), "/usr/lib/systemd".into()]
        .iter()
        .flat_map(|folder| names(folder))
        .chain(names("/usr/lib64/systemd"))
        .filter_map(|entry| version_of(&entry.file_name().to_string_lossy()))
        .max()
}

/// The version in a name like `libsystemd-shared-252.so`.
fn version_of(name: &str) -> Option<u32> {
    let rest = name.strip_prefix("libsystemd-shared-")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Gives the room to systemd; when it returns, systemd has all of it and this
/// process may end.
///
/// # Errors
///
/// The system's, or systemd did not keep what it was given. Then nothing is in
/// the store, and the sockets are still this process's.
pub fn give(manager: &Manager, state: &Snapshot, sockets: &[(Socket, bool)]) -> io::Result<()> {
    let places = park(&sealed(&state.encode())?, sockets)?;
    let numbers = 0..places.len() as u32;
    let stored = match store(manager, &places) {
        Ok(()) => are_kept(places),
        Err(error) => {
            places.iter().for_each(Place::clear);
            Err(error)
        }
    };
    if stored.is_err() {
        forget(manager, numbers);
    }
    stored
}

/// The connections of a room that could not be [given](give) away.
pub fn take_back(state: Snapshot, sockets: Vec<(Socket, bool)>, feed_tail_bytes: usize) -> Found {
    let parked = |(row, (socket, whole))| Parked { row, socket, whole };
    let mut found = Found { room: None, orphans: Vec::new(), complaints: Vec::new() };
    found.pair_up(state, sockets.into_iter().enumerate().map(parked).collect(), feed_tail_bytes);
    found
}

/// Sends every parking place to the store, and waits until systemd has them all.
fn store(manager: &Manager, places: &[Place]) -> io::Result<()> {
    let deadline = Instant::now() + STORE_TIMEOUT;
    for (number, place) in places.iter().enumerate() {
        let name = format!("FDNAME={NAME}{number}");
        // Without FDPOLL=0 systemd drops it as soon as our end is closed.
        let assignments = ["FDSTORE=1", &name, "FDPOLL=0"].map(NotifyState::Custom);
        manager.send_by(deadline, &assignments, &[place.receiver.as_fd()])?;
    }
    barrier(manager, deadline)
}

/// Makes sure that systemd has kept every parking place. It does not say that a
/// store is full, and an older one not that it has none; but a receiving end that
/// nobody keeps is closed.
fn are_kept(places: Vec<Place>) -> io::Result<()> {
    let senders: Vec<_> = places.into_iter().map(|place| place.sender).collect();
    for sender in &senders {
        let mut ends = [PollFd::new(sender, PollFlags::empty())];
        poll(&mut ends, Some(&Timespec::default()))?;
        if ends[0].revents().contains(PollFlags::HUP) {
            return Err(io::Error::other("systemd did not keep it"));
        }
    }
    Ok(())
}

/// What the process before left in the store.
pub struct Found {
    /// The room, and the connections that can go on in it.
    pub room: Option<(Snapshot, Vec<(ConnectionSnapshot, Socket)>)>,
    /// Sockets that nothing is known of but whether a close frame can follow.
    pub orphans: Vec<(Socket, bool)>,
    /// What was wrong, in words.
    pub complaints: Vec<String>,
}

/// Takes everything out of the parking places `ends`, in the order of their
/// numbers.
pub fn take<'a>(ends: impl Iterator<Item = &'a UnixStream>, feed_tail_bytes: usize) -> Found {
    let mut found = Found { room: None, orphans: Vec::new(), complaints: Vec::new() };
    let mut state = None;
    let mut sockets = Vec::new();
    for end in ends {
        let result = receive(end, |number, kind, descriptor| {
            if kind == IS_STATE {
                state = Some(read_state(descriptor));
            } else {
                sockets.push(Parked {
                    row: number.wrapping_sub(1),
                    socket: descriptor.into(),
                    whole: kind == IS_WHOLE,
                });
            }
        });
        if let Err(error) = result {
            found.complaints.push(format!("a parking place cannot be read: {error}"));
        }
    }
    match state {
        Some(Ok(state)) => found.pair_up(state, sockets, feed_tail_bytes),
        other => {
            let why = match other {
                Some(Err(why)) => why.to_string(),
                _ => "no state was left".into(),
            };
            found.complaints.push(format!("the room cannot be taken over: {why}"));
            found.orphans = sockets.into_iter().map(|p| (p.socket, p.whole)).collect();
        }
    }
    found
}

impl Found {
    /// Brings rows and sockets together.
    fn pair_up(&mut self, mut state: Snapshot, sockets: Vec<Parked>, feed_tail_bytes: usize) {
        let log = state.log(feed_tail_bytes);
        let rows = std::mem::take(&mut state.rows);
        if rows.len() != sockets.len() {
            let (rows, sockets) = (rows.len(), sockets.len());
            self.complaints.push(format!("{rows} connections were left, but {sockets} sockets"));
        }
        let mut connections = Vec::with_capacity(sockets.len());
        for Parked { row, socket, whole } in sockets {
            match rows.get(row).and_then(|row| ConnectionSnapshot::decode(row, &log)) {
                Some(row) => connections.push((row, socket)),
                None => self.orphans.push((socket, whole)),
            }
        }
        if !self.orphans.is_empty() {
            self.complaints.push(format!("{} connections make no sense", self.orphans.len()));
        }
        self.room = Some((state, connections));
    }
}

/// A socket out of a parking place.
struct Parked {
    /// The number of its row.
    row: usize,
    socket: Socket,
    whole: bool,
}

/// Closes connections of which nothing is known. A client in the middle of a
/// frame would take a close frame for a part of it, so it gets none; nor does one
/// that has a close frame.
pub fn dismiss(orphans: Vec<(Socket, bool)>, close: &Close) {
    let mut bytes = Vec::new();
    frame::put_close(close, &mut bytes);
    for (mut socket, whole) in orphans {
        if whole {
            // It takes these few bytes, or it would not have read them anyway.
            let _ = socket.write(&bytes);
        }
    }
}

/// Tells systemd to forget what it stored under these numbers.
pub fn forget(manager: &Manager, numbers: impl Iterator<Item = u32>) {
    for number in numbers {
        manager.forget(number, &format!("{NAME}{number}"));
    }
}

/// A memory file that nobody can change any more.
fn sealed(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(memfd_create("wschat-handover", flags)?);
    file.write_all(bytes)?;
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

/// A socket pair full of messages.
struct Place {
    sender: OwnedFd,
    receiver: OwnedFd,
}

impl Place {
    /// Takes everything out again: systemd may still have the receiving end, and
    /// what it gives to the next process must be nobody's connection any more.
    fn clear(&self) {
        if let Err(error) = receive(&self.receiver, |_, _, _| {}) {
            warn!(%error, "cannot empty a parking place: {error}");
        }
    }
}

/// Sends the state and the sockets into as many pairs as it takes.
fn park(state: &OwnedFd, sockets: &[(Socket, bool)]) -> io::Result<Vec<Place>> {
    let kind = |whole: bool| if whole { IS_WHOLE } else { IS_BEGUN };
    let sockets = sockets.iter().map(|(socket, whole)| (kind(*whole), socket.as_fd()));
    let all: Vec<_> = std::iter::once((IS_STATE, state.as_fd())).chain(sockets).collect();
    let mut full = Vec::new();
    let mut place = pair()?;
    for (part, first) in
        all.chunks(DESCRIPTORS_PER_MESSAGE).zip((0..).step_by(DESCRIPTORS_PER_MESSAGE))
    {
        if !send(&place.sender, first, part)? {
            full.push(std::mem::replace(&mut place, pair()?));
            if !send(&place.sender, first, part)? {
                return Err(io::Error::other("not even an empty socket pair takes a message"));
            }
        }
    }
    full.push(place);
    Ok(full)
}

fn pair() -> io::Result<Place> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (sender, receiver) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok(Place { sender, receiver })
}

/// Sends one message, the number of its first descriptor and then what each of
/// them is; false if the pair takes no more.
fn send(to: &OwnedFd, first: u32, part: &[(u8, BorrowedFd<'_>)]) -> io::Result<bool> {
    let kinds = part.iter().map(|(kind, _)| *kind);
    let bytes: Vec<u8> = first.to_le_bytes().into_iter().chain(kinds).collect();
    let descriptors: Vec<BorrowedFd<'_>> = part.iter().map(|(_, fd)| *fd).collect();
    let mut space = vec![MaybeUninit::uninit(); ancillary_bytes()];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    match sendmsg(to, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL) {
        Ok(sent) if sent == bytes.len() => Ok(true),
        Ok(_) => Err(io::Error::other("a message was cut")),
        Err(rustix::io::Errno::AGAIN) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Takes every descriptor that is parked, with its number and its kind.
fn receive(end: impl AsFd, mut found: impl FnMut(usize, u8, OwnedFd)) -> io::Result<()> {
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    loop {
        let mut bytes = [0; size_of::<u32>() + DESCRIPTORS_PER_MESSAGE];
        let mut space = vec![MaybeUninit::uninit(); ancillary_bytes()];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let received = match recvmsg(&end, &mut parts, &mut control, flags) {
            Ok(message) => message.bytes,
            // The sender is still there, or crashed: this is all there is.
            Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if received == 0 {
            return Ok(());
        }
        let Some((first, kinds)) = bytes.get(..received).and_then(<[u8]>::split_first_chunk) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let mut numbered = (u32::from_le_bytes(*first) as usize..).zip(kinds);
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                for ((number, kind), descriptor) in numbered.by_ref().zip(descriptors) {
                    found(number, *kind, descriptor);
                }
            }
        }
    }
}

fn ancillary_bytes() -> usize {
    rustix::cmsg_space!(ScmRights(DESCRIPTORS_PER_MESSAGE))
}

/// Reads the state from its memory file.
fn read_state(descriptor: OwnedFd) -> io::Result<Snapshot> {
    let mut bytes = Vec::new();
    let mut file = File::from(descriptor);
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Snapshot::decode(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Waits until systemd has worked off all that was sent before (`BARRIER=1`).
fn barrier(manager: &Manager, deadline: Instant) -> io::Result<()> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    manager.send_by(deadline, &[NotifyState::Custom("BARRIER=1")], &[theirs.as_fd()])?;
    drop(theirs);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&ours, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Peer;
    use crate::ws::close;

    fn row(id: u64) -> ConnectionSnapshot {
        ConnectionSnapshot {
            id,
            cursor: 0,
            peer: Peer::Unix,
            since_secs: 0,
            message_bytes_max: 16_384,
            messages: 0,
            last_frame_ago_ms: 0,
            ping_in_ms: 0,
            held: Vec::new(),
            partial: None,
            outbox: Vec::new(),
            outbox_begun: false,
            closing: None,
            notices_whole_in_ms: 0,
            name: String::new(),
        }
    }

    /// `count` sockets, and their other ends.
    fn sockets(count: usize) -> (Vec<(Socket, bool)>, Vec<UnixStream>) {
        let pair = |number: usize| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            theirs.set_nonblocking(true).unwrap();
            ((Socket::from(ours), number.is_multiple_of(2)), theirs)
        };
        (0..count).map(pair).unzip()
    }

    fn parked(state: &[u8], sockets: &[(Socket, bool)]) -> Vec<UnixStream> {
        let places = park(&sealed(state).unwrap(), sockets).unwrap();
        places.into_iter().map(|place| UnixStream::from(place.receiver)).collect()
    }

    #[test]
    fn what_is_parked_is_found_in_its_order() {
        let (ours, theirs) = sockets(600);
        let rows = (0..600).map(|id| row(id).encode()).collect();
        let state = Snapshot { rows, last_tim: 5, ..Snapshot::default() };
        let ends = parked(&state.encode(), &ours);
        drop(ours);
        let found = take(ends.iter(), 65_536);
        assert_eq!((found.orphans.len(), found.complaints.len()), (0, 0));
        let (state, connections) = found.room.unwrap();
        assert_eq!((state.last_tim, connections.len()), (5, 600));
        for ((row, mut socket), mut theirs) in connections.into_iter().zip(theirs) {
            socket.write_all(&row.id.to_le_bytes()).unwrap();
            drop(socket);
            let mut told = Vec::new();
            theirs.read_to_end(&mut told).unwrap();
            assert_eq!(told, row.id.to_le_bytes());
        }
    }

    #[test]
    fn a_state_of_no_use_costs_a_close_and_never_a_wrong_byte() {
        let newer = {
            let mut bytes = Snapshot::default().encode();
            bytes[8] = 99;
            bytes
        };
        for state in [&newer[..], b"", b"rubbish"] {
            let (ours, theirs) = sockets(4);
            let ends = parked(state, &ours);
            drop(ours);
            let found = take(ends.iter(), 65_536);
            assert!(found.room.is_none() && found.complaints.len() == 1);
            dismiss(found.orphans, &close::RESTART);
            for (number, mut theirs) in theirs.into_iter().enumerate() {
                let mut told = Vec::new();
                theirs.read_to_end(&mut told).unwrap();
                let want = if number.is_multiple_of(2) { &b"\x88"[..] } else { b"" };
                assert!(told.starts_with(want) && told.is_empty() == want.is_empty(), "{told:?}");
            }
        }
    }

    #[test]
    fn a_bad_row_costs_only_itself_and_a_missing_socket_only_its_row() {
        let (ours, _theirs) = sockets(3);
        let rows = vec![row(1).encode(), b"rubbish".to_vec(), row(3).encode(), row(4).encode()];
        let ends = parked(&Snapshot { rows, ..Snapshot::default() }.encode(), &ours);
        let found = take(ends.iter(), 65_536);
        let ids: Vec<_> = found.room.unwrap().1.iter().map(|(row, _)| row.id).collect();
        assert_eq!((ids, found.orphans.len(), found.complaints.len()), (vec![1, 3], 1, 2));
    }

    #[test]
    fn a_lost_parking_place_shifts_nobody() {
        let (ours, _theirs) = sockets(2);
        let (first, second) = (pair().unwrap(), pair().unwrap());
        let rows = (0..4).map(|id| row(id).encode()).collect();
        let state = sealed(&Snapshot { rows, ..Snapshot::default() }.encode()).unwrap();
        assert!(send(&first.sender, 0, &[(IS_STATE, state.as_fd())]).unwrap());
        // Rows 0 and 1 never came.
        let part: Vec<_> = ours.iter().map(|(socket, _)| (IS_WHOLE, socket.as_fd())).collect();
        assert!(send(&second.sender, 3, &part).unwrap());
        let found = take([first.receiver.into(), second.receiver.into()].iter(), 65_536);
        let ids: Vec<_> = found.room.unwrap().1.iter().map(|(row, _)| row.id).collect();
        assert_eq!(ids, [2, 3]);
    }

    #[test]
    fn versions_in_names() {
        assert_eq!(version_of("libsystemd-shared-252.so"), Some(252));
        assert_eq!(version_of("libsystemd-shared-257.9-1.fc42.so"), Some(257));
        assert_eq!(version_of("libsystemd-core-257.so"), None);
    }
}

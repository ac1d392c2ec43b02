//! Parking of descriptors: sending them (`SCM_RIGHTS`, unix(7)) into socket pairs, from
//! which the next process receives them.
//!
//! Each message has the number of its first descriptor (u32, little-endian), one byte per
//! descriptor that says what it is, and the descriptors. So a lost message does not shift
//! the numbers of the others.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// The most descriptors in one message (`SCM_MAX_FD` of Linux).
const DESCRIPTORS_PER_MESSAGE: usize = 253;

/// A socket pair with messages.
pub struct ParkingPair {
    pub sender: OwnedFd,
    pub receiver: OwnedFd,
}

impl ParkingPair {
    pub fn new() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (sender, receiver) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        Ok(Self { sender, receiver })
    }

    /// Sends one message with descriptors numbered from `first` on, each with its byte;
    /// false if the pair is full.
    pub fn send(&self, first: u32, descriptors: &[(u8, BorrowedFd<'_>)]) -> io::Result<bool> {
        let (kinds, descriptors): (Vec<u8>, Vec<_>) = descriptors.iter().copied().unzip();
        let bytes = [&first.to_le_bytes()[..], &kinds].concat();
        let mut space = vec![MaybeUninit::uninit(); ancillary_bytes()];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("too many descriptors for one message"));
        }
        match sendmsg(&self.sender, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL) {
            Ok(sent) if sent == bytes.len() => Ok(true),
            Ok(_) => Err(io::Error::other("a message was truncated")),
            Err(Errno::AGAIN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Sends descriptors into as many pairs as necessary.
pub fn park(descriptors: &[(u8, BorrowedFd<'_>)]) -> io::Result<Vec<ParkingPair>> {
    let mut full = Vec::new();
    let mut pair = ParkingPair::new()?;
    let firsts = (0..).step_by(DESCRIPTORS_PER_MESSAGE);
    for (part, first) in descriptors.chunks(DESCRIPTORS_PER_MESSAGE).zip(firsts) {
        if !pair.send(first, part)? {
            full.push(std::mem::replace(&mut pair, ParkingPair::new()?));
            if !pair.send(first, part)? {
                return Err(io::Error::other("an empty socket pair takes no message"));
            }
        }
    }
    full.push(pair);
    Ok(full)
}

/// Receives every descriptor from `receiver`, with its number and its byte.
pub fn receive(receiver: impl AsFd, mut each: impl FnMut(usize, u8, OwnedFd)) -> io::Result<()> {
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    loop {
        let mut bytes = [0; size_of::<u32>() + DESCRIPTORS_PER_MESSAGE];
        let mut space = vec![MaybeUninit::uninit(); ancillary_bytes()];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let received = match recvmsg(&receiver, &mut parts, &mut control, flags) {
            // The end; AGAIN if the sender still exists, as after a crash.
            Ok(message) if message.bytes == 0 => return Ok(()),
            Err(Errno::AGAIN) => return Ok(()),
            Ok(message) => message.bytes,
            Err(error) => return Err(error.into()),
        };
        let Some((first, kinds)) = bytes.get(..received).and_then(<[u8]>::split_first_chunk) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let mut numbered = (u32::from_le_bytes(*first) as usize..).zip(kinds);
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                for ((number, kind), descriptor) in numbered.by_ref().zip(descriptors) {
                    each(number, *kind, descriptor);
                }
            }
        }
    }
}

/// Checks that another process holds every receiver. Closes ours.
pub fn check_held(pairs: Vec<ParkingPair>) -> io::Result<()> {
    let senders: Vec<_> = pairs.into_iter().map(|pair| pair.sender).collect();
    for sender in &senders {
        let mut ends = [PollFd::new(sender, PollFlags::empty())];
        poll(&mut ends, Some(&Timespec::default()))?;
        if ends.iter().any(|end| end.revents().contains(PollFlags::HUP)) {
            return Err(io::Error::other("systemd did not keep it"));
        }
    }
    Ok(())
}

fn ancillary_bytes() -> usize {
    rustix::cmsg_space!(ScmRights(DESCRIPTORS_PER_MESSAGE))
}

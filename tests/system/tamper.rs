//! Changes the state in systemd's descriptor store, then executes the daemon; for
//! `ExecStart=`: `tamper damage|newer|lose PROGRAM ARGUMENT…`.

use std::env;
use std::error::Error;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::{MaybeUninit, forget};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use listenfd::ListenFd;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{FdFlags, dup2, fcntl_setfd};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketType, recvmsg, sendmsg,
};

const DESCRIPTORS_PER_MESSAGE: usize = 253;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let how = arguments.next().ok_or("no change is given")?;
    let program = arguments.next().ok_or("no program is given")?;
    // ListenFd removes the variables, and the program needs them too.
    let passed: Vec<_> = env::vars().filter(|(name, _)| name.starts_with("LISTEN_")).collect();
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut sockets = ListenFd::from_env();
    for (index, name) in names.split(':').enumerate() {
        if name == "wschat-handover-0" {
            let (family, kind) = (AddressFamily::UNIX.as_raw().into(), SocketType::STREAM.as_raw());
            let mut end: OwnedFd = sockets
                .take_custom::<UnixStream>(index, family, kind as i32, "socket pair")?
                .ok_or("no socket pair")?
                .into();
            let changed = change(&end, &how)?;
            dup2(&changed, &mut end)?;
            forget(end);
        } else if let Ok(Some(socket)) = sockets.take_tcp_listener(index) {
            fcntl_setfd(&socket, FdFlags::empty())?;
            forget(socket);
        }
    }
    Err(Command::new(program).args(arguments).envs(passed).exec().into())
}

/// Another socket pair with the same sockets and a changed state.
fn change(end: &OwnedFd, how: &str) -> Result<UnixStream, Box<dyn Error>> {
    let (sender, receiver) = UnixStream::pair()?;
    let mut state_is_next = true;
    loop {
        let mut bytes = [0; 4 + DESCRIPTORS_PER_MESSAGE];
        let mut space = vec![MaybeUninit::uninit(); ancillary_bytes()];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let read = recvmsg(end, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
        if read == 0 {
            return Ok(receiver);
        }
        let mut descriptors: Vec<OwnedFd> = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(more) = message {
                descriptors.extend(more);
            }
        }
        let mut bytes = bytes[..read].to_vec();
        if state_is_next {
            state_is_next = false;
            if how == "lose" {
                descriptors.remove(0);
                bytes[0] = 1;
                bytes.remove(4);
            } else {
                let state = descriptors.remove(0);
                descriptors.insert(0, change_state(state, how)?);
            }
        }
        send(&sender, &bytes, &descriptors)?;
    }
}

fn change_state(state: OwnedFd, how: &str) -> Result<OwnedFd, Box<dyn Error>> {
    let mut bytes = Vec::new();
    let mut file = File::from(state);
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    match how {
        "damage" => *bytes.last_mut().ok_or("an empty state")? ^= 1,
        "newer" => bytes[8..12].copy_from_slice(&99u32.to_le_bytes()),
        _ => return Err(format!("cannot {how} a state").into()),
    }
    let mut file = File::from(memfd_create("tampered", MemfdFlags::CLOEXEC)?);
    file.write_all(&bytes)?;
    Ok(file.into())
}

fn send(to: &UnixStream, bytes: &[u8], descriptors: &[OwnedFd]) -> Result<(), Box<dyn Error>> {
    let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(|fd| fd.as_fd()).collect();
    let mut space = vec![MaybeUninit::uninit(); ancillary_bytes()];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err("too many descriptors".into());
    }
    sendmsg(to, &[IoSlice::new(bytes)], &mut control, SendFlags::empty())?;
    Ok(())
}

fn ancillary_bytes() -> usize {
    rustix::cmsg_space!(ScmRights(DESCRIPTORS_PER_MESSAGE))
}

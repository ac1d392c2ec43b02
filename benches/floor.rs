//! The floor: the least cost of sending one message to many sockets.
//!
//! It holds accepted sockets. For each message that it receives, it calls `send(2)` with one
//! prepared frame for each socket in a loop. It has no feed, no order, no checks, no fairness
//! and no limits, and drops a socket that would block. It implements only so much of the
//! WebSocket protocol that `wschat bench` can measure it like the daemon.
//!
//! `floor ADDRESS` prints the address that it listens on, and runs until killed.

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tungstenite::handshake::derive_accept_key;

const LISTENER: Token = Token(usize::MAX);

fn main() -> Result<(), Box<dyn Error>> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let address: SocketAddr = std::env::args().nth(1).ok_or("usage: floor ADDRESS")?.parse()?;
    let mut listener = TcpListener::bind(address)?;
    println!("{}", listener.local_addr()?);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut floor = Floor(Vec::new());
    let mut events = Events::with_capacity(1024);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => floor.accept(&listener, &poll)?,
                Token(at) => floor.read(at),
            }
        }
    }
}

/// The sockets, by their token.
struct Floor(Vec<Slot>);

enum Slot {
    Free,
    Handshake(TcpStream),
    Open(TcpStream),
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> Result<(), Box<dyn Error>> {
        loop {
            let mut socket = match listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            socket.set_nodelay(true)?;
            let free = self.0.iter().position(|slot| matches!(slot, Slot::Free));
            let at = free.unwrap_or(self.0.len());
            poll.registry().register(&mut socket, Token(at), Interest::READABLE)?;
            if free.is_none() {
                self.0.push(Slot::Free);
            }
            self.0[at] = Slot::Handshake(socket);
        }
    }

    /// Assumes that each read returns a complete handshake or complete frames: over loopback,
    /// small ones are complete.
    fn read(&mut self, at: usize) {
        let mut buffer = [0; 65_536];
        let Some(Slot::Handshake(socket) | Slot::Open(socket)) = self.0.get_mut(at) else { return };
        let bytes = match socket.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Ok(count) if count > 0 => &mut buffer[..count],
            _ => return self.0[at] = Slot::Free,
        };
        if matches!(self.0[at], Slot::Open(_)) {
            let mut rest = bytes;
            while let Some((frame, others)) = take_frame(rest) {
                self.send_to_all(&frame);
                rest = others;
            }
        } else if let Slot::Handshake(mut socket) = std::mem::replace(&mut self.0[at], Slot::Free)
            && socket.write_all(answer(bytes).as_bytes()).is_ok()
        {
            self.0[at] = Slot::Open(socket);
        }
    }

    fn send_to_all(&mut self, frame: &[u8]) {
        for slot in &mut self.0 {
            let Slot::Open(socket) = slot else { continue };
            if !matches!(socket.write(frame), Ok(count) if count == frame.len()) {
                eprintln!("floor: a socket would block, dropped");
                *slot = Slot::Free;
            }
        }
    }
}

fn answer(request: &[u8]) -> String {
    let request = String::from_utf8_lossy(request);
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let accept = derive_accept_key(key.unwrap_or_default().trim().as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// The first text frame as a server sends it, with its payload unmasked, and the bytes behind
/// it. Other frames are skipped.
fn take_frame(bytes: &mut [u8]) -> Option<(Vec<u8>, &mut [u8])> {
    let (b0, len) = (*bytes.first()?, *bytes.get(1)? & 0x7f);
    let (header, len) = match len {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        len => (2, usize::from(len)),
    };
    let (frame, others) = bytes.split_at_mut_checked(header + 4 + len)?;
    if b0 != 0x81 {
        return take_frame(others);
    }
    let (head, payload) = frame.split_at_mut(header + 4);
    let mask = &head[header..];
    let mut out = vec![b0, head[1] & 0x7f];
    out.extend_from_slice(&head[2..header]);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    Some((out, others))
}

//! Both directions of a simulated socket, with bounded buffers.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::rc::Rc;

use wschat::feed::SLICES_MAX;
use wschat::server::Stream;

/// What happened to the sockets since the last look.
#[derive(Default)]
pub struct Traffic {
    /// Connections whose socket was read, written or dropped.
    pub touched: Vec<u64>,
    /// Bytes that were read or written.
    pub moved: usize,
}

/// One socket.
pub struct Pipe {
    /// What the client sent and the server has not read.
    pub to_server: VecDeque<u8>,
    /// What the server wrote since the last look.
    pub written: Vec<u8>,
    /// How many written bytes the client has not read.
    pub waiting: usize,
    /// The most bytes that may wait.
    pub capacity: usize,
    /// A write found no space, so an event follows when there is some.
    pub blocked: bool,
    /// The client sends nothing more.
    pub client_ended: bool,
    /// The server dropped the socket.
    pub server_gone: bool,
    /// The size of its send buffer, if that is known.
    pub send_buffer_bytes: Option<usize>,
    /// The network dropped it: every read and write fails.
    pub reset: bool,
}

impl Pipe {
    pub fn new(capacity: usize) -> Self {
        Self {
            to_server: VecDeque::new(),
            written: Vec::new(),
            waiting: 0,
            capacity,
            blocked: false,
            client_ended: false,
            server_gone: false,
            send_buffer_bytes: None,
            reset: false,
        }
    }

    /// The client reads up to `bytes_max`. Returns how many bytes there were, and whether
    /// the server gets an event that it can write again.
    pub fn take(&mut self, bytes_max: usize) -> (usize, bool) {
        let taken = self.waiting.min(bytes_max);
        self.waiting -= taken;
        // Like Linux: only when a third of the buffer is free.
        let free = self.capacity.saturating_sub(self.waiting);
        let tells = self.blocked && free > 0 && free >= self.capacity / 3;
        self.blocked &= !tells;
        (taken, tells)
    }

    pub fn is_readable(&self) -> bool {
        !self.to_server.is_empty() || self.client_ended || self.reset
    }

    pub fn is_writable(&self) -> bool {
        self.waiting < self.capacity || self.reset
    }
}

/// The server's end.
pub struct Side {
    pub id: u64,
    pub pipe: Rc<RefCell<Pipe>>,
    pub traffic: Rc<RefCell<Traffic>>,
}

impl Side {
    fn touch(&self, moved: usize) {
        let mut traffic = self.traffic.borrow_mut();
        traffic.touched.push(self.id);
        traffic.moved += moved;
    }
}

impl Read for Side {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut pipe = self.pipe.borrow_mut();
        if pipe.reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if pipe.to_server.is_empty() {
            return if pipe.client_ended { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        // A short read means that there is no more.
        pipe.to_server.make_contiguous();
        let read = pipe.to_server.read(buffer)?;
        self.touch(read);
        Ok(read)
    }
}

impl Write for Side {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        assert!(slices.len() <= SLICES_MAX, "the system takes no more");
        let mut pipe = self.pipe.borrow_mut();
        if pipe.reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let mut written = 0;
        for slice in slices {
            let taken = slice.len().min(pipe.capacity.saturating_sub(pipe.waiting));
            pipe.written.extend_from_slice(&slice[..taken]);
            pipe.waiting += taken;
            written += taken;
            if taken < slice.len() {
                pipe.blocked = true;
                break;
            }
        }
        if written == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.touch(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Side {
    fn shutdown_write(&mut self) {}

    fn send_buffer_bytes(&self) -> Option<usize> {
        self.pipe.borrow().send_buffer_bytes
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.pipe.borrow_mut().server_gone = true;
        self.touch(0);
    }
}

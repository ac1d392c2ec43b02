//! The frames that are for one connection alone: pongs, pings, notices, the close frame.

use bytes::{Buf, Bytes};

use crate::chat::is_presence;
use crate::feed::{Encoding, PRESENCE_EVENT};
use crate::server::snapshot::ConnectionSnapshot;
use crate::sse;
use crate::ws::close::{AfterClose, Close};
use crate::ws::frame::{self, Opcode};

/// The most bytes that wait for a client that does not read; further frames are dropped,
/// except answers about messages that were on their way.
const OUTBOX_BYTES_MAX: usize = 4096;

/// Frames that are to be written before anything else of the feed. A listener that gets
/// events gets its own events and comments in their place.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    encoding: Encoding,
    /// The rest of a frame of the feed that was partly written. It is written first, and is
    /// shared with the feed: many connections can lose their place at once.
    rest: Bytes,
    bytes: Vec<u8>,
    /// How many of the bytes were written.
    written: usize,
    /// How many bytes of the event at the cursor were written.
    pub event_bytes: usize,
    /// How the connection ends, if it is closing.
    pub closing: Option<Closing>,
}

/// The end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closing {
    /// When the connection is dropped, whatever the client does.
    pub deadline_ms: u64,
    pub then: AfterClose,
}

impl Outbox {
    pub fn empty(encoding: Encoding, closing: Option<Closing>) -> Self {
        Self { encoding, closing, ..Self::default() }
    }

    /// The outbox of a connection of another process. A snapshot does not tell how long the
    /// rest of a frame is, so all bytes count as that.
    pub fn resume(snapshot: &ConnectionSnapshot, closing: Option<Closing>) -> Self {
        let outbox = snapshot.outbox.clone();
        let (rest, bytes) = match snapshot.has_whole_outbox() {
            true => (Bytes::new(), outbox),
            false => (outbox.into(), Vec::new()),
        };
        Self {
            encoding: snapshot.encoding,
            rest,
            bytes,
            written: 0,
            event_bytes: snapshot.event_bytes as usize,
            closing,
        }
    }

    /// Adds a frame, if there is room for it.
    pub fn push(&mut self, opcode: Opcode, payload: &[u8]) -> bool {
        // After a handover, own frames are in the rest too.
        let bytes = self.rest.len() + self.bytes.len() + payload.len();
        let fits = bytes <= OUTBOX_BYTES_MAX;
        if fits {
            self.push_always(opcode, payload);
        }
        fits
    }

    /// Adds a frame. Something else bounds how many there are.
    pub fn push_always(&mut self, opcode: Opcode, payload: &[u8]) {
        match (self.encoding, opcode) {
            (Encoding::Frames, _) => frame::put(opcode, payload, &mut self.bytes),
            (Encoding::Events, Opcode::Text) if is_presence(payload) => {
                let put = |out: &mut Vec<u8>| out.extend_from_slice(payload);
                sse::put_named_with(PRESENCE_EVENT, put, &mut self.bytes);
            }
            (Encoding::Events, Opcode::Text) => sse::put_data(payload, &mut self.bytes),
            (Encoding::Events, _) => sse::put_comment("", &mut self.bytes),
        }
    }

    /// Adds the close frame.
    pub fn push_close(&mut self, close: &Close) {
        match self.encoding {
            Encoding::Frames => frame::put_close(close, &mut self.bytes),
            Encoding::Events => {
                sse::put_comment(&format!(" closed: {}", close.reason), &mut self.bytes);
            }
        }
    }

    /// Takes over the rest of a frame of the feed, to be written first.
    pub fn push_rest(&mut self, rest: Bytes) {
        assert!(!self.is_mid_frame(), "an own frame only starts at a frame boundary of the feed");
        self.rest = rest;
    }

    /// Whether it is better to write some of it before more is added.
    pub fn is_long(&self) -> bool {
        self.rest.len() + self.own().len() > OUTBOX_BYTES_MAX / 2
    }

    /// The bytes that are to be written next.
    pub fn pending(&self) -> &[u8] {
        if self.rest.is_empty() { self.own() } else { &self.rest }
    }

    /// All bytes that are still to be written.
    pub fn all_pending(&self) -> Vec<u8> {
        [&self.rest, self.own()].concat()
    }

    fn own(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    pub fn is_pending(&self) -> bool {
        !self.pending().is_empty()
    }

    /// Counts bytes that were written.
    pub fn advance(&mut self, bytes: usize) {
        if self.rest.is_empty() {
            self.written += bytes;
        } else {
            self.rest.advance(bytes);
        }
        if !self.is_pending() {
            *self =
                Self { event_bytes: self.event_bytes, ..Self::empty(self.encoding, self.closing) };
        }
    }

    /// Whether the client has a part of the frame that is to be written next.
    pub fn is_mid_frame(&self) -> bool {
        let end = match self.encoding {
            _ if !self.rest.is_empty() => return true,
            Encoding::Frames => Some(frame::frame_end(&self.bytes, self.written)),
            Encoding::Events => sse::event_end(&self.bytes, self.written),
        };
        self.is_pending() && end != Some(self.written)
    }
}

//! The HTTP door: a request comes in, an answer goes out, and a connection
//! that was answered with an upgrade goes on to a shard.
//!
//! Every request has a connection of its own: the door is for opening a
//! WebSocket and for the few files of the page, and a place at it is scarce.

#![deny(clippy::indexing_slicing)]

mod answer;
mod fast_path;
pub(crate) mod handshake_stream;
mod page;
mod proxy_header;
pub(crate) mod request;

use std::convert::Infallible;
use std::future::{poll_fn, ready};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;
use tracing::debug;

use crate::config::TrustedProxy;
use crate::config::descriptors::DOOR_MIN;
use crate::server::{
    Acceptor, ConnectionPermit, HandshakeSlots, HandshakeStream, Http11, Peer, Rejection, Settings,
    ShardPool, Socket, lock,
};
pub use answer::{AnswerOptions, answer};
use answer::{bar, is_foreign};

/// Guests that are let in before a sweep that waits for the core.
const LET_IN_AT_A_TIME: u64 = 16;
/// Connections that may be at the door at once; for one more the first gives
/// way, so that slow guests keep nobody out. There are fewer where the process
/// may not open as many descriptors.
const PLACES: usize = 1024;
/// The longest head of a request, in bytes; browsers send cookies of others.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// What is still read from a client after the answer, in bytes and in time:
/// closing on unread bytes would reset the connection, and the answer with it.
const FAREWELL_BYTES_MAX: u64 = 64 * 1024;
const FAREWELL: Duration = Duration::from_secs(1);
/// How long a closed door waits for those who are at it.
const LAST_CALL: Duration = Duration::from_millis(50);

/// Everything that the door needs to let somebody in.
pub struct HttpServer {
    hub: ShardPool,
    settings: watch::Receiver<Arc<Settings>>,
    crowd: Arc<HandshakeSlots>,
    unlisted: proxy_header::Unlisted,
    closed: watch::Sender<bool>,
}

impl HttpServer {
    /// A door to `hub`, which goes by the newest of `settings`.
    pub fn new(hub: ShardPool, settings: watch::Receiver<Arc<Settings>>) -> Arc<Self> {
        let (crowd, unlisted) = (Arc::default(), proxy_header::Unlisted::default());
        let closed = watch::Sender::new(false);
        Arc::new(Self { hub, settings, crowd, unlisted, closed })
    }

    /// Lets nobody else in; whoever comes waits in the kernel's backlog.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Lets in who comes to `acceptor` until the door is closed; then whoever
    /// has asked already is answered. Whoever is at the door when this is
    /// dropped is cut.
    pub async fn keep(self: Arc<Self>, mut acceptor: Acceptor) {
        let mut guests = JoinSet::new();
        let mut closed = self.closed.subscribe();
        let mut let_in = 0_u64;
        loop {
            let mut accept = pin!(acceptor.accept(|| self.crowd.relieve()));
            let next = async {
                if let Some(accepted) = accept.as_mut().now_or_never() {
                    return accepted;
                }
                // Whoever was ready is in: one wake does for all of them.
                self.hub.wake_adopters();
                accept.await
            };
            let (socket, peer) = tokio::select! {
                next = next => next,
                _ = closed.wait_for(|closed| *closed) => break,
            };
            let Some(socket) = self.let_in_at_once(socket, peer) else {
                let_in += 1;
                if let_in.is_multiple_of(LET_IN_AT_A_TIME) && self.hub.is_sweeping() {
                    // Where a shard wants the same core, those who listen go first.
                    thread::yield_now();
                }
                continue;
            };
            let mut place = self.crowd.enter(self.places()).await;
            while guests.try_join_next().is_some() {}
            let door = Arc::clone(&self);
            guests.spawn(async move {
                tokio::select! {
                    biased;
                    () = door.receive(socket, peer) => {}
                    () = place.is_wanted() => {
                        door.hub.bar(Rejection::Crowded);
                        // The guest may have been in already.
                        door.hub.wake_adopters();
                    }
                }
            });
        }
        let all = async { while guests.join_next().await.is_some() {} };
        // Whoever is late has sent half a request.
        let _ = timeout(LAST_CALL, all).await;
    }

    /// How many places there are now: those who are in the room leave the others.
    fn places(&self) -> usize {
        let free = self.settings.borrow().clients_max.saturating_sub(self.hub.listeners());
        let most = if self.hub.watches().are_short() { DOOR_MIN } else { PLACES };
        free.clamp(DOOR_MIN, most)
    }

    /// Answers a guest whom nobody can wait for, whatever it asks. The first of the
    /// others give way, so that the next can be waited for.
    fn turn_away(&self, socket: &Socket) {
        self.hub.bar(Rejection::System);
        self.crowd.relieve();
        fast_path::turn_away(socket, &bar(Rejection::System));
    }

    /// Lets in a guest whose whole request is there already, as it mostly is in
    /// a storm of them: that takes no task, no timer, and no watching of the
    /// socket. Gives back any other guest, from whom nothing was taken, and who
    /// hears in the common way what there is to hear.
    fn let_in_at_once(&self, socket: Socket, peer: Peer) -> Option<Socket> {
        let settings = self.settings.borrow();
        let Some(given) = self.answer_at_once(&socket, peer, &settings) else {
            return Some(socket);
        };
        let admitted =
            given.and_then(|(seat, peer)| self.admit(socket, peer, seat, Bytes::new(), &settings));
        if let Err(error) = admitted {
            debug!(%error, "cannot let in {peer}: {error}");
        }
        None
    }

    /// Answers a guest that can be let in and whose whole request is there. From
    /// any other nothing is taken, and it gets no answer.
    fn answer_at_once(
        &self,
        socket: impl AsFd,
        peer: Peer,
        settings: &Settings,
    ) -> Option<io::Result<(ConnectionPermit, Peer)>> {
        let (request, length) = fast_path::request(&socket)?;
        let (answer, Ok(taken)) = self.answer(&request, peer, settings) else { return None };
        Some(fast_path::give(&socket, length, &answer).map(|()| taken))
    }

    /// One guest from its arrival to the room, or out again.
    async fn receive(&self, socket: Socket, peer: Peer) {
        let stream = match HandshakeStream::watch(socket, self.hub.watches()) {
            Ok(stream) => stream,
            Err((socket, error)) => {
                debug!(%error, "cannot receive {peer}: {error}");
                return self.turn_away(&socket);
            }
        };
        let settings = self.settings.borrow().clone();
        let conversation = async {
            // A guest who has said nothing costs next to nothing: hyper, with its
            // buffers, comes when there is something to read, and not all of it.
            // (An error shows in that read again.)
            let first = stream.first_byte().await.unwrap_or_default();
            match self.answer_at_once(&stream, peer, &settings) {
                Some(Ok(taken)) => Outcome::Enters(stream, taken, Bytes::new()),
                Some(Err(error)) => {
                    debug!(%error, "cannot let in {peer}: {error}");
                    Outcome::Leaves(stream)
                }
                None => Box::pin(self.converse(stream, first, peer, &settings)).await,
            }
        };
        match timeout(settings.limits.handshake_timeout, conversation).await {
            Ok(Outcome::Enters(stream, (seat, peer), received)) => {
                let socket = stream.into_socket();
                if let Err(error) = self.admit(socket, peer, seat, received, &settings) {
                    debug!(%error, "cannot let in {peer}: {error}");
                }
                // Whoever else is ready goes in first; then one wake does for all.
                yield_now().await;
                self.hub.wake_adopters();
            }
            Ok(Outcome::Leaves(stream)) => part(stream).await,
            Err(_) => {
                self.hub.bar(Rejection::Late);
                debug!("{peer} took too long at the door");
            }
        }
    }

    /// One request and its answer.
    async fn converse(
        &self,
        mut stream: HandshakeStream,
        first: Option<u8>,
        peer: Peer,
        settings: &Settings,
    ) -> Outcome {
        let peer = match introduced(&mut stream, first, peer, &settings.trusted_proxies).await {
            Ok(peer) => peer,
            Err(error) => {
                debug!(%error, "{peer}, a trusted proxy, at the door: {error}");
                return Outcome::Leaves(stream);
            }
        };
        let seat = Mutex::new(None);
        let service = service_fn(|request: Request<Incoming>| {
            let (answer, taken) = self.answer(&request, peer, settings);
            if let Err(Some(why)) = taken {
                self.hub.bar(why);
            }
            *lock(&seat) = taken.ok();
            ready(Ok::<_, Infallible>(answer))
        });
        let mut connection = http1::Builder::new()
            .half_close(true)
            .max_buf_size(HEAD_BYTES_MAX)
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(Http11::new(stream)), service);
        let ended = poll_fn(|context| connection.poll_without_shutdown(context)).await;
        let http1::Parts { io, read_buf, .. } = connection.into_parts();
        let stream = io.into_inner().into_inner();
        match (ended, seat.into_inner().unwrap_or_else(PoisonError::into_inner)) {
            (Ok(()), Some(seat)) => Outcome::Enters(stream, seat, read_buf),
            (Ok(()), None) => Outcome::Leaves(stream),
            (Err(error), _) => {
                // What was no request has been answered all the same.
                debug!(%error, "{peer} at the door: {error}");
                Outcome::Leaves(stream)
            }
        }
    }

    /// The answer to a request of `peer`, or of whom it speaks for, with a seat
    /// for that one if it is an upgrade, or else what barred it, if anything did.
    /// The seat is taken before the client hears of it, so that it misses nothing
    /// from then on.
    fn answer(
        &self,
        request: &Request<impl Body>,
        peer: Peer,
        settings: &Settings,
    ) -> (Answer, Result<(ConnectionPermit, Peer), Option<Rejection>>) {
        let headers = request.headers();
        let foreign = is_foreign(headers, &settings.origins);
        let terms = AnswerOptions {
            page: settings.page.enabled,
            message_bytes_max: settings.limits.message_bytes_max,
            barred: foreign.then_some(Rejection::Origin),
        };
        let inviting = answer(request, terms);
        match inviting.status() {
            StatusCode::SWITCHING_PROTOCOLS => {}
            StatusCode::FORBIDDEN => return (inviting, Err(Some(Rejection::Origin))),
            _ => return (inviting, Err(None)),
        }
        self.unlisted.look(headers, peer, &settings.trusted_proxies);
        let client = proxy_header::forwarded(headers, peer, &settings.trusted_proxies);
        match self.hub.seat(client, &settings.limits) {
            Ok(seat) => (inviting, Ok((seat, client))),
            Err(why) => {
                (answer(request, AnswerOptions { barred: Some(why), ..terms }), Err(Some(why)))
            }
        }
    }

    /// Hands the bare socket to a shard, and what the client sent behind its
    /// request with it.
    fn admit(
        &self,
        socket: Socket,
        peer: Peer,
        seat: ConnectionPermit,
        received: Bytes,
        settings: &Settings,
    ) -> io::Result<()> {
        socket.set_send_buffer(settings.limits.send_buffer_bytes)?;
        self.hub.adopt(seat, socket, peer, received, settings.limits.message_bytes_max);
        Ok(())
    }
}

type Answer = Response<Full<Bytes>>;

/// How a conversation at the door ended.
enum Outcome {
    /// With a WebSocket, on which these bytes have come already.
    Enters(HandshakeStream, (ConnectionPermit, Peer), Bytes),
    /// With an answer.
    Leaves(HandshakeStream),
}

/// Lets a client that got its answer read it.
async fn part(mut stream: HandshakeStream) {
    if stream.shutdown().await.is_ok() {
        let mut rest = stream.take(FAREWELL_BYTES_MAX);
        // Whatever comes of it, the answer is out.
        let _ = timeout(FAREWELL, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    }
}

/// Who a guest is that began with the byte `first`: `peer`, or whom it names in
/// a PROXY header, if it is one to be believed and sends such a header.
async fn introduced(
    stream: &mut HandshakeStream,
    first: Option<u8>,
    peer: Peer,
    proxies: &[TrustedProxy],
) -> io::Result<Peer> {
    if !proxy_header::trusts(proxies, peer) {
        return Ok(peer);
    }
    let mut next = first;
    for line in proxy_header::EMPTY_LINES.chunks(2) {
        if next != line.first().copied() {
            // A request, behind an empty line or not.
            return Ok(peer);
        }
        let mut read = [0; 2];
        stream.read_exact(&mut read).await?;
        if read != line {
            return Err(io::Error::new(ErrorKind::InvalidData, "half the end of a line"));
        }
        next = stream.first_byte().await?;
    }
    if next == Some(proxy_header::THEN) {
        proxy_header::introduction(stream, peer).await
    } else {
        Ok(peer)
    }
}

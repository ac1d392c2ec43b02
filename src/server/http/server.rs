//! Accepts connections, and hands those that become WebSockets to the shards.

use std::io;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::forwarded_for;
use super::handshake_stream::{HandshakeStream, register_socket};
use super::lease::Lease;
use super::post_head::PostHead;
use super::{error_response, fast_path};
use crate::descriptors::HANDSHAKES_MIN;
use crate::log_limit::LogLimit;
use crate::server::acceptor::Acceptor;
use crate::server::admission::handshake_slots::HandshakeSlots;
use crate::server::admission::rejection::Rejection;
use crate::server::pool::ShardPool;
use crate::server::settings::Settings;
use crate::server::shard::cold_state::NewConnection;
use crate::server::socket::{Peer, Socket};

/// The most connections whose handshake is not finished; a new one then evicts the oldest.
/// There are fewer if the limit of open files is low.
const HANDSHAKES_MAX: usize = 1024;
/// Connections that are admitted before a waiting sweep gets the processor.
const ADMITTED_PER_YIELD: u64 = 16;
/// The most bytes that are read after the last response, and for how long. Closing a socket
/// with unread bytes resets the connection, and the client may lose the response: many clients
/// read it only after they have sent a whole body, which may be far longer than is allowed.
const LINGER_BYTES_MAX: u64 = 64 * 1024 * 1024;
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a connection that has to give way may take for its response.
const REVOKED_TIMEOUT: Duration = Duration::from_millis(50);
/// How long a server that accepts no more connections waits for handshakes.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(50);

/// The HTTP server of the room.
pub struct HttpServer {
    pub(super) shards: ShardPool,
    pub(super) settings: watch::Receiver<Arc<Settings>>,
    slots: Arc<HandshakeSlots>,
    pub(super) forwarded_for_log: LogLimit,
    /// When it was closed.
    closed_at: watch::Sender<Option<Instant>>,
}

impl HttpServer {
    /// Creates the HTTP server for these shards; it always uses the latest settings.
    pub fn new(shards: ShardPool) -> Arc<Self> {
        Arc::new(Self {
            settings: shards.settings(),
            shards,
            slots: Arc::default(),
            forwarded_for_log: LogLimit::new(forwarded_for::LOG_INTERVAL),
            closed_at: watch::Sender::new(None),
        })
    }

    /// Accepts no more connections: they stay in the kernel's backlog.
    pub fn close(&self) {
        self.closed_at.send_replace(Some(Instant::now()));
    }

    /// Serves the connections of `acceptor` until the server is closed; then waits a moment
    /// for handshakes. Dropping this closes all connections that are no WebSockets yet.
    pub async fn serve(self: Arc<Self>, mut acceptor: Acceptor) {
        let mut handshakes = JoinSet::new();
        let mut closed_at = self.closed_at.subscribe();
        let mut admitted = 0_u64;
        loop {
            let mut accept = pin!(acceptor.accept(|| self.slots.evict_oldest()));
            let next = async {
                if let Some(accepted) = accept.as_mut().now_or_never() {
                    return accepted;
                }
                // No connection waits: one wake-up covers all that were admitted.
                self.shards.wake_adopters();
                accept.await
            };
            let (socket, peer) = tokio::select! {
                next = next => next,
                _ = closed_at.wait_for(Option::is_some) => break,
            };
            let Some(socket) = self.admit_at_once(socket, peer) else {
                admitted += 1;
                if admitted.is_multiple_of(ADMITTED_PER_YIELD) && self.shards.is_sweeping() {
                    // A shard on the same core sends to the listeners first.
                    thread::yield_now();
                }
                continue;
            };
            let mut slot = self.slots.take(self.handshakes_max()).await;
            while handshakes.try_join_next().is_some() {}
            let server = Arc::clone(&self);
            handshakes.spawn(async move {
                let limit = server.settings.borrow().limits.handshake_timeout;
                let lease = Lease::new(limit, server.closed_at.subscribe());
                let mut handshake = pin!(server.handshake(socket, peer, &lease));
                tokio::select! {
                    biased;
                    () = &mut handshake => return,
                    () = slot.evicted() => {}
                }
                if !lease.is_idle() {
                    server.shards.count_rejection(Rejection::Crowded, Some(peer));
                }
                lease.revoke();
                let _ = timeout(REVOKED_TIMEOUT, handshake).await;
                // The connection may already be with a shard.
                server.shards.wake_adopters();
            });
        }
        let all = async { while handshakes.join_next().await.is_some() {} };
        // What is left after that is incomplete requests.
        let _ = timeout(DRAIN_TIMEOUT, all).await;
    }

    /// The number of handshake slots: open WebSockets leave fewer descriptors for them.
    fn handshakes_max(&self) -> usize {
        let free = self.settings.borrow().clients_max.saturating_sub(self.shards.listeners());
        let are_exhausted = self.shards.watches().are_exhausted();
        free.clamp(HANDSHAKES_MIN, if are_exhausted { HANDSHAKES_MIN } else { HANDSHAKES_MAX })
    }

    /// Admits a client whose whole upgrade request has arrived, as is usual in a storm of
    /// connections: that takes no task, no timer and no registration. Returns the socket of
    /// any other client, with all that it has sent still in it.
    fn admit_at_once(&self, socket: Socket, peer: Peer) -> Option<Socket> {
        let settings = self.settings.borrow();
        let Some(admitted) = self.respond_at_once(&socket, peer, &settings) else {
            return Some(socket);
        };
        let adopted =
            admitted.and_then(|admitted| self.adopt(socket, admitted, Bytes::new(), &settings));
        log_failure(peer, adopted);
        None
    }

    /// Responds to a listener if the whole request has arrived, and its client can be
    /// admitted. Otherwise reads and sends nothing.
    fn respond_at_once(
        &self,
        socket: impl AsFd,
        peer: Peer,
        settings: &Settings,
    ) -> Option<io::Result<NewConnection>> {
        let (request, length) = fast_path::peek_request(&socket)?;
        let (response, Ok(admitted)) = self.respond(&request, peer, settings) else { return None };
        let welcome =
            |out: &mut Vec<u8>| self.shards.put_presence(admitted.encoding, settings, out);
        Some(fast_path::respond(&socket, length, &response, welcome).map(|()| admitted))
    }

    /// Serves one connection until it is with a shard, or closed.
    async fn handshake(&self, socket: Socket, peer: Peer, lease: &Lease) {
        let mut stream = match register_socket(socket, self.shards.watches()) {
            Ok(stream) => stream,
            Err((socket, error)) => {
                debug!(%error, "cannot register the socket of {peer}: {error}");
                self.shards.count_rejection(Rejection::System, Some(peer));
                self.slots.evict_oldest();
                let response = error_response::rejected(Rejection::System);
                return fast_path::reject(&socket, &response);
            }
        };
        let head = PostHead::default();
        let handshake = async {
            // Until data arrives, a connection costs no buffer of hyper. An error of the
            // socket occurs again when it is read.
            let _ = stream.peek(&mut [0]).await;
            let admitted = self.respond_at_once(&stream, peer, &self.settings.borrow());
            match admitted {
                Some(admitted) => admitted.map(|admitted| Some((admitted, Bytes::new()))),
                None => Box::pin(self.serve_requests(&mut stream, peer, &head, lease)).await,
            }
        };
        let served = tokio::select! {
            biased;
            served = handshake => Some(served),
            () = lease.ended() => None,
            () = lease.must_give_way() => return self.give_way(&stream, &head, lease),
        };
        match served {
            Some(Ok(Some((admitted, received)))) => {
                let settings = self.settings.borrow().clone();
                let adopted = stream
                    .into_std()
                    .and_then(|socket| self.adopt(socket.into(), admitted, received, &settings));
                log_failure(peer, adopted);
                // Other handshakes that are ready go first, so that one wake-up covers all.
                yield_now().await;
                self.shards.wake_adopters();
            }
            Some(response) => {
                log_failure(peer, response);
                let is_revoked = lease.is_revoked();
                linger(stream, if is_revoked { Duration::ZERO } else { LINGER_TIMEOUT }).await;
            }
            None if lease.has_served() => {}
            None => {
                self.shards.count_rejection(Rejection::Late, head.has_begun().then_some(peer));
                debug!("handshake with {peer} timed out");
            }
        }
    }

    /// Gives the socket to a shard, with the bytes that followed the request.
    fn adopt(
        &self,
        socket: Socket,
        connection: NewConnection,
        received: Bytes,
        settings: &Settings,
    ) -> io::Result<()> {
        socket.set_send_buffer_size(settings.limits.send_buffer_bytes)?;
        self.shards.adopt(connection, socket, received.to_vec());
        Ok(())
    }
}

fn log_failure<T>(peer: Peer, handshake: io::Result<T>) {
    if let Err(error) = handshake {
        debug!(%error, "handshake with {peer} failed: {error}");
    }
}

/// Closes the sending side, and reads until the client closes its side.
async fn linger(mut stream: HandshakeStream, limit: Duration) {
    if stream.shutdown().await.is_ok() {
        let mut rest = stream.take(LINGER_BYTES_MAX);
        // An error does not matter: the response is sent.
        let _ = timeout(limit, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    }
}

//! Accepts connections, and hands those that become WebSockets to the shards.

use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::{Arc, Mutex};
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

use super::cors::Cors;
use super::error_filter::{ErrorFilter, FilteredError};
use super::forwarded_for::{self, is_trusted};
use super::handshake_stream::{HandshakeStream, register_socket};
use super::http11_reader::Http11Reader;
use super::lease::Lease;
use super::post::{self, PostContext};
use super::post_head::{PostHead, RecordingReader};
use super::proxy_header::read_proxy_header;
use super::response::FullResponse;
use super::routes::Outcome;
use super::{error_response, fast_path, origin_check, routes};
use crate::descriptors::HANDSHAKES_MIN;
use crate::log_limit::LogLimit;
use crate::mutex::lock;
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
/// The longest request head in bytes; browsers send the cookies of other servers on this host.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The most bytes that are read after the last response, and for how long. Closing a socket
/// with unread bytes resets the connection, and the client may lose the response.
const LINGER_BYTES_MAX: u64 = 64 * 1024;
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a connection that has to give way may take for its response.
const REVOKED_TIMEOUT: Duration = Duration::from_millis(50);
/// How long a server that accepts no more connections waits for handshakes.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(50);

/// The HTTP server of the room.
pub struct HttpServer {
    shards: ShardPool,
    settings: watch::Receiver<Arc<Settings>>,
    slots: Arc<HandshakeSlots>,
    forwarded_for_log: LogLimit,
    is_closed: watch::Sender<bool>,
}

impl HttpServer {
    /// Creates the HTTP server for these shards; it always uses the latest settings.
    pub fn new(shards: ShardPool) -> Arc<Self> {
        Arc::new(Self {
            settings: shards.settings(),
            shards,
            slots: Arc::default(),
            forwarded_for_log: LogLimit::new(forwarded_for::LOG_INTERVAL),
            is_closed: watch::Sender::new(false),
        })
    }

    /// Accepts no more connections: they stay in the kernel's backlog.
    pub fn close(&self) {
        self.is_closed.send_replace(true);
    }

    /// Serves the connections of `acceptor` until the server is closed; then waits a moment
    /// for handshakes. Dropping this closes all connections that are no WebSockets yet.
    pub async fn serve(self: Arc<Self>, acceptor: Acceptor) {
        let mut handshakes = JoinSet::new();
        let mut is_closed = self.is_closed.subscribe();
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
                _ = is_closed.wait_for(|is_closed| *is_closed) => break,
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
                let lease = Lease::new(limit, server.is_closed.subscribe());
                let mut handshake = pin!(server.handshake(socket, peer, &lease));
                tokio::select! {
                    biased;
                    () = &mut handshake => return,
                    () = slot.evicted() => {}
                }
                server.shards.count_rejection(Rejection::Crowded);
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
        Some(fast_path::respond(&socket, length, &response).map(|()| admitted))
    }

    /// Serves one connection until it is with a shard, or closed.
    async fn handshake(&self, socket: Socket, peer: Peer, lease: &Lease) {
        let mut stream = match register_socket(socket, self.shards.watches()) {
            Ok(stream) => stream,
            Err((socket, error)) => {
                debug!(%error, "cannot register the socket of {peer}: {error}");
                self.shards.count_rejection(Rejection::System);
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
                self.shards.count_rejection(Rejection::Late);
                debug!("handshake with {peer} timed out");
            }
        }
    }

    /// Serves requests until the connection ends. If its client is admitted, returns the bytes
    /// that hyper has read after the request as well.
    ///
    /// # Errors
    ///
    /// The socket's, of the PROXY header, or of a request that is not HTTP; the last has got a
    /// response.
    async fn serve_requests(
        &self,
        stream: &mut HandshakeStream,
        mut peer: Peer,
        head: &PostHead,
        lease: &Lease,
    ) -> io::Result<Option<(NewConnection, Bytes)>> {
        let is_trusted = is_trusted(&self.settings.borrow().trusted_proxies, peer);
        if is_trusted {
            peer = read_proxy_header(stream, peer).await?;
        }
        let (admitted, error) = (Mutex::new(None), FilteredError::default());
        let service = service_fn(|request| {
            Box::pin(self.serve_request(request, peer, &admitted, head, lease))
        });
        let (reader, writer) = stream.split();
        let reader = RecordingReader::new(Http11Reader::new(reader), head);
        let io = TokioIo::new(tokio::io::join(reader, ErrorFilter::new(writer, &error)));
        let mut connection = http1::Builder::new()
            .half_close(true)
            .max_buf_size(HEAD_BYTES_MAX)
            .header_read_timeout(None)
            .serve_connection(io, service);
        let served = poll_fn(|context| connection.poll_without_shutdown(context)).await;
        let received = connection.into_parts().read_buf;
        if let Some(status) = error.take() {
            let response = self.unreadable(status, head);
            stream.write_all(&fast_path::encode(&response)).await?;
        }
        let Some((admitted, response)) = lock(&admitted).take() else {
            return served.map(|()| None).map_err(io::Error::other);
        };
        fast_path::write(&*stream, &response)?;
        Ok(Some((admitted, received)))
    }

    /// The response to one of several requests. If its client is admitted, stores it in
    /// `admitted`.
    async fn serve_request(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        admitted: &Mutex<Option<(NewConnection, FullResponse)>>,
        head: &PostHead,
        lease: &Lease,
    ) -> Result<Response<Full<Bytes>>, NotForHyper> {
        let settings = self.settings.borrow().clone();
        if routes::is_post(&request) {
            let response = self.respond_to_post(request, peer, &settings, head, lease).await;
            return Ok(response.map(Full::new));
        }
        let (response, result) = self.respond(&request, peer, &settings);
        match result {
            Ok(client) => {
                *lock(admitted) = Some((client, response));
                return Err(NotForHyper);
            }
            Err(Some(rejection)) => self.shards.count_rejection(rejection),
            Err(None) => {}
        }
        Ok(response.map(Full::new))
    }

    /// The response to a message of `peer`.
    async fn respond_to_post(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        settings: &Settings,
        head: &PostHead,
        lease: &Lease,
    ) -> FullResponse {
        let has_two_lengths = head.take_has_two_lengths();
        let (headers, proxies) = (request.headers(), &settings.trusted_proxies);
        forwarded_for::warn_if_ignored(headers, peer, proxies, &self.forwarded_for_log);
        let client = forwarded_for::client(headers, peer, proxies);
        let cors = Cors::new(&request, &settings.origins);
        let context =
            PostContext { shards: &self.shards, settings, lease, client, has_two_lengths };
        let mut response = context.respond(request).await;
        cors.add_to(&mut response);
        response
    }

    /// The response to a request that hyper cannot read, instead of its own with this status.
    fn unreadable(&self, status: StatusCode, head: &PostHead) -> FullResponse {
        let mut response = if head.is_post() {
            post::bad_request(&self.shards)
        } else {
            error_response::unreadable(status)
        };
        *response.status_mut() = status;
        self.cors_of(head).add_to(&mut response);
        response
    }

    /// Ends a connection whose request is not complete. A POST gets a response, if no part of
    /// it was read as the second request of its connection.
    fn give_way(&self, stream: &HandshakeStream, head: &PostHead, lease: &Lease) {
        let next = PostHead::default();
        let head = if lease.has_served() { &next } else { head };
        fast_path::peek(stream, |bytes| head.record(bytes));
        if head.is_post() {
            let mut response = post::unavailable(&self.shards);
            self.cors_of(head).add_to(&mut response);
            fast_path::reject(stream, &response);
        }
    }

    /// The fields of CORS for a response to a request that is not read.
    fn cors_of(&self, head: &PostHead) -> Cors {
        Cors::with(&head.headers(), None, &self.settings.borrow().origins)
    }

    /// The response to a request of `peer`, and the client if it listens, or else the
    /// rejection if there is one. A client gets its permit before the response is sent, so that
    /// it receives every message from then on.
    fn respond(
        &self,
        request: &Request<impl Body>,
        peer: Peer,
        settings: &Settings,
    ) -> (FullResponse, Result<NewConnection, Option<Rejection>>) {
        let cors = Cors::new(request, &settings.origins);
        let (mut response, result) = self.respond_without_cors(request, peer, settings);
        cors.add_to(&mut response);
        (response, result)
    }

    fn respond_without_cors(
        &self,
        request: &Request<impl Body>,
        peer: Peer,
        settings: &Settings,
    ) -> (FullResponse, Result<NewConnection, Option<Rejection>>) {
        let Settings { page, limits, trusted_proxies, origins, .. } = settings;
        let outcome = routes::respond(request, page.enabled, limits.message_bytes_max);
        let (response, encoding, start) = match outcome {
            Outcome::Response(response) => return (response, Err(None)),
            Outcome::Listener { response, encoding, start } => (response, encoding, start),
        };
        let rejected = |rejection| (error_response::rejected(rejection), Err(Some(rejection)));
        let headers = request.headers();
        if !origin_check::is_allowed(headers, origins) {
            return rejected(Rejection::Origin);
        }
        forwarded_for::warn_if_ignored(headers, peer, trusted_proxies, &self.forwarded_for_log);
        let client = forwarded_for::client(headers, peer, trusted_proxies);
        match self.shards.admit(client, encoding, start, limits) {
            Ok(connection) => (response, Ok(connection)),
            Err(rejection) => rejected(rejection),
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

/// The response is not left to hyper, because the connection goes on in a shard.
#[derive(Debug, thiserror::Error)]
#[error("the request is for a shard")]
struct NotForHyper;

/// Closes the sending side, and reads until the client closes its side.
async fn linger(mut stream: HandshakeStream, limit: Duration) {
    if stream.shutdown().await.is_ok() {
        let mut rest = stream.take(LINGER_BYTES_MAX);
        // An error does not matter: the response is sent.
        let _ = timeout(limit, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    }
}

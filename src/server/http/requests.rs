//! Serves the requests of one connection.

use std::future::poll_fn;
use std::io;
use std::sync::Mutex;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

use super::cors::Cors;
use super::error_filter::{ErrorFilter, FilteredError};
use super::forwarded_for;
use super::handshake_stream::HandshakeStream;
use super::http11_reader::Http11Reader;
use super::lease::Lease;
use super::page::PageSettings;
use super::post::{self, PostContext};
use super::post_head::PostHead;
use super::proxy_header::read_proxy_header;
use super::response::{FullResponse, is_last, last};
use super::routes::Outcome;
use super::server::HttpServer;
use super::{error_response, fast_path, origin_check, routes};
use crate::mutex::lock;
use crate::server::admission::rejection::Rejection;
use crate::server::settings::Settings;
use crate::server::shard::cold_state::NewConnection;
use crate::server::socket::Peer;

/// The longest request head in bytes; browsers send the cookies of other servers on this host.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The response is not left to hyper, because the connection goes on in a shard.
#[derive(Debug, thiserror::Error)]
#[error("the request is for a shard")]
struct NotForHyper;

/// A request does not lead to a listener.
pub(super) struct NotAdmitted {
    /// Why its client is rejected, if it is.
    why: Option<Rejection>,
    /// The client, which is behind the trusted proxies.
    client: Peer,
}

impl HttpServer {
    /// Serves requests until the connection ends. If its client is admitted, returns the bytes
    /// that hyper has read after the request as well.
    ///
    /// # Errors
    ///
    /// The socket's, of the PROXY header, or of a request that is not HTTP; the last has got a
    /// response.
    pub(super) async fn serve_requests(
        &self,
        stream: &mut HandshakeStream,
        mut peer: Peer,
        head: &PostHead,
        lease: &Lease,
    ) -> io::Result<Option<(NewConnection, Bytes)>> {
        let is_trusted = peer.is_any_of(&self.settings.borrow().trusted_proxies);
        if is_trusted {
            peer = read_proxy_header(stream, peer).await?;
        }
        let (admitted, error) = (Mutex::new(None), FilteredError::default());
        let service = service_fn(|request| {
            Box::pin(self.serve_request(request, peer, &admitted, head, lease))
        });
        let (reader, writer) = stream.split();
        let reader = Http11Reader::new(reader, |bytes| head.record(bytes));
        let io = TokioIo::new(tokio::io::join(reader, ErrorFilter::new(writer, &error)));
        let mut connection = http1::Builder::new()
            .half_close(true)
            .max_buf_size(HEAD_BYTES_MAX)
            .header_read_timeout(None)
            .serve_connection(io, service);
        let served = poll_fn(|context| connection.poll_without_shutdown(context)).await;
        let received = connection.into_parts().read_buf;
        if let Some(status) = error.take() {
            let response = self.unreadable(status, head, peer);
            stream.write_all(&fast_path::encode(&response)).await?;
        }
        let Some((admitted, response)) = lock(&admitted).take() else {
            return served.map(|()| None).map_err(io::Error::other);
        };
        let settings = self.settings.borrow().clone();
        let welcome =
            |out: &mut Vec<u8>| self.shards.put_presence(admitted.encoding, &settings, out);
        fast_path::write(&*stream, &response, welcome)?;
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
            Err(NotAdmitted { why, client }) => match why {
                Some(rejection) => self.shards.count_rejection(rejection, Some(client)),
                None if response.status() == StatusCode::BAD_REQUEST => {
                    self.shards.log_bad_request(client);
                }
                None => {}
            },
        }
        if !is_last(&response) {
            lease.end_request();
        }
        let response = if lease.is_closed() { last(response) } else { response };
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
    fn unreadable(&self, status: StatusCode, head: &PostHead, peer: Peer) -> FullResponse {
        let mut response = if head.is_post() {
            post::bad_request(&self.shards, peer)
        } else {
            self.shards.log_bad_request(peer);
            error_response::unreadable(status)
        };
        *response.status_mut() = status;
        self.cors_of(head).add_to(&mut response);
        response
    }

    /// Ends a connection whose request is not complete. A POST gets a response, if no part of
    /// it was read as the second request of its connection.
    pub(super) fn give_way(&self, stream: &HandshakeStream, head: &PostHead, lease: &Lease) {
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

    /// The response to a request of `peer`, and the client if it listens. A client gets its permit before the response is sent, so that
    /// it receives every message from then on.
    pub(super) fn respond(
        &self,
        request: &Request<impl Body>,
        peer: Peer,
        settings: &Settings,
    ) -> (FullResponse, Result<NewConnection, NotAdmitted>) {
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
    ) -> (FullResponse, Result<NewConnection, NotAdmitted>) {
        let Settings { rules, page, limits, trusted_proxies, origins, .. } = settings;
        let headers = request.headers();
        let is_allowed = origin_check::is_allowed(headers, origins);
        let client = forwarded_for::client(headers, peer, trusted_proxies);
        let not_admitted = |response, why| (response, Err(NotAdmitted { why, client }));
        let message_bytes_max = limits.message_bytes_max;
        let moderator_claim = rules.moderator_claim();
        let page =
            page.enabled.then_some(PageSettings { message_bytes_max, origins, moderator_claim });
        let outcome = routes::respond(request, page);
        let (response, encoding, start) = match outcome {
            Outcome::ListenerHead(_) if !is_allowed => {
                return not_admitted(error_response::rejected(Rejection::Origin), None);
            }
            Outcome::Response(response) | Outcome::ListenerHead(response) => {
                return not_admitted(response, None);
            }
            Outcome::Listener { response, encoding, start } => (response, encoding, start),
        };
        let rejected = |why| not_admitted(error_response::rejected(why), Some(why));
        if !is_allowed {
            return rejected(Rejection::Origin);
        }
        forwarded_for::warn_if_ignored(headers, peer, trusted_proxies, &self.forwarded_for_log);
        match self.shards.admit(client, encoding, start, limits) {
            Ok(connection) => (response, Ok(connection)),
            Err(rejection) => rejected(rejection),
        }
    }
}

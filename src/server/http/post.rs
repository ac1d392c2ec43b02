//! A message that is sent by POST.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderMap, TRANSFER_ENCODING};
use tokio::time::sleep_until;

use super::bearer::bearer;
use super::host_check::check_host;
use super::lease::Lease;
use super::origin_check::is_allowed;
use super::post_response::response;
use super::response::{FullResponse, last};
use super::upgrade::single_value;
use crate::chat::{Refusal, Refused};
use crate::server::pool::ShardPool;
use crate::server::settings::Settings;
use crate::server::socket::Peer;

/// A client whose address is too fast may try again after so many seconds: the lowest rate is
/// one per second.
const RATE_WAIT_SECS: u64 = 1;
/// The only content type that no page of another origin can send without asking first.
const JSON: &str = "application/json";

/// What a POST needs.
pub(crate) struct PostContext<'a> {
    pub shards: &'a ShardPool,
    pub settings: &'a Settings,
    pub lease: &'a Lease,
    /// The client, which is behind the trusted proxies.
    pub client: Peer,
    /// The request says its length in two ways.
    pub has_two_lengths: bool,
}

impl PostContext<'_> {
    /// Handles the message in `request`, and returns the response. If the connection has to
    /// give way, or the time of the client is over, the message is withdrawn.
    pub async fn respond(&self, request: Request<Incoming>) -> FullResponse {
        self.lease.begin_post();
        let expects_continue = request.headers().contains_key(EXPECT);
        let response = match self.check_head(&request) {
            Err(refused) => {
                let response = response(self.shards.refuse_post(refused, self.client));
                let hides_next = matches!(refused.refusal, Refusal::BadRequest | Refusal::TooLarge);
                // Where the next request begins is not known, or far away.
                if hides_next || expects_continue { last(response) } else { response }
            }
            Ok(bearer) => self.handle_body(request, bearer).await,
        };
        self.lease.end_post();
        if self.lease.is_closed() { last(response) } else { response }
    }

    /// Checks what is known before the body arrives. Returns the token of the request.
    fn check_head(&self, request: &Request<Incoming>) -> Result<Option<String>, Refused> {
        let (headers, limits) = (request.headers(), &self.settings.limits);
        if !is_allowed(headers, &self.settings.origins) {
            return Err(Refusal::Origin.into());
        }
        let has_bad_length = self.has_two_lengths || !is_chunked_only(headers);
        let bearer = bearer(headers);
        let (Ok(()), false, Ok(bearer)) = (check_host(request), has_bad_length, bearer) else {
            return Err(Refusal::BadRequest.into());
        };
        if request.body().size_hint().lower() > limits.message_bytes_max as u64 {
            return Err(Refusal::TooLarge.into());
        }
        if !is_json(headers) {
            return Err(Refusal::MediaType.into());
        }
        let checked = self.shards.check_post_rate(self.client, limits);
        let wait_secs = Some(RATE_WAIT_SECS);
        checked.map_err(|_| Refused { refusal: Refusal::RateLimited, wait_secs })?;
        Ok(bearer)
    }

    async fn handle_body(
        &self,
        request: Request<Incoming>,
        bearer: Option<String>,
    ) -> FullResponse {
        let bytes_max = self.settings.limits.message_bytes_max;
        let text = tokio::select! {
            biased;
            () = self.lease.revoked() => return unavailable(self.shards),
            text = read(request.into_body(), bytes_max) => text,
        };
        match text {
            // After a part of a body, the next request cannot be found.
            Err(refusal @ (Refusal::TooLarge | Refusal::BadRequest)) => {
                last(response(self.shards.refuse_post(refusal.into(), self.client)))
            }
            Err(refusal) => response(self.shards.refuse_post(refusal.into(), self.client)),
            Ok(text) => self.send(text, bearer).await,
        }
    }

    /// Gives the message to a shard, and waits for its answer.
    async fn send(&self, text: String, bearer: Option<String>) -> FullResponse {
        let end = self.lease.wait_for_shard();
        let mut pending = self.shards.post(self.client, text, bearer);
        tokio::select! {
            biased;
            answer = pending.wait() => return response(answer),
            () = self.lease.revoked() => {}
            () = sleep_until(end) => {}
        }
        last(response(pending.withdraw().await))
    }
}

/// Reads a body of at most `bytes_max` bytes.
async fn read(mut body: Incoming, bytes_max: usize) -> Result<String, Refusal> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        // The length of a chunk is not valid, or the client has sent less than it said.
        let frame = frame.map_err(|_| Refusal::BadRequest)?;
        let data: Bytes = frame.into_data().unwrap_or_default();
        if bytes.len() + data.len() > bytes_max {
            return Err(Refusal::TooLarge);
        }
        bytes.extend_from_slice(&data);
    }
    String::from_utf8(bytes).map_err(|_| Refusal::BadJson)
}

/// Whether the body has no transfer coding but `chunked`.
fn is_chunked_only(headers: &HeaderMap) -> bool {
    let is_chunked = |value: &str| value.eq_ignore_ascii_case("chunked");
    !headers.contains_key(TRANSFER_ENCODING)
        || single_value(headers, TRANSFER_ENCODING).is_some_and(is_chunked)
}

/// Whether the body is JSON without a content coding.
fn is_json(headers: &HeaderMap) -> bool {
    let media_type = single_value(headers, CONTENT_TYPE).unwrap_or_default();
    let essence = media_type.split_once(';').map_or(media_type, |(essence, _)| essence);
    essence.trim().eq_ignore_ascii_case(JSON) && !headers.contains_key(CONTENT_ENCODING)
}

/// The response to a POST that has to give way before it is read.
pub(crate) fn unavailable(shards: &ShardPool) -> FullResponse {
    last(response(shards.post_unavailable()))
}

/// The response to a POST of `peer` whose length hyper cannot read.
pub(crate) fn bad_request(shards: &ShardPool, peer: Peer) -> FullResponse {
    last(response(shards.refuse_post(Refusal::BadRequest.into(), peer)))
}

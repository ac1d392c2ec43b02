//! Metrics and health over HTTP, for Prometheus and for probes.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::join;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use super::metrics::MEDIA_TYPE;
use crate::control::service::Service;
use crate::server::{
    Acceptor, HandshakeSlots, HandshakeStream, Http11Reader, ListeningSocket, Socket, check_host,
};

/// The most connections; a new one then evicts the oldest.
const SLOTS: usize = 16;
/// How long one request and its answer may take together.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

const PLAIN: &str = "text/plain; charset=utf-8";

/// Answers at `listener`, for as long as this is polled.
///
/// # Errors
///
/// The system's, if it cannot be polled.
pub async fn serve_metrics(listener: ListeningSocket, desk: Arc<Service>) -> io::Result<()> {
    let acceptor = Acceptor::new(listener)?;
    let slots = Arc::<HandshakeSlots>::default();
    let mut guests = JoinSet::new();
    loop {
        let (socket, _) = acceptor.accept(|| slots.evict_oldest()).await;
        let mut slot = slots.take(SLOTS).await;
        while guests.try_join_next().is_some() {}
        let desk = Arc::clone(&desk);
        guests.spawn(async move {
            tokio::select! {
                biased;
                () = receive(socket, &desk) => {}
                () = slot.evicted() => debug!("a new connection for metrics evicted an older one"),
            }
        });
    }
}

/// One request and its answer.
async fn receive(socket: Socket, desk: &Service) {
    let stream = match HandshakeStream::new(socket, desk.watches()) {
        Ok(stream) => stream,
        Err((_, error)) => return debug!(%error, "a connection for metrics: {error}"),
    };
    let service = service_fn(async |request: Request<Incoming>| {
        Ok::<_, Infallible>(answer(&request, desk).await)
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES_MAX)
        // The time for all is bounded below.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(join(Http11Reader::new(&stream), &stream)), service);
    match timeout(TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a request for metrics: {error}"),
        Err(_) => debug!("a request for metrics took too long"),
    }
}

async fn answer(request: &Request<Incoming>, desk: &Service) -> Response<Full<Bytes>> {
    if let Err(sentence) = check_host(request) {
        return plain(StatusCode::BAD_REQUEST, sentence);
    }
    let path = request.uri().path();
    let allowed = [Method::GET, Method::HEAD].contains(request.method());
    match path {
        "/metrics" | "/healthz" if !allowed => {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD.");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            answer
        }
        "/metrics" => match desk.metrics() {
            Ok(text) => respond(StatusCode::OK, MEDIA_TYPE, text.into()),
            Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "The metrics cannot be made."),
        },
        "/healthz" => match desk.is_well().await {
            true => plain(StatusCode::OK, "ok"),
            false => plain(StatusCode::SERVICE_UNAVAILABLE, "A shard does not answer."),
        },
        _ => plain(StatusCode::NOT_FOUND, "Here are /metrics and /healthz."),
    }
}

fn plain(status: StatusCode, sentence: &'static str) -> Response<Full<Bytes>> {
    respond(status, PLAIN, Bytes::from(format!("{sentence}\n")))
}

fn respond(status: StatusCode, media_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

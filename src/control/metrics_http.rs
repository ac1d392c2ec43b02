//! `/metrics` and `/healthz` over HTTP, for Prometheus and for health checks.

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
    Acceptor, HandshakeSlots, Http11Reader, ListeningSocket, Socket, check_host, register_socket,
};

/// Open connections; a new one then evicts the oldest.
const CONNECTIONS_MAX: usize = 16;
/// How long one request and its response may take together.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

const PLAIN: &str = "text/plain; charset=utf-8";

/// Serves `listener` for as long as this is polled.
///
/// # Errors
///
/// The system's, if the listener cannot be polled.
pub async fn serve_metrics(listener: ListeningSocket, service: Arc<Service>) -> io::Result<()> {
    let mut acceptor = Acceptor::new(listener)?;
    let slots = Arc::<HandshakeSlots>::default();
    let mut connections = JoinSet::new();
    loop {
        let (socket, _) = acceptor.accept(|| slots.evict_oldest()).await;
        let mut slot = slots.take(CONNECTIONS_MAX).await;
        while connections.try_join_next().is_some() {}
        let service = Arc::clone(&service);
        connections.spawn(async move {
            tokio::select! {
                biased;
                () = serve_connection(socket, &service) => {}
                () = slot.evicted() => debug!("a new connection for metrics evicted an older one"),
            }
        });
    }
}

/// Serves one request.
async fn serve_connection(socket: Socket, service: &Service) {
    let mut stream = match register_socket(socket, service.watches()) {
        Ok(stream) => stream,
        Err((_, error)) => return debug!(%error, "a connection for metrics failed: {error}"),
    };
    let respond = service_fn(async |request: Request<Incoming>| {
        Ok::<_, Infallible>(response(&request, service).await)
    });
    let (reader, writer) = stream.split();
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES_MAX)
        // TIMEOUT covers it.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(join(Http11Reader::new(reader, |_| ()), writer)), respond);
    match timeout(TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a request for metrics failed: {error}"),
        Err(_) => debug!("a request for metrics took too long"),
    }
}

async fn response(request: &Request<Incoming>, service: &Service) -> Response<Full<Bytes>> {
    if let Err(sentence) = check_host(request) {
        return plain(StatusCode::BAD_REQUEST, sentence);
    }
    let path = request.uri().path();
    let is_allowed = [Method::GET, Method::HEAD].contains(request.method());
    match path {
        "/metrics" | "/healthz" if !is_allowed => {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD.");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            response
        }
        "/metrics" => build(StatusCode::OK, MEDIA_TYPE, service.metrics().await.into()),
        "/healthz" => match service.is_healthy().await {
            true => plain(StatusCode::OK, "ok"),
            false => plain(StatusCode::SERVICE_UNAVAILABLE, "A shard does not answer."),
        },
        _ => plain(StatusCode::NOT_FOUND, "Only /metrics and /healthz are here."),
    }
}

fn plain(status: StatusCode, sentence: &'static str) -> Response<Full<Bytes>> {
    build(status, PLAIN, Bytes::from(format!("{sentence}\n")))
}

fn build(status: StatusCode, media_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, media_type),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

//! HTTP: the WebSocket handshake, and the chat page.
//!
//! A connection that upgrades goes to a shard. After the response to a POST, or a file of the
//! page, a connection stays open for the next request; after any other response it is closed.
//!
//! - `server`: accepts connections, and hands those that listen to the shards
//! - `requests`: serves the requests of one connection
//! - `handshake_stream`: a socket in the tokio runtime until the handshake is finished
//! - `proxy_header`: the PROXY header, version 2, of a trusted proxy
//! - `fast_path`: responds to a complete upgrade request without a task
//! - `http11_reader`: lets hyper read requests of HTTP/1.2 to HTTP/1.9
//! - `forwarded_for`: the client's address from `X-Forwarded-For`
//! - `routes`: the response to a request
//! - `host_check`: whether `Host` is valid
//! - `upgrade`: the server's part of the WebSocket handshake (RFC 6455, 4.2)
//! - `origin_check`: whether `Origin` is listed
//! - `page`: the files of the chat page; `gzip`: their compressed form; `framing`: which sites
//!   may show it in a frame
//! - `post`: a message that is sent by POST; `bearer`: its token in `Authorization`;
//!   `post_response`: its response; `post_head`: the head as it arrived
//! - `cors`: which pages may read a response
//! - `lease`: how long a connection may stay open
//! - `error_filter`: replaces responses of hyper without a body
//! - `response`, `error_response`: the header fields and texts of responses

#![deny(clippy::indexing_slicing)]

mod bearer;
mod cors;
mod error_filter;
mod error_response;
mod event_stream;
mod fast_path;
mod forwarded_for;
mod framing;
mod gzip;
pub(crate) mod handshake_stream;
pub(crate) mod host_check;
pub(crate) mod http11_reader;
mod lease;
mod origin_check;
mod page;
mod post;
mod post_head;
mod post_response;
mod proxy_header;
mod requests;
mod response;
mod routes;
pub(crate) mod server;
mod start;
mod upgrade;

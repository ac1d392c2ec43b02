//! Who a client is, where a proxy that is trusted stands in front of us.
//!
//! A proxy says it in one of two ways: with a PROXY header, version 2, before
//! all else on the connection, or with `X-Forwarded-For` in the request. Both
//! are only ever looked at if they come from a peer that is listed; from all
//! others the one is no HTTP, and the other says nothing.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};
use tracing::warn;

use crate::config::TrustedProxy;
use crate::server::{Peer, lock};

/// How every PROXY header of version 2 begins. So may a request: empty lines before
/// it are no part of it (RFC 9112, 2.2).
pub(crate) const EMPTY_LINES: &[u8] = b"\r\n\r\n";
/// What follows in such a header, and in no request.
pub(crate) const THEN: u8 = b'\0';
/// Its signature, version, command, family and length.
const FIXED_BYTES: usize = 16;
/// The longest rest that is read, addresses and all that proxies add to them.
const REST_BYTES_MAX: usize = 4096;
/// The header of a request that says who sent it.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// The least time between two log lines about proxies that are not listed.
const LOG_INTERVAL: Duration = Duration::from_secs(600);

/// Whether `peer` may say for whom it speaks.
pub(crate) fn trusts(proxies: &[TrustedProxy], peer: Peer) -> bool {
    proxies.iter().any(|proxy| match peer {
        Peer::Tcp(address) => proxy.holds(address.ip()),
        Peer::Unix => *proxy == TrustedProxy::Unix,
    })
}

/// Reads the PROXY header with which `stream` begins, of which [`EMPTY_LINES`] have
/// been read already, no byte more, and gives back whom it names; `peer` itself if it
/// speaks for nobody.
///
/// # Errors
///
/// The stream's, or there is no such header.
pub(crate) async fn introduction(
    stream: &mut (impl AsyncRead + Unpin),
    peer: Peer,
) -> io::Result<Peer> {
    let mut header = EMPTY_LINES.to_vec();
    header.resize(FIXED_BYTES, 0);
    stream.read_exact(header.get_mut(EMPTY_LINES.len()..).unwrap_or_default()).await?;
    let rest_bytes = match header.last_chunk() {
        Some(length) => usize::from(u16::from_be_bytes(*length)),
        None => 0,
    };
    if rest_bytes > REST_BYTES_MAX {
        return Err(io::Error::new(ErrorKind::InvalidData, "too long a PROXY header"));
    }
    header.resize(FIXED_BYTES + rest_bytes, 0);
    stream.read_exact(header.get_mut(FIXED_BYTES..).unwrap_or_default()).await?;
    named(&header, peer)
}

fn named(header: &[u8], peer: Peer) -> io::Result<Peer> {
    let form = ParseConfig { include_tlvs: false, allow_v1: false, allow_v2: true };
    match ProxyHeader::parse(header, form) {
        Ok((header, _)) => Ok(header.proxied_address().map_or(peer, |a| Peer::tcp(a.source))),
        Err(_) => Err(io::Error::new(ErrorKind::InvalidData, "not a PROXY header")),
    }
}

/// Who sent a request with these headers that came from `peer`: the rightmost
/// hop of `X-Forwarded-For` that is no trusted proxy, since each proxy adds
/// whom it heard at the right, and what is left of that anybody may have made
/// up. A hop that is no address ends the search.
pub(crate) fn forwarded(headers: &HeaderMap, peer: Peer, proxies: &[TrustedProxy]) -> Peer {
    let lists = headers.get_all(FORWARDED_FOR).iter().rev();
    // Byte by byte: what a client put in front may be no text at all.
    let mut hops = lists.flat_map(|list| list.as_bytes().rsplit(|b| *b == b',')).map(hop);
    let mut client = peer;
    while trusts(proxies, client) {
        let Some(Some(hop)) = hops.next() else { break };
        client = hop;
    }
    client
}

/// An address, with a port or without, and of IPv6 with a zone or without: which of
/// a proxy's links it is on is of no use here.
fn hop(text: &[u8]) -> Option<Peer> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let (ip, port) = match text.strip_prefix('[').map(|text| text.split_once(']')) {
        Some(bracketed) => {
            let (ip, port) = bracketed?;
            (IpAddr::V6(v6(ip)?), if port.is_empty() { "0" } else { port.strip_prefix(':')? })
        }
        None => match text.split_once(':') {
            Some((ip, port)) if !port.contains(':') => (IpAddr::V4(ip.parse().ok()?), port),
            Some(_) => (IpAddr::V6(v6(text)?), "0"),
            None => (IpAddr::V4(text.parse().ok()?), "0"),
        },
    };
    Some(Peer::tcp(SocketAddr::new(ip, port.parse().ok()?)))
}

fn v6(text: &str) -> Option<Ipv6Addr> {
    match text.split_once('%') {
        Some((_, "")) => None,
        Some((ip, _)) => ip.parse().ok(),
        None => text.parse().ok(),
    }
}

/// Tells the operator of peers that say for whom they speak and are not listed, but
/// not again and again: whoever likes can send such a header.
#[derive(Debug, Default)]
pub(crate) struct Unlisted(Mutex<Option<Instant>>);

impl Unlisted {
    /// Looks at the headers of a request that came from `peer`.
    pub(crate) fn look(&self, headers: &HeaderMap, peer: Peer, proxies: &[TrustedProxy]) {
        if is_ignored(headers, peer, proxies) && self.is_due(Instant::now()) {
            warn!(
                "X-Forwarded-For from {peer} is ignored, as listen.trusted_proxies does not list \
                 it; if it is a proxy, all its clients count as one"
            );
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let mut told = lock(&self.0);
        let due = told.is_none_or(|told| now.duration_since(told) >= LOG_INTERVAL);
        if due {
            *told = Some(now);
        }
        due
    }
}

fn is_ignored(headers: &HeaderMap, peer: Peer, proxies: &[TrustedProxy]) -> bool {
    headers.contains_key(FORWARDED_FOR) && !trusts(proxies, peer)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use hyper::header::HeaderValue;

    use super::*;

    fn proxies(list: &[&str]) -> Vec<TrustedProxy> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn peer(text: &str) -> Peer {
        if text == "unix" { Peer::Unix } else { Peer::tcp(text.parse().unwrap()) }
    }

    #[test]
    fn the_rightmost_hop_that_is_no_proxy_of_ours() {
        let trusted = proxies(&["127.0.0.1", "10.0.0.0/8", "2001:db8::/32", "unix"]);
        let check = |from: &str, lists: &[&str], want: &str| {
            let mut headers = HeaderMap::new();
            for list in lists {
                headers.append("x-forwarded-for", HeaderValue::from_str(list).unwrap());
            }
            let got = forwarded(&headers, peer(from), &trusted).to_string();
            assert_eq!(got, want, "{from} {lists:?}");
        };
        check("127.0.0.1:1", &["192.0.2.7"], "192.0.2.7");
        check("unix", &["192.0.2.7"], "192.0.2.7");
        check("[2001:db8::1]:1", &["2001:db9::1"], "2001:db9::1");
        check("[::ffff:127.0.0.1]:1", &["192.0.2.7"], "192.0.2.7");
        // What the client itself claimed stands further left.
        check("127.0.0.1:1", &["1.1.1.1, 192.0.2.7"], "192.0.2.7");
        check("127.0.0.1:1", &["1.1.1.1", "192.0.2.7"], "192.0.2.7");
        check("127.0.0.1:1", &["1.1.1.1, 192.0.2.7 , 10.0.0.1"], "192.0.2.7");
        check("127.0.0.1:1", &["192.0.2.7", "10.0.0.1,10.0.0.2"], "192.0.2.7");
        check("127.0.0.1:1", &["::ffff:192.0.2.7"], "192.0.2.7");
        // With a port, as some proxies write it.
        check("127.0.0.1:1", &["192.0.2.7:4711"], "192.0.2.7:4711");
        check("127.0.0.1:1", &["[2001:db9::1]:4711"], "[2001:db9::1]:4711");
        check("127.0.0.1:1", &["[2001:db9::1]"], "2001:db9::1");
        check("127.0.0.1:1", &["::"], "::");
        // With a zone, which means something to the proxy alone.
        check("127.0.0.1:1", &["fe80::1%eth0"], "fe80::1");
        check("127.0.0.1:1", &["[fe80::1%eth0]"], "fe80::1");
        check("127.0.0.1:1", &["[fe80::1%25eth0]:4711"], "[fe80::1]:4711");
        check("127.0.0.1:1", &["[fe80::1%2]:4711"], "[fe80::1]:4711");
        check("127.0.0.1:1", &["192.0.2.7, 2001:db8::1%eth0"], "192.0.2.7");
        check("127.0.0.1:1", &["::ffff:10.0.0.1%2, ::ffff:192.0.2.7%eth0"], "192.0.2.7");
        // Only proxies: the first of them.
        check("127.0.0.1:1", &["10.0.0.1, 10.0.0.2"], "10.0.0.1");
        check("127.0.0.1:1", &[], "127.0.0.1:1");
        // Nothing is believed behind what cannot be read.
        check("127.0.0.1:1", &["192.0.2.7, unknown"], "127.0.0.1:1");
        check("127.0.0.1:1", &["192.0.2.7, "], "127.0.0.1:1");
        for hop in [
            "fe80::1%",
            "%eth0",
            "192.0.2.7%eth0",
            "[fe80::1%eth0",
            "[::1]x",
            "[::1]:",
            "[::1]:x",
            "[192.0.2.7]:1",
            "192.0.2.7:",
            "192.0.2.7:65536",
            "[]",
            "localhost",
            "::1]",
        ] {
            check("127.0.0.1:1", &[&format!("192.0.2.7, {hop}")], "127.0.0.1:1");
        }
        check("127.0.0.1:1", &["192.0.2.7, \u{e4}, 10.0.0.1"], "10.0.0.1");
        check("unix", &["unix:"], "unix");
        // Nobody else is believed.
        check("192.0.2.1:1", &["192.0.2.7"], "192.0.2.1:1");
        check("[::1]:1", &["192.0.2.7"], "[::1]:1");
    }

    #[test]
    fn a_unix_socket_is_not_trusted_unless_it_is_listed() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("192.0.2.7"));
        assert_eq!(forwarded(&headers, Peer::Unix, &proxies(&["0.0.0.0/0"])), Peer::Unix);
        assert_eq!(forwarded(&headers, peer("127.0.0.1:1"), &[]), peer("127.0.0.1:1"));
    }

    #[test]
    fn who_is_not_listed_is_told_of_now_and_then() {
        let listed = proxies(&["127.0.0.1"]);
        let mut headers = HeaderMap::new();
        assert!(!is_ignored(&headers, peer("192.0.2.1:1"), &listed), "it says nothing");
        headers.insert(FORWARDED_FOR, HeaderValue::from_static("192.0.2.7"));
        assert!(is_ignored(&headers, peer("192.0.2.1:1"), &listed));
        assert!(is_ignored(&headers, peer("192.0.2.1:1"), &[]));
        assert!(is_ignored(&headers, Peer::Unix, &listed));
        assert!(!is_ignored(&headers, peer("127.0.0.1:1"), &listed));

        let (unlisted, start) = (Unlisted::default(), Instant::now());
        let due = [0, 1, 599, 600, 601, 1_199, 1_200]
            .map(|secs| unlisted.is_due(start + Duration::from_secs(secs)));
        assert_eq!(due, [true, false, false, true, false, false, true]);
    }

    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    fn read(header: &[u8]) -> io::Result<(String, Vec<u8>)> {
        // What the door has read before.
        let mut stream = header.get(EMPTY_LINES.len()..).unwrap_or_default();
        let who = introduction(&mut stream, Peer::Unix).now_or_never().unwrap()?;
        Ok((who.to_string(), stream.to_vec()))
    }

    #[test]
    fn headers_of_the_proxy_protocol() {
        // PROXY protocol, section 2.2.
        let v4: &[u8] = b"\xc0\0\x02\x07\x7f\0\0\x01\x12\x67\x1f\x90";
        let v6 = [&[0x20, 1, 0xd, 0xb9][..], &[0; 11], &[1], &[0; 16], &[0, 80, 0, 81]].concat();
        let padded = [v4, b"\x04\0\x01x"].concat();
        let unix = [b'/'; 216];
        for (kind, rest, want) in [
            (b"\x21\x11", v4, "192.0.2.7:4711"),
            (b"\x21\x11", &padded, "192.0.2.7:4711"),
            (b"\x21\x21", &v6, "[2001:db9::1]:80"),
            (b"\x20\x11", v4, "unix"),
            (b"\x20\x00", b"", "unix"),
            (b"\x21\x00", b"anything", "unix"),
            (b"\x21\x31", &unix, "unix"),
        ] {
            let length = (rest.len() as u16).to_be_bytes();
            let header = [SIGNATURE, kind, &length, rest].concat();
            let (who, left) = read(&[&header[..], b"GET / HTTP/1.1"].concat()).unwrap();
            assert_eq!((who.as_str(), &left[..]), (want, &b"GET / HTTP/1.1"[..]), "{kind:?}");
            for cut in 0..header.len() {
                read(&header[..cut]).unwrap_err();
            }
        }
    }

    #[test]
    fn what_is_no_such_header() {
        for (kind, rest) in [
            (b"\x11\x11", &[0; 12][..]), // Another version.
            (b"\x22\x11", &[0; 12]),     // No command.
            (b"\x21\x41", &[0; 12]),     // No family.
            (b"\x21\x11", &[0; 11]),     // Too short for its addresses.
            (b"\x21\x31", &[0; 215]),
            (b"\x21\x11", &[0; 4097]), // Longer than anybody needs.
        ] {
            let length = (rest.len() as u16).to_be_bytes();
            read(&[SIGNATURE, kind, &length, rest].concat()).unwrap_err();
        }
        read(&[b"\r\n\r\n\0\r\nQUIT\r\x21\x11\0\x0c", &[0; 12][..]].concat()).unwrap_err();
        read(b"\r\n\r\nPROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n").unwrap_err();
    }
}

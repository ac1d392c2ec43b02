//! Who a client is, where a proxy that is trusted stands in front of us.
//!
//! A proxy says it in one of two ways: with a PROXY header, version 2, before
//! all else on the connection, or with `X-Forwarded-For` in the request. Both
//! are only ever looked at if they come from a peer that is listed; from all
//! others the one is no HTTP, and the other says nothing.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;
use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::Peer;
use crate::config::TrustedProxy;

/// The first byte of every PROXY header of version 2, and of no request.
pub(super) const FIRST_BYTE: u8 = b'\r';
/// Its signature, version, command, family and length.
const FIXED_BYTES: usize = 16;
/// The longest rest that is read, addresses and all that proxies add to them.
const REST_BYTES_MAX: usize = 4096;

/// Whether `peer` may say for whom it speaks.
pub(super) fn trusts(proxies: &[TrustedProxy], peer: Peer) -> bool {
    proxies.iter().any(|proxy| match peer {
        Peer::Tcp(address) => proxy.holds(address.ip()),
        Peer::Unix => *proxy == TrustedProxy::Unix,
    })
}

/// Reads the PROXY header with which `stream` begins, no byte more, and gives
/// back whom it names; `peer` itself if it speaks for nobody.
///
/// # Errors
///
/// The stream's, or there is no such header.
pub(super) async fn introduction(
    stream: &mut (impl AsyncRead + Unpin),
    peer: Peer,
) -> io::Result<Peer> {
    let mut header = vec![0; FIXED_BYTES];
    stream.read_exact(&mut header).await?;
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
pub(super) fn forwarded(headers: &HeaderMap, peer: Peer, proxies: &[TrustedProxy]) -> Peer {
    let lists = headers.get_all("x-forwarded-for").iter().rev();
    // Byte by byte: what a client put in front may be no text at all.
    let mut hops = lists.flat_map(|list| list.as_bytes().rsplit(|b| *b == b',')).map(hop);
    let mut client = peer;
    while trusts(proxies, client) {
        let Some(Some(hop)) = hops.next() else { break };
        client = hop;
    }
    client
}

/// An address, with a port or without.
fn hop(text: &[u8]) -> Option<Peer> {
    let text = std::str::from_utf8(text).ok()?.trim();
    if let Ok(address) = text.parse() {
        return Some(Peer::tcp(address));
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse::<IpAddr>().ok().map(|address| Peer::tcp(SocketAddr::new(address, 0)))
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
        // Only proxies: the first of them.
        check("127.0.0.1:1", &["10.0.0.1, 10.0.0.2"], "10.0.0.1");
        check("127.0.0.1:1", &[], "127.0.0.1:1");
        // Nothing is believed behind what cannot be read.
        check("127.0.0.1:1", &["192.0.2.7, unknown"], "127.0.0.1:1");
        check("127.0.0.1:1", &["192.0.2.7, "], "127.0.0.1:1");
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

    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    fn read(header: &[u8]) -> io::Result<(String, Vec<u8>)> {
        let mut stream = header;
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
        read(b"\rPROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n").unwrap_err();
    }
}

//! The client's address from `X-Forwarded-For`, if a trusted proxy sent it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use tracing::warn;

use crate::address::TrustedProxy;
use crate::log_limit::LogLimit;
use crate::server::socket::Peer;

const FORWARDED_FOR: &str = "x-forwarded-for";
/// The shortest time between two warnings about `X-Forwarded-For` from a peer that is not
/// trusted: every client can send this field.
pub(crate) const LOG_INTERVAL: Duration = Duration::from_secs(600);

/// The client that sent a request with these `headers` through `peer`.
///
/// That is the rightmost address in `X-Forwarded-For` that is not a trusted proxy: each proxy
/// appends the address of its peer, and a client can have made up everything to the left.
/// The search ends at an entry that is no address.
pub(crate) fn client(headers: &HeaderMap, peer: Peer, proxies: &[TrustedProxy]) -> Peer {
    let fields = headers.get_all(FORWARDED_FOR).iter().rev();
    // As bytes, since the part that a client made up need not be UTF-8.
    let mut entries = fields.flat_map(|field| field.as_bytes().rsplit(|byte| *byte == b','));
    let mut client = peer;
    while client.is_any_of(proxies) {
        let Some(previous) = entries.next().and_then(parse) else { break };
        client = previous;
    }
    client
}

/// Parses an address with or without a port. Removes the zone of an IPv6 address, which
/// means something only to the proxy.
fn parse(entry: &[u8]) -> Option<Peer> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let (ip, port) = match text.strip_prefix('[').map(|text| text.split_once(']')) {
        Some(bracketed) => {
            let (ip, port) = bracketed?;
            (parse_v6(ip)?.into(), if port.is_empty() { "0" } else { port.strip_prefix(':')? })
        }
        None => match text.split_once(':') {
            Some((ip, port)) if !port.contains(':') => (IpAddr::V4(ip.parse().ok()?), port),
            Some(_) => (parse_v6(text)?.into(), "0"),
            None => (IpAddr::V4(text.parse().ok()?), "0"),
        },
    };
    Some(Peer::tcp(SocketAddr::new(ip, port.parse().ok()?)))
}

fn parse_v6(text: &str) -> Option<Ipv6Addr> {
    let (ip, zone) = text.split_once('%').unwrap_or((text, "none"));
    if zone.is_empty() { None } else { ip.parse().ok() }
}

/// Warns about the field if `peer` is not trusted.
pub(crate) fn warn_if_ignored(
    headers: &HeaderMap,
    peer: Peer,
    proxies: &[TrustedProxy],
    log_limit: &LogLimit,
) {
    if is_ignored(headers, peer, proxies) && log_limit.problem(Instant::now()) {
        warn!(
            "X-Forwarded-For from {peer} is ignored: listen.trusted_proxies does not list \
             {peer}; if it is a proxy, all its clients count as one"
        );
    }
}

fn is_ignored(headers: &HeaderMap, peer: Peer, proxies: &[TrustedProxy]) -> bool {
    headers.contains_key(FORWARDED_FOR) && !peer.is_any_of(proxies)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUSTED: [&str; 4] = ["127.0.0.1", "10.0.0.0/8", "2001:db8::/32", "unix"];

    fn peer(text: &str) -> Peer {
        if text == "unix" { Peer::Unix } else { Peer::tcp(text.parse().unwrap()) }
    }

    fn proxies(list: &[&str]) -> Vec<TrustedProxy> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Fields are separated by `|`.
    fn headers(fields: &str) -> HeaderMap {
        let fields = fields.split('|').filter(|field| !field.is_empty());
        let name = hyper::header::HeaderName::from_static(FORWARDED_FOR);
        HeaderMap::from_iter(fields.map(|field| (name.clone(), field.parse().unwrap())))
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_not_trusted() {
        let check = |from: &str, fields: &str, want: &str| {
            let client = client(&headers(fields), peer(from), &proxies(&TRUSTED));
            assert_eq!(client.to_string(), want, "{from} {fields:?}");
        };
        for (fields, want) in [
            ("", "127.0.0.1:1"),
            ("192.0.2.7", "192.0.2.7"),
            // A client can have made up the left part.
            ("1.1.1.1, 192.0.2.7", "192.0.2.7"),
            ("1.1.1.1|192.0.2.7", "192.0.2.7"),
            ("1.1.1.1, 192.0.2.7 , 10.0.0.1", "192.0.2.7"),
            ("192.0.2.7|10.0.0.1,10.0.0.2", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            // With a port, as some proxies write it.
            ("192.0.2.7:4711", "192.0.2.7:4711"),
            ("[2001:db9::1]:4711", "[2001:db9::1]:4711"),
            ("[2001:db9::1]", "2001:db9::1"),
            ("::", "::"),
            // With a zone.
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%eth0]", "fe80::1"),
            ("[fe80::1%25eth0]:4711", "[fe80::1]:4711"),
            ("[fe80::1%2]:4711", "[fe80::1]:4711"),
            ("192.0.2.7, 2001:db8::1%eth0", "192.0.2.7"),
            ("::ffff:10.0.0.1%2, ::ffff:192.0.2.7%eth0", "192.0.2.7"),
            // All are trusted: the leftmost one.
            ("10.0.0.1, 10.0.0.2", "10.0.0.1"),
            ("192.0.2.7, \u{e4}, 10.0.0.1", "10.0.0.1"),
        ] {
            check("127.0.0.1:1", fields, want);
        }
        let invalid = "unknown||fe80::1%|%eth0|192.0.2.7%eth0|[fe80::1%eth0|[::1]x|[::1]:|[::1]:x|\
            [192.0.2.7]:1|192.0.2.7:|192.0.2.7:65536|[]|localhost|::1]";
        for entry in invalid.split('|') {
            check("127.0.0.1:1", &format!("192.0.2.7, {entry}"), "127.0.0.1:1");
        }
        for (from, fields, want) in [
            ("unix", "192.0.2.7", "192.0.2.7"),
            ("unix", "unix:", "unix"),
            ("[2001:db8::1]:1", "2001:db9::1", "2001:db9::1"),
            ("[::ffff:127.0.0.1]:1", "192.0.2.7", "192.0.2.7"),
            // These peers are not trusted.
            ("192.0.2.1:1", "192.0.2.7", "192.0.2.1:1"),
            ("[::1]:1", "192.0.2.7", "[::1]:1"),
        ] {
            check(from, fields, want);
        }
    }

    #[test]
    fn the_field_of_a_peer_that_is_not_listed_is_ignored() {
        for (from, listed, fields, want) in [
            ("192.0.2.1:1", &["127.0.0.1"][..], "", false),
            ("192.0.2.1:1", &["127.0.0.1"], "192.0.2.7", true),
            ("192.0.2.1:1", &[], "192.0.2.7", true),
            ("unix", &["127.0.0.1"], "192.0.2.7", true),
            ("unix", &["0.0.0.0/0"], "192.0.2.7", true),
            ("127.0.0.1:1", &[], "192.0.2.7", true),
            ("127.0.0.1:1", &["127.0.0.1"], "192.0.2.7", false),
        ] {
            let (peer, proxies, headers) = (peer(from), proxies(listed), headers(fields));
            assert_eq!(is_ignored(&headers, peer, &proxies), want, "{from} {listed:?} {fields}");
            assert_eq!(client(&headers, peer, &proxies) == peer, want || fields.is_empty());
        }
    }
}

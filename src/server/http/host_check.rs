//! The `Host` of a request, which hyper does not check.

use std::net::Ipv6Addr;

use hyper::header::HOST;
use hyper::{Request, Version};

/// Checks that the request has one valid `Host` (RFC 9112, 3.2); HTTP/1.0 needs none.
///
/// # Errors
///
/// The text of the response, whose status must be 400.
pub(crate) fn check_host<B>(request: &Request<B>) -> Result<(), &'static str> {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if request.version() >= Version::HTTP_11 => Err("The request has no Host."),
        (None, _) => Ok(()),
        (Some(host), None) if host.to_str().is_ok_and(is_valid) => Ok(()),
        (Some(_), None) => Err("The Host of the request is not valid."),
        (Some(_), Some(_)) => Err("The request has more than one Host."),
    }
}

/// Whether this is `uri-host [ ":" port ]` (RFC 9110, 7.2); the host may be empty.
fn is_valid(value: &str) -> bool {
    let (host_is_valid, port) = match value.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(None) => return false,
        Some(Some((literal, port))) => (is_ip_literal(literal), port),
        None => {
            let (name, port) = value.split_at(value.find(':').unwrap_or(value.len()));
            (is_reg_name(name), port)
        }
    };
    let port = if port.is_empty() { Some("") } else { port.strip_prefix(':') };
    host_is_valid && port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The inside of `IP-literal` (RFC 3986, 3.2.2): an IPv6 address, or one of a later version.
fn is_ip_literal(text: &str) -> bool {
    let later = text.strip_prefix(['v', 'V']).and_then(|text| text.split_once('.'));
    text.parse::<Ipv6Addr>().is_ok()
        || later.is_some_and(|(version, address)| {
            !version.is_empty()
                && version.bytes().all(|byte| byte.is_ascii_hexdigit())
                && !address.is_empty()
                && address.bytes().all(|byte| byte == b':' || is_plain(byte))
        })
}

/// `reg-name` (RFC 3986, 3.2.2), which includes IPv4 addresses.
fn is_reg_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut is_hex_digit = || bytes.next().is_some_and(|byte| byte.is_ascii_hexdigit());
        if !(is_plain(byte) || byte == b'%' && is_hex_digit() && is_hex_digit()) {
            return false;
        }
    }
    true
}

/// `unreserved` or `sub-delims` (RFC 3986, 2.2 and 2.3).
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}

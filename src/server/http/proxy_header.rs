//! The PROXY header, version 2, in which a trusted proxy names its client before the request
//! (PROXY protocol, section 2.2).

use std::io::{self, ErrorKind};

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::handshake_stream::HandshakeStream;
use crate::server::socket::Peer;

/// The start of the signature. Its empty lines may precede a request as well (RFC 9112, 2.2),
/// but no request begins with a zero byte.
const START: &[u8] = b"\r\n\r\n\0";
/// Signature, version, command, family and length.
const FIXED_BYTES: usize = 16;
/// The most bytes that are read after these: addresses, and what a proxy appends.
const REST_BYTES_MAX: usize = 4096;

/// Reads the PROXY header of the trusted proxy `peer`, if there is one, and the empty lines
/// before a request. Returns the client that the header names, or else `peer`.
///
/// # Errors
///
/// The socket's; or the header is invalid.
pub(crate) async fn read_proxy_header(
    stream: &mut HandshakeStream,
    peer: Peer,
) -> io::Result<Peer> {
    for (index, byte) in START.iter().enumerate() {
        let mut next = [0];
        if stream.peek(&mut next).await? == 0 || next != [*byte] {
            // A request follows, unless a line has not ended.
            let is_line_end = index % 2 == 0;
            return if is_line_end { Ok(peer) } else { Err(invalid("CR without LF")) };
        }
        stream.read_u8().await?;
    }
    read_rest(stream, peer).await
}

/// Reads the header after [`START`].
async fn read_rest(reader: &mut (impl AsyncRead + Unpin), peer: Peer) -> io::Result<Peer> {
    let mut header = START.to_vec();
    read_up_to(reader, &mut header, FIXED_BYTES).await?;
    let rest_bytes = header.last_chunk().map_or(0, |length| u16::from_be_bytes(*length).into());
    if rest_bytes > REST_BYTES_MAX {
        return Err(invalid("the PROXY header is too long"));
    }
    read_up_to(reader, &mut header, FIXED_BYTES + rest_bytes).await?;
    let config = ParseConfig { include_tlvs: false, allow_v1: false, allow_v2: true };
    let (header, _) =
        ProxyHeader::parse(&header, config).map_err(|_| invalid("the PROXY header is invalid"))?;
    Ok(header.proxied_address().map_or(peer, |addresses| Peer::tcp(addresses.source)))
}

/// Appends bytes to `header` until it has `length` bytes.
async fn read_up_to(
    reader: &mut (impl AsyncRead + Unpin),
    header: &mut Vec<u8>,
    length: usize,
) -> io::Result<()> {
    let start = header.len();
    header.resize(length, 0);
    reader.read_exact(header.get_mut(start..).unwrap_or_default()).await.map(drop)
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    /// The client that `bytes` name, and the bytes after the header.
    fn read(bytes: &[u8]) -> io::Result<(String, Vec<u8>)> {
        let mut rest = bytes.get(START.len()..).unwrap_or_default();
        let client = read_rest(&mut rest, Peer::Unix).now_or_never().unwrap()?;
        Ok((client.to_string(), rest.to_vec()))
    }

    fn header(kind: &[u8], rest: &[u8]) -> Vec<u8> {
        [SIGNATURE, kind, &(rest.len() as u16).to_be_bytes(), rest].concat()
    }

    #[test]
    fn valid_headers() {
        let v4: &[u8] = b"\xc0\0\x02\x07\x7f\0\0\x01\x12\x67\x1f\x90";
        let v6 = [&[0x20, 1, 0xd, 0xb9][..], &[0; 11], &[1], &[0; 16], &[0, 80, 0, 81]].concat();
        let with_tlv = [v4, b"\x04\0\x01x"].concat();
        for (kind, rest, want) in [
            (b"\x21\x11", v4, "192.0.2.7:4711"),
            (b"\x21\x11", &with_tlv, "192.0.2.7:4711"),
            (b"\x21\x21", &v6, "[2001:db9::1]:80"),
            (b"\x20\x11", v4, "unix"),
            (b"\x20\x00", b"", "unix"),
            (b"\x21\x00", b"anything", "unix"),
            (b"\x21\x31", &[b'/'; 216], "unix"),
        ] {
            let header = header(kind, rest);
            let (client, rest) = read(&[&header[..], b"GET / HTTP/1.1"].concat()).unwrap();
            assert_eq!((client.as_str(), &rest[..]), (want, &b"GET / HTTP/1.1"[..]), "{kind:?}");
            for cut in 0..header.len() {
                read(&header[..cut]).unwrap_err();
            }
        }
    }

    #[test]
    fn invalid_headers() {
        for (kind, rest) in [
            (b"\x11\x11", &[0; 12][..]), // Another version.
            (b"\x22\x11", &[0; 12]),     // An unknown command.
            (b"\x21\x41", &[0; 12]),     // An unknown family.
            (b"\x21\x11", &[0; 11]),     // Too short for the addresses.
            (b"\x21\x31", &[0; 215]),
            (b"\x21\x11", &[0; 4097]), // Too long.
        ] {
            read(&header(kind, rest)).unwrap_err();
        }
        read(&[b"\r\n\r\n\0\r\nQUIT\r\x21\x11\0\x0c", &[0; 12][..]].concat()).unwrap_err();
        read(b"\r\n\r\nPROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n").unwrap_err();
    }
}

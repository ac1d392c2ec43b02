//! At which addresses a process listens, from /proc.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::address::ListenAddress;

/// The state of a listening socket in /proc/net/tcp.
const TCP_LISTEN: &str = "0A";
/// The flag of one in /proc/net/unix (`__SO_ACCEPTCON`).
const UNIX_LISTEN: u32 = 0x0001_0000;

/// The listening sockets in the network of a process, and which are its own.
#[derive(Debug, Default)]
pub struct Listening {
    /// Those of the process.
    pub own: Vec<ListenAddress>,
    /// Those of others.
    pub others: Vec<ListenAddress>,
}

impl Listening {
    /// The sockets that the process `pid` sees. What cannot be read is left out.
    pub fn of(pid: u32) -> Self {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}"));
        let read = |name: &str| read(name).unwrap_or_default();
        let sockets = tcp(&read("net/tcp"))
            .into_iter()
            .chain(tcp(&read("net/tcp6")))
            .chain(unix(&read("net/unix")));
        let inodes = inodes(pid);
        let (own, others): (Vec<_>, Vec<_>) =
            sockets.partition(|(_, inode)| inodes.contains(inode));
        let addresses = |all: Vec<(ListenAddress, u64)>| all.into_iter().map(|(a, _)| a).collect();
        Self { own: addresses(own), others: addresses(others) }
    }
}

/// The inodes of the sockets of a process.
fn inodes(pid: u32) -> HashSet<u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    links
        .filter_map(|link| {
            let text = link.to_str()?;
            text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
        })
        .collect()
}

/// The listening sockets in /proc/net/tcp or /proc/net/tcp6, with their inodes.
fn tcp(table: &str) -> Vec<(ListenAddress, u64)> {
    let row = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        if *fields.get(3)? != TCP_LISTEN {
            return None;
        }
        let address = ListenAddress::Tcp(socket_address(fields.get(1)?)?);
        Some((address, fields.get(9)?.parse().ok()?))
    };
    table.lines().filter_map(row).collect()
}

/// An address like `0100007F:1F90`: words of 32 bits in the order of this machine, and a port.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(ip.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = if ip.len() == 8 {
        IpAddr::from(Ipv4Addr::from(word(0)?))
    } else {
        let words = [word(0)?, word(8)?, word(16)?, word(24)?];
        let bytes: [u8; 16] = words.concat().try_into().ok()?;
        IpAddr::from(Ipv6Addr::from(bytes))
    };
    Some(SocketAddr::new(ip, port))
}

/// The listening sockets in /proc/net/unix that have a path, with their inodes.
fn unix(table: &str) -> Vec<(ListenAddress, u64)> {
    let row = |line: &str| {
        let mut fields = line.split_whitespace().skip(3);
        let flags = u32::from_str_radix(fields.next()?, 16).ok()?;
        let inode = fields.nth(2)?.parse().ok()?;
        let path = fields.next().filter(|path| path.starts_with('/'))?;
        (flags & UNIX_LISTEN != 0).then(|| (ListenAddress::Unix(path.into()), inode))
    };
    table.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn sockets_of_this_process_are_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let unix = UnixListener::bind(&path).unwrap();
        let _connected = UnixStream::connect(&path).unwrap();
        let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
        let v6 = TcpListener::bind("[::1]:0").ok();
        let mut addresses =
            vec![ListenAddress::Unix(path), ListenAddress::Tcp(v4.local_addr().unwrap())];
        addresses.extend(v6.iter().map(|v6| ListenAddress::Tcp(v6.local_addr().unwrap())));
        let own = Listening::of(std::process::id()).own;
        for address in &addresses {
            assert_eq!(own.iter().filter(|own| *own == address).count(), 1, "{address}: {own:?}");
        }
        drop((unix, v4, v6));
        let own = Listening::of(std::process::id()).own;
        assert!(!own.iter().any(|own| addresses.contains(own)));
    }
}

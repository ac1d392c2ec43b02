//! Where to listen.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// An address to listen at: `IP:PORT`, `[IP6]:PORT` or `unix:/PATH`.
///
/// # Examples
///
/// ```
/// use wschat::address::ListenAddress;
/// let address: ListenAddress = "unix:/run/wschat/room.sock".parse().unwrap();
/// assert_eq!(address.to_string(), "unix:/run/wschat/room.sock");
/// assert!("8080".parse::<ListenAddress>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// A TCP address; with port 0 the system chooses a port.
    Tcp(SocketAddr),
    /// The absolute path of a Unix socket.
    Unix(PathBuf),
}

/// Bytes of a path in a `sockaddr_un`, without its terminating zero (unix(7)).
const UNIX_PATH_BYTES_MAX: usize = 107;

impl ListenAddress {
    /// Whether the system refuses to listen at both. `[::]` excludes no IPv4 address if it is
    /// bound for IPv6 alone.
    ///
    /// # Examples
    ///
    /// ```
    /// use wschat::address::ListenAddress;
    /// let parsed = |text: &str| text.parse::<ListenAddress>().unwrap();
    /// assert!(parsed("0.0.0.0:80").excludes(&parsed("127.0.0.1:80")));
    /// assert!(!parsed("0.0.0.0:80").excludes(&parsed("[::]:80")));
    /// ```
    pub fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(two)) => {
                let (ip, other) = (one.ip().to_canonical(), two.ip().to_canonical());
                one.port() == two.port()
                    && one.port() != 0
                    && ip.is_ipv4() == other.is_ipv4()
                    && (ip == other || ip.is_unspecified() || other.is_unspecified())
            }
            (Self::Unix(one), Self::Unix(two)) => one == two,
            _ => false,
        }
    }

    /// Whether it also accepts connections to `other` unless it is bound for IPv6 alone: it is
    /// `[::]`, and `other` an IPv4 address of the same port.
    pub fn includes(&self, other: &Self) -> bool {
        let (Self::Tcp(one), Self::Tcp(two)) = (self, other) else { return false };
        let is_any_v6 = one.is_ipv6() && one.ip().is_unspecified();
        one.port() == two.port() && is_any_v6 && two.ip().to_canonical().is_ipv4()
    }
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let Some(path) = text.strip_prefix("unix:") else {
            return text.parse().map(Self::Tcp).map_err(|_| AddressError::Form);
        };
        if !Path::new(path).is_absolute() || path.contains('\0') {
            return Err(AddressError::Form);
        }
        if path.len() > UNIX_PATH_BYTES_MAX {
            return Err(AddressError::PathTooLong);
        }
        Ok(Self::Unix(path.into()))
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// Why a text is not a [`ListenAddress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It has none of the three forms.
    #[error("not an address, which is IP:PORT, [IP6]:PORT or unix:/PATH")]
    Form,
    /// The system cannot bind such a long path.
    #[error("the path of a Unix socket has at most {UNIX_PATH_BYTES_MAX} bytes")]
    PathTooLong,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_exclude_each_other() {
        for (one, two, want) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "0.0.0.0:80", true),
            ("0.0.0.0:0", "0.0.0.0:0", false),
            ("0.0.0.0:80", "[::]:80", false),
            ("127.0.0.1:80", "[::]:80", false),
            ("127.0.0.1:80", "[::1]:80", false),
            ("[::]:80", "[::1]:80", true),
            ("[::]:80", "[::]:80", true),
            ("[::1]:80", "[::2]:80", false),
            ("127.0.0.1:80", "[::ffff:127.0.0.1]:80", true),
            ("0.0.0.0:80", "[::ffff:127.0.0.1]:80", true),
            ("[::]:80", "[::ffff:127.0.0.1]:80", false),
            ("unix:/a", "unix:/a", true),
            ("unix:/a", "unix://a", true),
            ("unix:/a", "unix:/b", false),
            ("unix:/a", "127.0.0.1:80", false),
        ] {
            let [one, two] = [one, two].map(|text| text.parse::<ListenAddress>().unwrap());
            assert_eq!((one.excludes(&two), two.excludes(&one)), (want, want), "{one} {two}");
        }
    }

    #[test]
    fn addresses_in_all_forms() {
        let check = |text: &str, want: Result<&str, AddressError>| {
            let got = text.parse::<ListenAddress>().map(|address| address.to_string());
            assert_eq!(got.as_deref().map_err(|error| *error), want, "{text:?}");
        };
        check("127.0.0.1:8080", Ok("127.0.0.1:8080"));
        check("0.0.0.0:0", Ok("0.0.0.0:0"));
        check("[::1]:8080", Ok("[::1]:8080"));
        check("unix:/run/a.sock", Ok("unix:/run/a.sock"));
        check("unix:run/a.sock", Err(AddressError::Form));
        check("unix:", Err(AddressError::Form));
        check("unix:/a\0b", Err(AddressError::Form));
        check("/run/a.sock", Err(AddressError::Form));
        check("localhost:8080", Err(AddressError::Form));
        check("127.0.0.1", Err(AddressError::Form));
        check("127.0.0.1:65536", Err(AddressError::Form));
        check("::1:8080", Err(AddressError::Form));
        check("", Err(AddressError::Form));
        let longest = format!("unix:/{}", "a".repeat(106));
        check(&longest, Ok(&longest));
        check(&format!("{longest}a"), Err(AddressError::PathTooLong));
    }
}

//! How the engine is reached, and what the room needs of it. No password and no key is ever
//! printed.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::names::{NodeName, StreamName};

/// How the engine is reached, and what the room needs of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// The servers of the engine; each of them will do.
    pub servers: Vec<ServerUrl>,
    /// The name of the stream and of its subject.
    pub stream: StreamName,
    /// How the node identifies itself, if a URL has no user.
    pub credentials: Option<Credentials>,
    /// Certificates of the authorities that may sign for a server, in PEM; `None` for those of
    /// the system. TLS is required with it.
    pub tls_ca_file: Option<PathBuf>,
    /// The name of this node, for the lists of the servers.
    pub node: NodeName,
    /// How much of the feed a node keeps.
    pub feed_tail_bytes: usize,
    /// The longest message.
    pub message_bytes_max: usize,
}

/// The address of a server: `nats://[user[:password]@]host[:port]`, or `tls://…`. It is printed
/// without the password, and without a user that has none, which is a token.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl {
    /// Without user and password.
    address: String,
    login: Option<Login>,
}

/// How a client identifies itself with what a URL has.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// A user and its password.
    Password {
        /// The name of the user.
        user: String,
        /// Its password.
        password: String,
    },
    /// A token.
    Token(String),
}

/// What is wrong with the URL of a server. It does not contain the URL.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ServerUrlError {
    /// It is no URL.
    #[error("is not a URL: {0}")]
    Syntax(#[from] url::ParseError),
    /// Another protocol.
    #[error("must start with nats:// or tls://")]
    Scheme,
    /// A space, a tab, a line end.
    #[error("must not contain spaces")]
    Space,
    /// There is no host, or one that cannot exist.
    #[error("has no valid host")]
    Host,
    /// Nothing listens at port 0.
    #[error("has port 0")]
    Port,
    /// A path, a query or a fragment.
    #[error("must end after the host and the port")]
    Rest,
    /// The user or the password is not UTF-8.
    #[error("has a user or a password that is not UTF-8")]
    Encoding,
}

/// The content of a file that identifies a client, for the servers.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A JWT and the seed of its nkey, as `nsc` writes them to a `.creds` file.
    Creds(String),
    /// The seed of the nkey of a user.
    Seed(String),
}

/// What is wrong with the content of a credentials file. It does not contain the content.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CredentialsError {
    /// It is not text.
    #[error("is not UTF-8")]
    Encoding,
    /// It is neither form.
    #[error("is neither a .creds file nor the seed of a user's nkey, which starts with SU")]
    Form,
    /// One of its two parts is missing or damaged.
    #[error("has no valid JWT or no valid nkey seed")]
    Creds,
    /// The check sum of the seed is wrong.
    #[error("has a damaged nkey seed")]
    Seed,
}

/// The port of a server whose URL has none.
const DEFAULT_PORT: u16 = 4222;

/// Replaces what must not be printed.
const MASK: &str = "********";

impl ServerUrl {
    /// The URL without user and password.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The user and the password, or the token.
    pub const fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }
}

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    fn from_str(text: &str) -> Result<Self, ServerUrlError> {
        // The parser would remove these.
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(ServerUrlError::Space);
        }
        let url: Url = match text.contains("://") {
            true => text.parse()?,
            false => format!("nats://{text}").parse()?,
        };
        if !["nats", "tls"].contains(&url.scheme()) {
            return Err(ServerUrlError::Scheme);
        }
        let host = match url.host() {
            Some(Host::Domain(name)) if is_host_name(name) => name.to_owned(),
            Some(Host::Ipv6(address)) => format!("[{address}]"),
            _ => return Err(ServerUrlError::Host),
        };
        let is_end = ["", "/"].contains(&url.path());
        if !is_end || url.query().is_some() || url.fragment().is_some() {
            return Err(ServerUrlError::Rest);
        }
        let port = url.port().unwrap_or(DEFAULT_PORT);
        if port == 0 {
            return Err(ServerUrlError::Port);
        }
        Ok(Self { address: format!("{}://{host}:{port}", url.scheme()), login: login(&url)? })
    }
}

/// Whether `name` is an IPv4 address or a name of DNS.
fn is_host_name(name: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !name.is_empty() && name.bytes().all(is_good)
}

fn login(url: &Url) -> Result<Option<Login>, ServerUrlError> {
    let decode = |text| match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(ServerUrlError::Encoding),
    };
    let user = decode(url.username())?;
    Ok(match url.password() {
        Some(password) => Some(Login::Password { user, password: decode(password)? }),
        None if user.is_empty() => None,
        None => Some(Login::Token(user)),
    })
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.address.split_once("://").unwrap_or(("nats", &self.address));
        match &self.login {
            None => write!(out, "{scheme}://{rest}"),
            Some(Login::Token(_)) => write!(out, "{scheme}://{MASK}@{rest}"),
            Some(Login::Password { user, .. }) => write!(out, "{scheme}://{user}:{MASK}@{rest}"),
        }
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(MASK)
    }
}

impl Credentials {
    /// The content of a file, of either form.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`] says what is wrong with it.
    pub fn parse(content: &[u8]) -> Result<Self, CredentialsError> {
        let text = str::from_utf8(content).map_err(|_| CredentialsError::Encoding)?;
        if text.contains("NATS USER JWT") {
            check_creds(text).map_err(|()| CredentialsError::Creds)?;
            return Ok(Self::Creds(text.to_owned()));
        }
        // `nk -gen user` writes the bare seed, `nsc` writes lines around it.
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let is_seed = |line: &&str| {
            let is_base32 = line.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'));
            line.starts_with("SU") && is_base32
        };
        let seed = lines.find(is_seed).ok_or(CredentialsError::Form)?;
        // The client has no other check of a seed than the one of such a file.
        let creds = format!(
            "-----BEGIN NATS USER JWT-----\nx\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        check_creds(&creds).map_err(|()| CredentialsError::Seed)?;
        Ok(Self::Seed(seed.to_owned()))
    }
}

fn check_creds(text: &str) -> Result<(), ()> {
    // The reason could quote the file.
    async_nats::ConnectOptions::with_credentials(text).map(drop).map_err(drop)
}

impl fmt::Debug for Credentials {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A seed from the documentation of NATS.
    const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";

    #[test]
    fn urls_of_servers() {
        let check = |text: &str, address: &str, printed: &str, login: Option<Login>| {
            let url: ServerUrl = text.parse().unwrap();
            assert_eq!((url.address(), url.login()), (address, login.as_ref()), "{text}");
            assert_eq!(url.to_string(), printed);
            assert_eq!(format!("{url:?}"), printed);
        };
        let same = |text: &str, address: &str| check(text, address, address, None);
        same("nats://a", "nats://a:4222");
        same("tls://a.example:1", "tls://a.example:1");
        same("10.0.0.1", "nats://10.0.0.1:4222");
        same("nats://[::1]:4333/", "nats://[::1]:4333");
        let password = |user: &str, password: &str| {
            Some(Login::Password { user: user.to_owned(), password: password.to_owned() })
        };
        let (address, printed) = ("nats://h:4222", "nats://u:********@h:4222");
        check("nats://u:s3cret@h", address, printed, password("u", "s3cret"));
        check("u:s%40%2F%C3%A4:@h", address, printed, password("u", "s@/ä:"));
        let token = Some(Login::Token("t0ken".to_owned()));
        check("tls://t0ken@h", "tls://h:4222", "tls://********@h:4222", token);
    }

    #[test]
    fn urls_that_are_none() {
        for (text, why) in [
            ("http://u:s3cret@h", "must start with nats:// or tls://"),
            ("ws://h", "must start with nats:// or tls://"),
            ("nats://u:s3cret@", "is not a URL: empty host"),
            ("nats:///x", "has no valid host"),
            ("", "has no valid host"),
            ("nats://h%20i", "has no valid host"),
            ("nats://h,i", "has no valid host"),
            ("nats://u:s3cret@h:0", "has port 0"),
            ("nats://u:s3cret @h", "must not contain spaces"),
            (" nats://h\n", "must not contain spaces"),
            ("nats://u:s3cret@h:99999", "is not a URL: invalid port number"),
            ("nats://h/s3cret", "must end after the host and the port"),
            ("nats://h?s3cret", "must end after the host and the port"),
            ("nats://h,nats://i", "has no valid host"),
            ("nats://u:%ff@h", "has a user or a password that is not UTF-8"),
        ] {
            let error = text.parse::<ServerUrl>().unwrap_err().to_string();
            assert_eq!(error, why, "{text}");
        }
    }

    #[test]
    fn options_print_no_secret() {
        let options = EngineOptions {
            servers: vec!["nats://u:s3cret@h".parse().unwrap(), "s3cret@h".parse().unwrap()],
            stream: StreamName::default(),
            credentials: Some(Credentials::Seed("s3cret".into())),
            tls_ca_file: None,
            node: "n".parse().unwrap(),
            feed_tail_bytes: 1,
            message_bytes_max: 1,
        };
        let printed = format!("{options:?} {:?}", options.servers[0].login());
        assert!(printed.contains("wschat") && !printed.contains("s3cret"), "{printed}");
    }

    #[test]
    fn the_content_tells_the_form_of_credentials() {
        let creds = format!(
            "-----BEGIN NATS USER JWT-----\nab.cd.ef\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\n\
             -----BEGIN USER NKEY SEED-----\n{SEED}\n------END USER NKEY SEED------\n"
        );
        let seed = Credentials::Seed(SEED.to_owned());
        for text in [SEED.to_owned(), format!("\n{SEED}\r\n"), creds[100..].to_owned()] {
            assert_eq!(Credentials::parse(text.as_bytes()), Ok(seed.clone()), "{text}");
        }
        assert_eq!(Credentials::parse(creds.as_bytes()), Ok(Credentials::Creds(creds.clone())));
        assert_eq!(format!("{seed:?}"), "********");
    }

    #[test]
    fn content_that_is_neither() {
        for (content, why) in [
            (&b"\xff"[..], CredentialsError::Encoding),
            (b"", CredentialsError::Form),
            (b"secret", CredentialsError::Form),
            (b"UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4", CredentialsError::Form),
            (SEED.to_lowercase().as_bytes(), CredentialsError::Form),
            (SEED.replace("ACSS", "ACST").as_bytes(), CredentialsError::Seed),
            (b"SU", CredentialsError::Seed),
            (
                b"-----BEGIN NATS USER JWT-----\nx\n------END NATS USER JWT------\n",
                CredentialsError::Creds,
            ),
        ] {
            assert_eq!(Credentials::parse(content), Err(why));
        }
    }
}

//! A connection to a server, which lives once. async-nats would connect again by itself, and
//! then send what was given to it meanwhile; a publish must not go out that late.

use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, ReconnectToServer, ServerAddr, ServerError,
    ServerInfo,
};
use rustix::io::Errno;
use tokio::sync::watch;
use tracing::warn;

use super::super::engine::AwayReason;
use super::super::options::{Credentials, EngineOptions, Login, ServerUrl};
use crate::log_limit::LogLimit;

/// How long a server may take until it has accepted the client.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How often the server is asked whether it is there; after two pings without an answer the
/// connection is lost.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// How many messages of one subscription may wait. The client drops what is more. Flow control
/// stops the server earlier: at 32 MiB, and a record needs some hundred bytes.
const SUBSCRIPTION_MESSAGES_MAX: usize = 512 * 1024;

/// How many operations the client may hold that it has not written.
const UNWRITTEN_MAX: usize = 512;

/// An address that refuses each connection: no server has port 0.
const NOWHERE: &str = "nats://127.0.0.1:0";

/// What to do if the sandbox of the service forbids network sockets.
const SANDBOX_HINT: &str = "; the sandbox of wschat.service forbids it: install the drop-in \
    wschat-cluster.conf of the examples";

/// How often an error of the server is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// A connection to a server.
pub struct Link {
    /// The client of this connection. It ends with the connection.
    pub client: Client,
    /// The address of the server, without a password.
    pub server: String,
    /// What the server has said about itself.
    pub info: ServerInfo,
    state: watch::Receiver<LinkState>,
}

/// What has become of a connection.
#[derive(Clone, Debug, Default)]
struct LinkState {
    is_lost: bool,
    /// The last error of the server.
    error: Option<String>,
    /// The server does not let this client publish to the stream.
    may_not_publish: bool,
}

impl Link {
    /// Connects to one of the servers.
    ///
    /// # Errors
    ///
    /// Why this server cannot be used now.
    pub async fn connect(options: &EngineOptions, server: &ServerUrl) -> Result<Self, AwayReason> {
        let (sender, state) = watch::channel(LinkState::default());
        let (address, nowhere) = (server_addr(server.address())?, server_addr(NOWHERE)?);
        let connect = client_options(options, server)?
            .event_callback(reporter(options.stream.to_string(), sender))
            .reconnect_to_server_callback(once(address.clone(), nowhere.clone()));
        let client = connect.connect(vec![address, nowhere]).await.map_err(|error| {
            let why = chain(&error);
            match error.kind() {
                ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                    let has_none = server.login().is_none() && options.credentials.is_none();
                    let what = if has_none { "a node without" } else { "the" };
                    AwayReason::Unusable(format!(
                        "{server} refused {what} credentials ({why}); see cluster.credentials_file"
                    ))
                }
                _ => AwayReason::Unreachable(format!(
                    "cannot reach {server}: {why}{}",
                    advice(&error, &why)
                )),
            }
        })?;
        Ok(Self { info: client.server_info(), client, server: server.address().to_owned(), state })
    }

    /// Waits until the connection is lost, or of no use.
    pub async fn lost(&self) -> AwayReason {
        let mut state = self.state.clone();
        let is_over = |state: &LinkState| state.is_lost || state.may_not_publish;
        // The sender ends with the client.
        let may_not_publish =
            state.wait_for(is_over).await.is_ok_and(|state| state.may_not_publish);
        let why = self.last_error().map(|why| format!(": {why}")).unwrap_or_default();
        if may_not_publish {
            return AwayReason::Unusable(format!(
                "{} does not let this node publish{why}; see wschat.toml(5) for the permissions",
                self.server
            ));
        }
        AwayReason::Unreachable(format!("the connection to {} was lost{why}", self.server))
    }

    /// The last error that the server has reported.
    pub fn last_error(&self) -> Option<String> {
        self.state.borrow().error.clone()
    }
}

fn client_options(
    options: &EngineOptions,
    server: &ServerUrl,
) -> Result<ConnectOptions, AwayReason> {
    let mut connect = ConnectOptions::new()
        .name(format!("wschat {}", options.node))
        .custom_inbox_prefix(format!("_INBOX.{}", options.stream))
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING_INTERVAL)
        .subscription_capacity(SUBSCRIPTION_MESSAGES_MAX)
        .client_capacity(UNWRITTEN_MAX)
        .ignore_discovered_servers()
        // The fewest there are: 0 means no limit.
        .max_reconnects(1);
    if let Some(path) = &options.tls_ca_file {
        connect = connect.add_root_certificates(path.clone()).require_tls(true);
    }
    match (server.login(), &options.credentials) {
        (Some(Login::Password { user, password }), _) => {
            Ok(connect.user_and_password(user.clone(), password.clone()))
        }
        (Some(Login::Token(token)), _) => Ok(connect.token(token.clone())),
        (None, Some(Credentials::Seed(seed))) => Ok(connect.nkey(seed.clone())),
        (None, Some(Credentials::Creds(creds))) => connect
            .credentials(creds)
            // The reason could quote the file.
            .map_err(|_| AwayReason::Unusable("the credentials are damaged".to_owned())),
        (None, None) => Ok(connect),
    }
}

fn server_addr(address: &str) -> Result<ServerAddr, AwayReason> {
    address.parse().map_err(|_| AwayReason::Unusable(format!("{address} is not an address")))
}

/// Lets the client connect to `address`, and then nowhere, so that it ends with the connection.
fn once(
    address: ServerAddr,
    nowhere: ServerAddr,
) -> impl Fn(Vec<async_nats::Server>, ServerInfo) -> std::future::Ready<Option<ReconnectToServer>>
+ Send
+ Sync
+ 'static {
    let was_used = AtomicBool::new(false);
    move |_, _| {
        let addr = if was_used.swap(true, Ordering::Relaxed) { &nowhere } else { &address };
        let delay = Some(Duration::ZERO);
        std::future::ready(Some(ReconnectToServer { addr: addr.clone(), delay }))
    }
}

/// Keeps what the client reports.
fn reporter(
    stream: String,
    sender: watch::Sender<LinkState>,
) -> impl Fn(Event) -> std::future::Ready<()> + Send + Sync + 'static {
    let limit = LogLimit::new(LOG_INTERVAL);
    move |event| {
        match event {
            Event::Disconnected | Event::Closed => sender.send_modify(|state| state.is_lost = true),
            Event::ServerError(ServerError::Other(error)) => {
                if limit.problem(Instant::now()) {
                    warn!("the NATS server reports: {error}");
                }
                let may_not_publish = is_refusal_to_publish(&error, &stream);
                sender.send_modify(|state| {
                    state.may_not_publish |= may_not_publish;
                    state.error = Some(error);
                });
            }
            _ => {}
        }
        std::future::ready(())
    }
}

/// Whether a server has said with this error that the client may not do something.
pub fn is_refusal(error: &str) -> bool {
    error.to_lowercase().starts_with("permissions violation ")
}

/// Whether the server refuses publishes to the stream.
fn is_refusal_to_publish(error: &str, stream: &str) -> bool {
    is_refusal(error) && error.ends_with(&format!(" Publish to \"{stream}\""))
}

/// What to do about an error, as far as it is known.
fn advice(error: &(dyn Error + 'static), why: &str) -> &'static str {
    match is_forbidden(error) {
        true => SANDBOX_HINT,
        false if why.contains("UnknownIssuer") => "; see cluster.tls_ca_file",
        false => "",
    }
}

/// Whether the system does not let this process have such a socket (`RestrictAddressFamilies=`).
fn is_forbidden(error: &(dyn Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
    io == Some(Errno::AFNOSUPPORT.raw_os_error()) || error.source().is_some_and(is_forbidden)
}

/// An error and what has caused it, each text once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_the_sandbox_forbids() {
        let system = |errno: Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        let nested = io::Error::other(async_nats::ConnectError::with_source(
            ConnectErrorKind::Io,
            system(Errno::AFNOSUPPORT),
        ));
        assert!(is_forbidden(&nested));
        assert!(!is_forbidden(&system(Errno::CONNREFUSED)));
    }

    #[test]
    fn refusals_to_publish_to_the_stream() {
        for (error, expected) in [
            ("Permissions Violation for Publish to \"Room\"", true),
            ("Permissions Violation for Publish to \"room\"", false),
            ("Permissions Violation for Publish to \"room.presence\"", false),
            ("Permissions Violation for Subscription to \"room\"", false),
            ("Stale Connection", false),
        ] {
            assert_eq!(is_refusal_to_publish(error, "Room"), expected, "{error}");
        }
    }
}

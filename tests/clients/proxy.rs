//! nginx, Caddy and HAProxy, configured as in `packaging/examples/`.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use rcgen::CertifiedKey;
use tempfile::TempDir;

use crate::harness::until;

const NGINX: &str = include_str!("../../packaging/examples/nginx.conf");
const CADDY: &str = include_str!("../../packaging/examples/Caddyfile");
const NGINX_CLUSTER: &str = include_str!("../../packaging/examples/nginx-cluster.conf");
const HAPROXY_CLUSTER: &str = include_str!("../../packaging/examples/haproxy-cluster.cfg");
const HOST: &str = "chat.example.org";

/// The daemon in an example for one.
const DAEMON: &str = "127.0.0.1:8080";
/// The nodes in an example for three.
const NODES: [&str; 3] = ["192.0.2.21:8080", "192.0.2.22:8080", "192.0.2.23:8080"];

/// A running proxy; killed when dropped.
pub struct Proxy {
    child: Child,
    /// Where it listens with TLS.
    address: String,
    folder: TempDir,
}

/// Where a proxy listens, its folder, and its key and certificate in that folder.
struct Place {
    address: String,
    folder: TempDir,
}

impl Proxy {
    /// nginx in front of the daemon at `to`. `change` changes the example.
    pub fn nginx(to: SocketAddr, change: impl Fn(String) -> String) -> Self {
        let place = Place::new();
        let path = place.folder.path().display().to_string();
        let site = change(place.replace(
            NGINX,
            &[
                (DAEMON, &to.to_string()),
                ("listen 443 ssl;", &format!("listen {} ssl;", place.address)),
                ("    listen [::]:443 ssl;\n", ""),
                (&format!("server_name {HOST};"), ""),
                (&format!("/etc/ssl/{HOST}.pem"), &format!("{path}/pem")),
                (&format!("/etc/ssl/{HOST}.key"), &format!("{path}/key")),
            ],
        ));
        place.start_nginx(&site)
    }

    /// nginx in front of three nodes, which listens without TLS too.
    pub fn nginx_cluster(nodes: [SocketAddr; 3]) -> Self {
        let place = Place::new();
        let path = place.folder.path().display().to_string();
        let [a, b, c] = nodes.map(|node| node.to_string());
        let listen = format!("listen {} ssl;\n    listen {};", place.address, place.plain());
        let site = place.replace(
            NGINX_CLUSTER,
            &[
                (NODES[0], &a),
                (NODES[1], &b),
                (NODES[2], &c),
                ("listen 443 ssl;", &listen),
                ("    listen [::]:443 ssl;\n", ""),
                (&format!("server_name {HOST};"), ""),
                (&format!("/etc/ssl/{HOST}.pem"), &format!("{path}/pem")),
                (&format!("/etc/ssl/{HOST}.key"), &format!("{path}/key")),
            ],
        );
        place.start_nginx(&site)
    }

    /// HAProxy in front of three nodes, which listens without TLS too.
    pub fn haproxy_cluster(nodes: [SocketAddr; 3]) -> Self {
        let place = Place::new();
        let path = place.folder.path().display().to_string();
        let [a, b, c] = nodes.map(|node| node.to_string());
        let bind = format!("bind {}\n    bind {} ssl", place.plain(), place.address);
        let config = place.replace(
            HAPROXY_CLUSTER,
            &[
                (NODES[0], &a),
                (NODES[1], &b),
                (NODES[2], &c),
                ("bind :443 ssl", &bind),
                (&format!("/etc/ssl/{HOST}.pem"), &format!("{path}/both")),
                // As many as the tests may open.
                ("maxconn 100000", "maxconn 1000"),
            ],
        );
        place.start("haproxy.cfg", &config, |file| {
            let mut command = Command::new("/usr/sbin/haproxy");
            command.arg("-f").arg(file);
            command
        })
    }

    /// Caddy in front of the daemon at `to`. `change` changes the example.
    pub fn caddy(to: SocketAddr, change: impl Fn(String) -> String) -> Self {
        let place = Place::new();
        let path = place.folder.path().display().to_string();
        let address = format!(
            "https://{} {{\n\tbind {}\n\ttls {path}/pem {path}/key",
            place.address,
            place.host()
        );
        let site =
            place.replace(CADDY, &[(DAEMON, &to.to_string()), (&format!("{HOST} {{"), &address)]);
        let site = change(site);
        let config = format!("{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{site}");
        let home = place.folder.path().to_owned();
        place.start("Caddyfile", &config, |file| {
            let mut command = Command::new("caddy");
            command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
            command.env("HOME", &home).env("XDG_DATA_HOME", &home).env("XDG_CONFIG_HOME", &home);
            command
        })
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// Where it listens without TLS.
    pub fn plain(&self) -> SocketAddr {
        plain(&self.address).parse().unwrap()
    }
}

impl Place {
    fn new() -> Self {
        // A loopback address that no other test uses: proxies cannot choose a port themselves.
        static LAST: AtomicU8 = AtomicU8::new(1);
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let host = format!("127.{}.{low}.{number}", 1 + high % 254);
        let folder = tempfile::tempdir().unwrap();
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(vec![host.clone()]).unwrap();
        let (pem, key) = (cert.pem(), signing_key.serialize_pem());
        fs::write(folder.path().join("both"), format!("{pem}{key}")).unwrap();
        fs::write(folder.path().join("pem"), pem).unwrap();
        fs::write(folder.path().join("key"), key).unwrap();
        Self { address: format!("{host}:8443"), folder }
    }

    fn host(&self) -> &str {
        self.address.split(':').next().unwrap()
    }

    fn plain(&self) -> String {
        plain(&self.address)
    }

    /// The example with the addresses of this test.
    fn replace(&self, example: &str, changes: &[(&str, &str)]) -> String {
        let mut text = example.to_owned();
        for (from, to) in changes {
            assert!(text.contains(from), "{from} in {example}");
            text = text.replace(from, to);
        }
        text
    }

    fn start_nginx(self, site: &str) -> Proxy {
        let path = self.folder.path().display().to_string();
        let folders: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {path}/{name};\n"))
            .concat();
        let config = format!(
            "daemon off;\nmaster_process off;\npid {path}/pid;\nerror_log stderr;\nevents {{}}\n\
             http {{\naccess_log off;\n{folders}{site}\n}}\n"
        );
        self.start("nginx", &config, |file| {
            let mut command = Command::new("/usr/sbin/nginx");
            command.args(["-e", "stderr", "-c"]).arg(file);
            command
        })
    }

    fn start(self, name: &str, config: &str, command: impl Fn(&Path) -> Command) -> Proxy {
        let file = self.folder.path().join(name);
        fs::write(&file, config).unwrap();
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        let child = command(&file).stdin(Stdio::null()).stderr(log).spawn();
        let child = child.unwrap_or_else(|error| panic!("{name}: {error}; tests/run installs it"));
        let mut proxy = Proxy { child, address: self.address, folder: self.folder };
        until("the proxy listens", || {
            let ended = proxy.child.try_wait().unwrap();
            assert!(ended.is_none(), "{}", proxy.log());
            std::net::TcpStream::connect(&proxy.address).ok()
        });
        proxy
    }
}

/// The address beside this one that has no TLS.
fn plain(address: &str) -> String {
    address.replace(":8443", ":8080")
}

impl Proxy {
    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the log of the proxy:\n{}---", self.log());
        }
    }
}

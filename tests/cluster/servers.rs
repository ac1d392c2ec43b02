//! Real nats-servers: one, or three that form a cluster.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::{Config, Info};
use async_nats::jetstream::{self, Context};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::harness::{until, within};

/// Each server has a loopback address of its own, so that its ports are free at every start of
/// it: no connection of another program gets a port there by chance. They are not the usual ones,
/// at which a nats-server may listen on all addresses.
const CLIENT_PORT: u16 = 14222;
const ROUTE_PORT: u16 = 16222;
const MONITOR_PORT: u16 = 18222;

/// How long one request to a server may take, until another one is asked.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a test waits for what servers do. Electing a leader takes up to 20 seconds.
const PATIENCE: Duration = Duration::from_secs(100);

/// How long servers may take to find each other; then they are started anew.
const START_PATIENCE: Duration = Duration::from_secs(12);

/// Polls `condition` until it returns a value, for longer than [`until`](crate::harness::until).
///
/// # Panics
///
/// It returned no value in time.
#[track_caller]
pub fn wait_for<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, condition)
}

/// The servers; killed when dropped. The ends of their logs are printed if the test fails.
pub struct Servers {
    servers: Vec<Server>,
    _folder: TempDir,
}

struct Server {
    address: Ipv4Addr,
    folder: PathBuf,
    child: Child,
    is_running: bool,
}

impl Servers {
    /// Starts this many servers and waits until all of them are ready.
    pub fn start(count: usize) -> Self {
        Self::with_config(count, "")
    }

    /// As [`start`](Self::start), with more lines in the configuration of each server.
    pub fn with_config(count: usize, more: &str) -> Self {
        Self::with_config_of(count, |_| more.to_owned())
    }

    /// As [`with_config`](Self::with_config), with lines that depend on the address.
    pub fn with_config_of(count: usize, more: impl Fn(Ipv4Addr) -> String) -> Self {
        // One time in 75, the servers of three count only two, and never the third.
        wait_for("the nats-servers count each other", || {
            let servers = Self::spawn(count, &more);
            let start = Instant::now();
            while start.elapsed() < START_PATIENCE {
                if servers.are_ready() {
                    return Some(servers);
                }
                thread::sleep(Duration::from_millis(20));
            }
            None
        })
    }

    fn spawn(count: usize, more: impl Fn(Ipv4Addr) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let addresses: Vec<_> = (0..count).map(|_| free_address()).collect();
        let routes: Vec<_> = addresses.iter().map(|a| format!("nats://{a}:{ROUTE_PORT}")).collect();
        let servers = addresses.iter().enumerate().map(|(number, address)| {
            let folder = folder.path().join(number.to_string());
            fs::create_dir(&folder).unwrap();
            let more = more(*address);
            let mut config = format!(
                "server_name: {}\nlisten: \"{address}:{CLIENT_PORT}\"\n\
                 http: \"{address}:{MONITOR_PORT}\"\n{more}\n\
                 jetstream {{ store_dir: {:?}, max_memory_store: 1G, max_file_store: 64G }}\n",
                name(number),
                folder.join("store").display().to_string()
            );
            if count > 1 {
                config += &format!(
                    "cluster {{ name: tests, listen: \"{address}:{ROUTE_PORT}\", \
                     no_advertise: true, routes: {routes:?} }}\n"
                );
            }
            fs::write(folder.join("nats.conf"), config).unwrap();
            let child = spawn(&folder);
            Server { address: *address, folder, child, is_running: true }
        });
        Self { servers: servers.collect(), _folder: folder }
    }

    /// Waits until every server is connected to the others and knows who leads them.
    pub fn wait_until_ready(&self) {
        wait_for("the nats-servers are ready", || self.are_ready().then_some(()));
    }

    fn are_ready(&self) -> bool {
        let others = self.servers.len() - 1;
        (0..self.servers.len()).all(|number| self.is_ready(number, others))
    }

    fn is_ready(&self, number: usize, others: usize) -> bool {
        let ask = |path| self.servers[number].monitor(path);
        let Some(health) = ask("/healthz") else { return false };
        if health["status"] != "ok" || others == 0 {
            return health["status"] == "ok";
        }
        let Some(jetstream) = ask("/jsz") else { return false };
        let leader = jetstream["meta_cluster"]["leader"].as_str().unwrap_or_default();
        let Some(leader) = self.servers.get(number_of(leader)) else { return false };
        let Some(seen) = leader.monitor("/jsz") else { return false };
        let replicas = seen["meta_cluster"]["replicas"].as_array();
        replicas.is_some_and(|all| {
            all.len() == others && all.iter().all(|replica| replica["current"] == true)
        })
    }

    /// Where clients connect, in the order of their numbers.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(|server| (server.address, CLIENT_PORT).into()).collect()
    }

    /// Kills a server as `kill -9` does.
    pub fn kill(&mut self, number: usize) {
        let server = &mut self.servers[number];
        server.is_running = false;
        server.child.kill().unwrap();
        server.child.wait().unwrap();
    }

    /// Starts a server again that was killed, and waits until it is ready.
    pub fn restart(&mut self, number: usize) {
        let server = &mut self.servers[number];
        server.child = spawn(&server.folder);
        server.is_running = true;
        self.wait_until_ready();
    }

    /// Keeps a copy of what a server that was killed has stored.
    pub fn back_up(&self, number: usize) {
        let folder = &self.servers[number].folder;
        copy(&folder.join("store"), &folder.join("backup"));
    }

    /// Lets a server that was killed have what it had at the backup, and nothing else.
    pub fn restore(&self, number: usize) {
        let folder = &self.servers[number].folder;
        fs::remove_dir_all(folder.join("store")).unwrap();
        copy(&folder.join("backup"), &folder.join("store"));
    }

    /// Stops a server with SIGSTOP: it keeps its connections and does nothing.
    pub fn pause(&mut self, number: usize) {
        self.servers[number].is_running = false;
        self.signal(number, Signal::STOP);
    }

    /// Lets a server go on that was paused.
    pub fn resume(&mut self, number: usize) {
        self.signal(number, Signal::CONT);
        self.servers[number].is_running = true;
    }

    fn signal(&self, number: usize, signal: Signal) {
        kill_process(Pid::from_child(&self.servers[number].child), signal).unwrap();
    }

    /// The server that leads this stream.
    pub fn leader(&self, stream: &str) -> usize {
        let leader = || self.info(stream)?.cluster?.leader;
        number_of(&wait_for("the stream has a leader", leader))
    }

    /// What a server that runs knows of this stream; `None` if there is no answer now, or no
    /// such stream.
    pub fn info(&self, stream: &str) -> Option<Info> {
        self.try_ask(async |engine: Context| {
            Ok(engine.get_stream(stream).await?.get_info().await?)
        })
    }

    /// The sequence of the newest message of this stream.
    pub fn last_sequence(&self, stream: &str) -> u64 {
        wait_for("the stream answers", || self.info(stream)).state.last_sequence
    }

    /// Creates a stream.
    pub fn create(&self, config: &Config) {
        self.ask(async |engine| Ok(engine.create_stream(config.clone()).await.map(drop)?));
    }

    /// Deletes a stream.
    pub fn delete(&self, stream: &str) {
        self.ask(async |engine| Ok(engine.delete_stream(stream).await.map(drop)?));
    }

    /// Deletes all messages of a stream.
    pub fn purge(&self, stream: &str) {
        self.ask(async |engine| Ok(engine.get_stream(stream).await?.purge().await.map(drop)?));
    }

    /// Changes the configuration of a stream.
    pub fn update(&self, stream: &str, change: impl Fn(&mut Config)) {
        self.ask(async |engine| {
            let mut config = engine.get_stream(stream).await?.get_info().await?.config;
            change(&mut config);
            Ok(engine.update_stream(config).await.map(drop)?)
        });
    }

    /// Deletes all messages but the newest ones.
    pub fn discard_all_but(&self, stream: &str, messages: u64) {
        self.ask(async |engine| {
            let stream = engine.get_stream(stream).await?;
            Ok(stream.purge().keep(messages).await.map(drop)?)
        });
    }

    /// Executes a request at a server that runs, again until it succeeds.
    pub fn ask<T>(&self, request: impl AsyncFn(Context) -> Result<T, async_nats::Error>) -> T {
        wait_for("a nats-server executes the request", || self.try_ask(&request))
    }

    fn try_ask<T>(
        &self,
        request: impl AsyncFn(Context) -> Result<T, async_nats::Error>,
    ) -> Option<T> {
        let running = self.servers.iter().filter(|server| server.is_running);
        let urls: Vec<_> = running.map(|s| format!("nats://{}:{CLIENT_PORT}", s.address)).collect();
        let answer = runtime().block_on(async {
            let client = async_nats::connect(urls).await?;
            let engine = jetstream::new(client);
            tokio::time::timeout(REQUEST_TIMEOUT, request(engine)).await?
        });
        answer.ok()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.child.kill();
            let _ = server.child.wait();
            if thread::panicking() {
                let log = fs::read_to_string(server.folder.join("log")).unwrap_or_default();
                let lines: Vec<_> = log.lines().collect();
                let end = &lines[lines.len().saturating_sub(20)..];
                eprintln!("--- the log of {}:\n{}\n---", server.folder.display(), end.join("\n"));
            }
        }
    }
}

impl Server {
    /// The answer of its monitoring port; `None` if it does not answer.
    fn monitor(&self, path: &str) -> Option<Value> {
        let address = SocketAddr::from((self.address, MONITOR_PORT));
        let mut stream = TcpStream::connect_timeout(&address, REQUEST_TIMEOUT).ok()?;
        stream.set_read_timeout(Some(REQUEST_TIMEOUT)).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }
}

/// Runs futures to their ends.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Copies a folder and all that is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

fn name(number: usize) -> String {
    format!("server-{number}")
}

/// The number in a [`name`]; none of ours if it is not one.
fn number_of(name: &str) -> usize {
    name.strip_prefix("server-").and_then(|number| number.parse().ok()).unwrap_or(usize::MAX)
}

/// A loopback address at which nobody listens.
fn free_address() -> Ipv4Addr {
    until("a free loopback address", || {
        let address =
            Ipv4Addr::new(127, fastrand::u8(1..255), fastrand::u8(..), fastrand::u8(1..255));
        let is_free = |port| TcpListener::bind((address, port)).is_ok();
        [CLIENT_PORT, ROUTE_PORT, MONITOR_PORT].into_iter().all(is_free).then_some(address)
    })
}

fn spawn(folder: &Path) -> Child {
    let log = File::options().append(true).create(true).open(folder.join("log")).unwrap();
    let program = program();
    Command::new(&program)
        .arg("--config")
        .arg(folder.join("nats.conf"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; tests/run installs it", program.display()))
}

/// What tests/run has installed.
pub fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("WSCHAT_NATS_SERVER") {
        return path.into();
    }
    let cache = std::env::var_os("WSCHAT_CACHE").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/wschat-tests")
    });
    cache.join("nats/usr/sbin/nats-server")
}

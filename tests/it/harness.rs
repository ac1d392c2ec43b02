//! Starts the daemon on a free port, waits for lines of its log, and kills it with the test.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};
use wschat::chat::is_presence;

/// How long a test waits for an event.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// An upgrade request.
pub const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A configuration without a rate limit.
pub const UNLIMITED: &str = "limits.messages_per_sec = 0\n";

/// A configuration for tests of the bytes of a stream: presence would be between them.
pub const NO_PRESENCE: &str = "room.presence = false\n";

/// Polls `condition` until it returns a value.
///
/// # Panics
///
/// It returned no value before the deadline.
#[track_caller]
pub fn until<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, what, condition)
}

/// As [`until`], with another deadline.
#[track_caller]
pub fn within<T>(patience: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < patience, "timeout: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The options of a daemon to start.
pub struct Setup {
    config: String,
    listen: bool,
    control: bool,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    wrapper: Vec<String>,
    inherited: Vec<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl Setup {
    /// With this configuration file, listening on a free port.
    pub fn new(config: &str) -> Self {
        Self {
            config: config.to_owned(),
            listen: true,
            control: true,
            arguments: Vec::new(),
            variables: Vec::new(),
            wrapper: Vec::new(),
            inherited: Vec::new(),
            stderr: None,
        }
    }

    /// Without `--listen`: the configuration or systemd gives the address.
    pub fn without_listen(mut self) -> Self {
        self.listen = false;
        self
    }

    /// Without `--control`: the control socket has the default path.
    pub fn without_control(mut self) -> Self {
        self.control = false;
        self
    }

    /// With one more argument.
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// With an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs the daemon through another program, after these words.
    pub fn wrapper(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(ToString::to_string).collect();
        self
    }

    /// With this as its stderr. Its log is then not available.
    pub fn stderr(mut self, stderr: OwnedFd) -> Self {
        self.stderr = Some(stderr);
        self
    }

    /// With one or two sockets, passed as systemd passes them, from descriptor 3 on.
    pub fn inherit(self, sockets: impl IntoIterator<Item = OwnedFd>, names: &str) -> Self {
        self.inherit_with_files(sockets, &[], names)
    }

    /// As [`inherit`](Self::inherit), and these files after the sockets.
    pub fn inherit_with_files(
        mut self,
        sockets: impl IntoIterator<Item = OwnedFd>,
        files: &[PathBuf],
        names: &str,
    ) -> Self {
        self.inherited = sockets.into_iter().collect();
        let first = 3 + self.inherited.len();
        let files = files.iter().zip(first..);
        let files: Vec<_> = files.map(|(file, n)| format!("{n}<>{}", file.display())).collect();
        let count = (self.inherited.len() + files.len()).to_string();
        // A file can have the number of a socket that is not there.
        let script = format!(
            "export LISTEN_PID=$$; exec \"$@\" 3<&0 4<&1 {} </dev/null >/dev/null",
            files.join(" ")
        );
        self.wrapper(&["sh", "-c", &script, "sh"])
            .env("LISTEN_FDS", &count)
            .env("LISTEN_FDNAMES", names)
    }

    /// Starts it without waiting.
    pub fn spawn(self) -> Daemon {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("wschat.toml");
        fs::write(&config, &self.config).unwrap();
        let mut words = self.wrapper.clone();
        words.push(env!("CARGO_BIN_EXE_wschat").to_owned());
        words.extend(["--config".to_owned(), config.display().to_string()]);
        if self.listen {
            words.extend(["--listen", "127.0.0.1:0"].map(str::to_owned));
        }
        if self.control {
            let control = folder.path().join(CONTROL);
            words.extend(["--control".to_owned(), control.display().to_string()]);
        }
        words.extend(self.arguments);
        let mut command = Command::new(&words[0]);
        let mut inherited = self.inherited.into_iter().map(Stdio::from);
        command.args(&words[1..]);
        command.stderr(self.stderr.map_or_else(Stdio::piped, Stdio::from));
        command.stdin(inherited.next().unwrap_or_else(Stdio::null));
        command.stdout(inherited.next().unwrap_or_else(Stdio::null));
        for name in FOREIGN_VARIABLES {
            command.env_remove(name);
        }
        command.envs(self.variables);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{words:?}: {error}"));
        let stderr = child.stderr.take().map(|stderr| Box::new(stderr) as Box<dyn Read + Send>);
        let log = Log::follow(stderr.unwrap_or_else(|| Box::new(std::io::empty())));
        Daemon { child, folder, log, addr: SocketAddr::from(([0, 0, 0, 0], 0)) }
    }

    /// Starts it and waits until it listens.
    pub fn start(self) -> Daemon {
        let mut daemon = self.spawn();
        daemon.addr = daemon.listens_at();
        daemon
    }
}

/// Environment variables of the test process that the daemon must not get.
const FOREIGN_VARIABLES: [&str; 11] = [
    "CREDENTIALS_DIRECTORY",
    "JOURNAL_STREAM",
    "JWT_SECRET",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LOG_DIR",
    "NOTIFY_SOCKET",
    "STATE_DIRECTORY",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// The name of the control socket in the folder of a daemon.
const CONTROL: &str = "control.sock";

/// A running daemon; killed when dropped. Its log is printed if the test fails.
pub struct Daemon {
    /// Where it listens, if it listens on TCP.
    pub addr: SocketAddr,
    child: Child,
    folder: TempDir,
    log: Log,
}

impl Daemon {
    /// Starts a daemon with this configuration and waits until it listens.
    pub fn start(config: &str) -> Self {
        Setup::new(config).start()
    }

    /// Opens a WebSocket.
    pub fn connect(&self) -> Client {
        Client::open(TcpStream::connect(self.addr).unwrap(), &format!("ws://{}/", self.addr))
    }

    /// Sends a request unchanged, and returns everything until the connection is closed.
    pub fn http(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        // Without a further request the connection ends after the response.
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Replaces the configuration file.
    pub fn configure(&self, config: &str) {
        fs::write(self.config_file(), config).unwrap();
    }

    /// The configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("wschat.toml")
    }

    /// The control socket.
    pub fn control(&self) -> PathBuf {
        self.folder.path().join(CONTROL)
    }

    /// A command for the control socket of this daemon.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wschat"));
        command.args(words).arg("--control").arg(self.control()).stdin(Stdio::null());
        command
    }

    /// Replaces the configuration and waits until it is loaded.
    pub fn reload(&self, config: &str) {
        let before = self.log.count("configuration loaded");
        self.configure(config);
        self.signal(Signal::HUP);
        until("the reload", || (self.log.count("configuration loaded") > before).then_some(()));
    }

    /// Its log until now.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Waits for a line of the log that contains `text`, and returns it.
    pub fn wait_for_log(&self, text: &str) -> String {
        self.log.wait_for(text)
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let status = until("the daemon's end", || child.try_wait().unwrap());
        self.log.wait_for_end();
        status
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the end of a daemon that does not start; returns its exit code and log.
    pub fn ends_with(mut self) -> (Option<i32>, String) {
        let code = self.wait().code();
        (code, self.log())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn listens_at(&self) -> SocketAddr {
        const WORDS: &str = "listening on ";
        let line = self.log.wait_for(WORDS);
        let at = line.find(WORDS).unwrap() + WORDS.len();
        let address = line[at..].split(',').next().unwrap().trim_end();
        address.parse().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the daemon's log:\n{}---", self.log.text());
        }
    }
}

/// What the daemon writes to stderr.
struct Log(Arc<(Mutex<(String, bool)>, Condvar)>);

impl Log {
    fn follow(stderr: impl Read + Send + 'static) -> Self {
        let shared = Arc::<(Mutex<(String, bool)>, Condvar)>::default();
        let log = Self(shared.clone());
        thread::spawn(move || {
            let mut lines = BufReader::new(stderr);
            loop {
                let mut line = Vec::new();
                let ended = lines.read_until(b'\n', &mut line).unwrap_or(0) == 0;
                let mut state = shared.0.lock().unwrap();
                state.0.push_str(&String::from_utf8_lossy(&line));
                state.1 = ended;
                shared.1.notify_all();
                if ended {
                    return;
                }
            }
        });
        log
    }

    fn text(&self) -> String {
        self.0.0.lock().unwrap().0.clone()
    }

    fn count(&self, text: &str) -> usize {
        self.text().matches(text).count()
    }

    fn wait_for(&self, text: &str) -> String {
        let found = |log: &str| log.lines().find(|line| line.contains(text)).map(str::to_owned);
        let state = self.0.0.lock().unwrap();
        let waiting = |state: &mut (String, bool)| found(&state.0).is_none() && !state.1;
        let (state, _) = self.0.1.wait_timeout_while(state, DEADLINE, waiting).unwrap();
        let line = found(&state.0);
        drop(state);
        line.unwrap_or_else(|| panic!("no line with {text:?} in the log:\n{}", self.text()))
    }

    fn wait_for_end(&self) {
        let state = self.0.0.lock().unwrap();
        let _ended = self.0.1.wait_timeout_while(state, DEADLINE, |state| !state.1).unwrap();
    }
}

/// A WebSocket to the daemon. A read fails after the deadline.
pub struct Client<S = TcpStream>(pub WebSocket<S>);

impl Client {
    /// Opens a WebSocket over a connection to the daemon.
    pub fn open(stream: TcpStream, url: &str) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(tungstenite::client(url, stream).unwrap().0)
    }
}

impl Client<UnixStream> {
    /// Opens a WebSocket over a Unix socket.
    pub fn over(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(tungstenite::client("ws://localhost/", stream).unwrap().0)
    }
}

impl<S: Read + Write> Client<S> {
    /// Sends a text message.
    pub fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).unwrap();
    }

    /// Sends a message with this name and text.
    pub fn say(&mut self, usr: &str, msg: &str) {
        self.send(&serde_json::json!({ "usr": usr, "msg": msg }).to_string());
    }

    /// The next message or notice; presence is skipped.
    pub fn text(&mut self) -> String {
        loop {
            let text = self.any_text();
            if !is_presence(text.as_bytes()) {
                return text;
            }
        }
    }

    /// The field `room` of the next presence, before which nothing else comes.
    pub fn presence(&mut self) -> Value {
        let text = self.any_text();
        assert!(is_presence(text.as_bytes()), "{text}");
        serde_json::from_str::<Value>(&text).unwrap()["room"].take()
    }

    /// The next text; pings and pongs are skipped.
    pub fn any_text(&mut self) -> String {
        loop {
            match self.0.read().unwrap() {
                Message::Text(text) => return text.to_string(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("not a text: {other:?}"),
            }
        }
    }

    /// The next text message, as JSON.
    pub fn json(&mut self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// The next text message's `msg`.
    pub fn hear(&mut self) -> String {
        self.json()["msg"].as_str().unwrap().to_owned()
    }

    /// Reads up to the close frame of the server and answers it. Returns the messages and notices
    /// before it, its code and its reason.
    pub fn closed(&mut self) -> (Vec<String>, u16, String) {
        let (mut texts, start) = (Vec::new(), Instant::now());
        loop {
            // Pings could arrive for ever.
            assert!(start.elapsed() < 2 * DEADLINE, "no close frame");
            match self.0.read().unwrap() {
                Message::Text(text) if is_presence(text.as_bytes()) => {}
                Message::Text(text) => texts.push(text.to_string()),
                Message::Close(Some(CloseFrame { code, reason })) => {
                    // Sends the answer, unless it is sent already.
                    let _ = self.0.flush();
                    return (texts, code.into(), reason.to_string());
                }
                Message::Close(None) => panic!("a close frame without a code"),
                _ => {}
            }
        }
    }
}

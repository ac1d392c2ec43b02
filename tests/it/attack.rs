//! Measures an attack: well-behaved clients listen, speak and join in a daemon
//! while attackers send to it, and must not notice the attack.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use wschat::ws::frame::client_frame;

use crate::harness::{Client, DEADLINE, Daemon, UPGRADE, until};

/// The source addresses of well-behaved clients and of attackers.
const CLIENT_ADDRESS: &str = "127.0.0.3";
const ATTACKER_ADDRESS: &str = "127.0.0.2";

const LISTENERS: usize = 10;
/// The time between two messages of the speaker; no limit forbids it.
const SEND_INTERVAL: Duration = Duration::from_millis(60);
const ATTACK_TIME: Duration = Duration::from_secs(3);

/// A higher latency than this is a failure; the machine may cause any lower one.
const LATENCY_SLACK: Duration = Duration::from_millis(100);
/// Most of these rounds must pass. A busy machine may stall in one of them, although
/// the control room is then slow, too.
const ROUNDS: usize = 3;
/// The longest time that a join may take: shorter than any timeout that an attacker
/// could exhaust.
const JOIN_MAX: Duration = Duration::from_secs(8);

/// A text that no listener may receive.
pub const AS_THE_SERVER: &str = "I am the server";

/// An attack on a daemon, and the daemon that it is compared with.
pub struct Attack {
    /// The room that is attacked.
    attacked: Room,
    /// A room without attackers: it shows how slow the machine itself is.
    control: Room,
    growth_bytes_max: usize,
}

/// A daemon with a well-behaved speaker and well-behaved listeners.
struct Room {
    daemon: Daemon,
    token: Option<String>,
    listeners: Vec<Listener>,
    speaker: Speaker,
}

/// Whether the attack goes on.
pub struct Running(AtomicBool);

impl Running {
    /// Waits for the next round, and says whether there is one. Some hundred rounds
    /// a second load the daemon, but not the machine.
    pub fn next_round(&self) -> bool {
        thread::sleep(Duration::from_millis(3));
        self.0.load(Ordering::SeqCst)
    }
}

impl Attack {
    /// Starts the daemons, with this configuration.
    pub fn on(config: &str) -> Self {
        let (attacked, control) = (Room::with(config), Room::with(config));
        Self { attacked, control, growth_bytes_max: 32 << 20 }
    }

    /// Gives the speaker this token.
    pub fn token(mut self, token: String) -> Self {
        self.control.token = Some(token.clone());
        self.attacked.token = Some(token);
        self
    }

    /// A well-behaved client in the room.
    pub fn newcomer(&self) -> Client {
        self.attacked.newcomer()
    }

    /// Measures without and then with the attack, and checks that listeners receive
    /// everything in time, that clients can join, and that the daemon's memory is
    /// bounded.
    pub fn check(self, attack: impl Fn(&Daemon, &Running) + Sync) {
        // Two attacks at once would load the machine. A failed one poisons the lock.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let start = Instant::now();
        thread::scope(|scope| {
            let _guards = [&self.attacked, &self.control].map(|room| room.fill(scope, start));
            // Every daemon's memory grows with its first clients.
            self.attacked.watch(SEND_INTERVAL * 5);
            let (mut passed, mut failed) = (0, Vec::new());
            while passed <= ROUNDS / 2 {
                match self.measure(&attack, start) {
                    Ok(()) => passed += 1,
                    Err(reason) => failed.push(reason),
                }
                assert!(failed.len() <= ROUNDS / 2, "{failed:?}");
            }
        });
        self.attacked.check();
        self.control.check();
    }

    /// Measures one round; an error if well-behaved clients had to wait.
    fn measure(
        &self,
        attack: &(impl Fn(&Daemon, &Running) + Sync),
        start: Instant,
    ) -> Result<(), String> {
        let running = Running(AtomicBool::new(true));
        let from = start.elapsed();
        // A slow machine still has work of the attack before.
        let before = memory(&self.attacked.daemon);
        let (attacked, control) = thread::scope(|scope| {
            let attacking = scope.spawn(|| attack(&self.attacked.daemon, &running));
            let control = scope.spawn(|| self.control.watch(ATTACK_TIME));
            let attacked = self.attacked.watch(ATTACK_TIME);
            running.0.store(false, Ordering::SeqCst);
            attacking.join().unwrap();
            (attacked, control.join().unwrap())
        });
        let to = start.elapsed();
        let (here, there) = (self.attacked.p99(from, to), self.control.p99(from, to));
        let growth = attacked.memory.saturating_sub(before);
        println!(
            "p99 {here:.1?} attacked, {there:.1?} control; joined within {:.1?} and {:.1?}; \
             {} KiB more",
            attacked.join,
            control.join,
            growth / 1024
        );
        assert!(growth < self.growth_bytes_max, "{growth} bytes more");
        match here <= 10 * there + LATENCY_SLACK && attacked.join < JOIN_MAX.max(10 * control.join)
        {
            true => Ok(()),
            false => Err(format!(
                "{here:?} attacked, {there:?} control, joined within {:?}",
                attacked.join
            )),
        }
    }
}

impl Room {
    fn with(config: &str) -> Self {
        let daemon = Daemon::start(&format!("{config}\n[server]\nthreads = 2\n"));
        let listeners = (0..LISTENERS).map(|_| Listener::default()).collect();
        Self { daemon, token: None, listeners, speaker: Speaker::default() }
    }

    /// Starts the speaker and the listeners. The speaker speaks until the guard is
    /// dropped.
    fn fill<'scope>(
        &'scope self,
        scope: &'scope thread::Scope<'scope, '_>,
        start: Instant,
    ) -> StopGuard<'scope> {
        let listeners: Vec<_> =
            self.listeners.iter().map(|listener| (listener, self.newcomer())).collect();
        for (listener, client) in listeners {
            scope.spawn(move || listener.listen(client, start));
        }
        scope.spawn(move || self.speak(start));
        StopGuard(&self.speaker)
    }

    /// Checks that every listener received every message in order.
    fn check(&self) {
        let sent_count = self.speaker.sent_count.load(Ordering::SeqCst);
        for listener in &self.listeners {
            let numbers: Vec<_> =
                listener.received().iter().map(|received| received.number).collect();
            assert_eq!(numbers, (0..sent_count).collect::<Vec<_>>(), "every message, in its order");
        }
    }

    /// The 99th percentile of the latency of the messages sent in this time, which is
    /// counted from the start.
    fn p99(&self, from: Duration, to: Duration) -> Duration {
        let sent_count = self.speaker.sent_count.load(Ordering::SeqCst) as usize;
        until("all messages", || {
            self.listeners
                .iter()
                .all(|listener| listener.received().len() >= sent_count)
                .then_some(())
        });
        let mut latencies = Vec::new();
        for listener in &self.listeners {
            let received = listener.received();
            let within = received.iter().filter(|received| (from..to).contains(&received.sent));
            latencies.extend(within.map(|received| received.latency));
        }
        latencies.sort_unstable();
        latencies[latencies.len() * 99 / 100]
    }

    /// Joins again and again for this time, and measures.
    fn watch(&self, time: Duration) -> Measured {
        let mut measured = Measured::default();
        let start = Instant::now();
        while start.elapsed() < time {
            let begin = Instant::now();
            let newcomer = self.newcomer();
            measured.join = measured.join.max(begin.elapsed());
            measured.memory = measured.memory.max(memory(&self.daemon));
            drop(newcomer);
            thread::sleep(SEND_INTERVAL);
        }
        measured
    }

    /// A well-behaved client in the room.
    fn newcomer(&self) -> Client {
        Client::open(connect(&self.daemon, CLIENT_ADDRESS).expect("a connection"), "ws://room/")
    }

    /// Sends a number and the time, again and again.
    fn speak(&self, start: Instant) {
        let speaker = &self.speaker;
        let mut client = self.newcomer();
        client.0.get_ref().set_nonblocking(true).unwrap();
        let mut number = 0u32;
        loop {
            let last = speaker.stopping.load(Ordering::SeqCst);
            let message = json!({
                "usr": "healthy",
                "msg": "",
                "jwt": self.token,
                "number": number,
                "sent": start.elapsed().as_micros() as u64,
                "last": last,
            });
            client.send(&message.to_string());
            // Discards what the speaker itself receives.
            while client.0.read().is_ok() {}
            number += 1;
            speaker.sent_count.store(number.into(), Ordering::SeqCst);
            if last {
                return;
            }
            let next = SEND_INTERVAL * number;
            thread::sleep(next.saturating_sub(start.elapsed()));
        }
    }
}

/// The worst values seen.
#[derive(Default)]
struct Measured {
    join: Duration,
    memory: usize,
}

/// The state of the well-behaved speaker.
#[derive(Default)]
struct Speaker {
    sent_count: AtomicU64,
    stopping: AtomicBool,
}

/// Makes the speaker send its last message when it is dropped.
struct StopGuard<'a>(&'a Speaker);

impl Drop for StopGuard<'_> {
    fn drop(&mut self) {
        self.0.stopping.store(true, Ordering::SeqCst);
    }
}

/// What a well-behaved listener has received.
#[derive(Default)]
struct Listener(Mutex<Vec<Received>>);

struct Received {
    number: u64,
    /// Counted from the start.
    sent: Duration,
    latency: Duration,
}

impl Listener {
    fn received(&self) -> MutexGuard<'_, Vec<Received>> {
        self.0.lock().unwrap()
    }

    /// Receives up to the last message.
    fn listen(&self, mut client: Client, start: Instant) {
        loop {
            let text = client.text();
            let now = start.elapsed();
            assert!(!text.contains(AS_THE_SERVER), "{text}");
            assert!(text.chars().all(|c| c >= ' '), "{text:?}");
            let message: Value = serde_json::from_str(&text).unwrap();
            if message["usr"] == "healthy" {
                let sent = Duration::from_micros(message["sent"].as_u64().unwrap());
                let latency = now.saturating_sub(sent);
                let number = message["number"].as_u64().unwrap();
                self.received().push(Received { number, sent, latency });
                if message["last"] == true {
                    return;
                }
            }
        }
    }
}

/// A connection of an attacker: it never waits, and never answers.
pub struct Attacker {
    stream: TcpStream,
    unsent: Vec<u8>,
}

impl Attacker {
    /// Connects, without a handshake.
    pub fn connect(daemon: &Daemon) -> Option<Self> {
        let stream = connect(daemon, ATTACKER_ADDRESS)?;
        stream.set_nonblocking(true).ok()?;
        Some(Self { stream, unsent: Vec::new() })
    }

    /// Connects and joins; `None` if the server refuses.
    pub fn join(daemon: &Daemon) -> Option<Self> {
        let mut stream = connect(daemon, ATTACKER_ADDRESS)?;
        stream.write_all(UPGRADE.as_bytes()).ok()?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).ok()?;
        let is_in = head.ends_with(b" 101");
        stream.set_nonblocking(true).ok()?;
        is_in.then_some(Self { stream, unsent: Vec::new() })
    }

    /// Tries to join this many times.
    pub fn join_many(daemon: &Daemon, attackers: usize) -> Vec<Self> {
        (0..attackers).filter_map(|_| Self::join(daemon)).collect()
    }

    /// Sends `bytes`, or the rest of the bytes before; false if the connection is lost.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        if self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
        }
        match self.stream.write(&self.unsent) {
            Ok(sent) => drop(self.unsent.drain(..sent)),
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
        true
    }

    /// Reads what has arrived; false at the end of the stream.
    pub fn drain(&mut self) -> bool {
        let mut buffer = [0; 65_536];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }
}

/// Connects from this address; `None` if the system has no descriptor or port left.
fn connect(daemon: &Daemon, from: &str) -> Option<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).ok()?;
    let from: IpAddr = from.parse().ok()?;
    socket.bind(&SocketAddr::from((from, 0)).into()).ok()?;
    socket.connect_timeout(&daemon.addr.into(), DEADLINE).ok()?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    stream.set_nodelay(true).ok()?;
    Some(stream)
}

/// A text frame of a client.
pub fn text(text: &str) -> Vec<u8> {
    client_frame(0x81, text.as_bytes())
}

/// How many connections an attack may open, so that enough descriptors are left for
/// the other clients and tests in this process.
pub fn descriptors() -> usize {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).unwrap();
    hard.map_or(usize::MAX, |hard| usize::try_from(hard).unwrap()).saturating_sub(2_500).max(500)
}

/// Resident memory in bytes.
pub fn memory(daemon: &Daemon) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

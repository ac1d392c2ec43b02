//! A room under siege: healthy listeners, a speaker and newcomers in a daemon,
//! who are not to notice the clients that mean harm.

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

use crate::harness::{Client, DEADLINE, Daemon, UPGRADE, until};

/// Where the healthy come from, and where those do who mean harm.
const HOME: &str = "127.0.0.3";
const ABROAD: &str = "127.0.0.2";

const LISTENERS: usize = 10;
/// The speaker's pace, which no limit minds.
const PACE: Duration = Duration::from_millis(60);
const SIEGE: Duration = Duration::from_secs(3);

/// What nobody would call unnoticed; everything under it may be the machine.
const SLACK: Duration = Duration::from_millis(100);
/// Of so many rounds most have to be good: a machine that has other things to do
/// may stall once, though a room beside that nobody attacks feels that, too.
const ROUNDS: usize = 3;
/// How long a newcomer may take into the room: less than any timeout by which an
/// attacker could hold it up.
const JOIN_MAX: Duration = Duration::from_secs(8);

/// What nobody is to hear.
pub const AS_THE_SERVER: &str = "I am the server";

/// A siege to be endured.
pub struct Siege {
    /// The room that is attacked.
    attacked: Room,
    /// One like it that nobody attacks: what is felt here is the machine.
    beside: Room,
    growth_bytes_max: usize,
}

/// A room with a healthy speaker and healthy listeners.
struct Room {
    daemon: Daemon,
    token: Option<String>,
    ears: Vec<Ear>,
    mouth: Mouth,
}

/// Whether an attack still goes on.
pub struct Going(AtomicBool);

impl Going {
    /// Asked between two strokes, of which there are some hundred in a second:
    /// it is the daemon that is to be tried, not the machine.
    pub fn on(&self) -> bool {
        thread::sleep(Duration::from_millis(3));
        self.0.load(Ordering::SeqCst)
    }
}

impl Siege {
    /// Of a daemon with this configuration.
    pub fn of(config: &str) -> Self {
        let (attacked, beside) = (Room::with(config), Room::with(config));
        Self { attacked, beside, growth_bytes_max: 32 << 20 }
    }

    /// The healthy speaker has this token.
    pub fn token(mut self, token: String) -> Self {
        self.beside.token = Some(token.clone());
        self.attacked.token = Some(token);
        self
    }

    /// Somebody healthy, in the room.
    pub fn newcomer(&self) -> Client {
        self.attacked.newcomer()
    }

    /// Measures while all is calm and then while `attack` goes on: the healthy
    /// get everything, in time, newcomers get in, and the daemon's memory is
    /// bounded.
    pub fn endures(self, attack: impl Fn(&Daemon, &Going) + Sync) {
        // Two of them at once would try the machine; one that failed is over.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let start = Instant::now();
        thread::scope(|scope| {
            let _hush = [&self.attacked, &self.beside].map(|room| room.fill(scope, start));
            // What every daemon needs with its first clients is no matter of an attack.
            let calm = self.attacked.watch(PACE * 5);
            let (mut good, mut bad) = (0, Vec::new());
            while good <= ROUNDS / 2 {
                match self.besiege(&attack, start, &calm) {
                    Ok(()) => good += 1,
                    Err(verdict) => bad.push(verdict),
                }
                assert!(bad.len() <= ROUNDS / 2, "{bad:?}");
            }
        });
        self.attacked.check();
        self.beside.check();
    }

    /// One measurement; an error if the healthy had to wait.
    fn besiege(
        &self,
        attack: &(impl Fn(&Daemon, &Going) + Sync),
        start: Instant,
        calm: &Watched,
    ) -> Result<(), String> {
        let going = Going(AtomicBool::new(true));
        let begun = start.elapsed();
        let (siege, beside) = thread::scope(|scope| {
            let besieging = scope.spawn(|| attack(&self.attacked.daemon, &going));
            let beside = scope.spawn(|| self.beside.watch(SIEGE));
            let siege = self.attacked.watch(SIEGE);
            going.0.store(false, Ordering::SeqCst);
            besieging.join().unwrap();
            (siege, beside.join().unwrap())
        });
        let over = start.elapsed();
        let (here, there) = (self.attacked.p99(begun, over), self.beside.p99(begun, over));
        let growth = siege.memory.saturating_sub(calm.memory);
        println!(
            "p99 {here:.1?} besieged, {there:.1?} beside; into the room within {:.1?} and {:.1?}; \
             {} KiB more",
            siege.join,
            beside.join,
            growth / 1024
        );
        assert!(growth < self.growth_bytes_max, "{growth} bytes more");
        match here <= 10 * there + SLACK && siege.join < JOIN_MAX.max(10 * beside.join) {
            true => Ok(()),
            false => Err(format!("{here:?} besieged, {there:?} beside, in {:?}", siege.join)),
        }
    }
}

impl Room {
    fn with(config: &str) -> Self {
        let daemon = Daemon::start(&format!("{config}\n[server]\nthreads = 2\n"));
        let ears = (0..LISTENERS).map(|_| Ear::default()).collect();
        Self { daemon, token: None, ears, mouth: Mouth::default() }
    }

    /// Lets the speaker and the listeners in. Until what is given back is dropped
    /// the speaker speaks.
    fn fill<'scope>(
        &'scope self,
        scope: &'scope thread::Scope<'scope, '_>,
        start: Instant,
    ) -> Hush<'scope> {
        let listeners: Vec<_> = self.ears.iter().map(|ear| (ear, self.newcomer())).collect();
        for (ear, client) in listeners {
            scope.spawn(move || ear.listen(client, start));
        }
        scope.spawn(move || self.speak(start));
        Hush(&self.mouth)
    }

    /// Every listener has heard every message, in its order.
    fn check(&self) {
        let said = self.mouth.said.load(Ordering::SeqCst);
        for ear in &self.ears {
            let numbers: Vec<_> = ear.heard().iter().map(|heard| heard.number).collect();
            assert_eq!(numbers, (0..said).collect::<Vec<_>>(), "every message, in its order");
        }
    }

    /// How long nearly all messages took that were sent in this time, since the start.
    fn p99(&self, from: Duration, to: Duration) -> Duration {
        let said = self.mouth.said.load(Ordering::SeqCst) as usize;
        until("what was said", || {
            self.ears.iter().all(|ear| ear.heard().len() >= said).then_some(())
        });
        let mut latencies = Vec::new();
        for ear in &self.ears {
            let heard = ear.heard();
            let within = heard.iter().filter(|heard| (from..to).contains(&heard.sent));
            latencies.extend(within.map(|heard| heard.latency));
        }
        latencies.sort_unstable();
        latencies[latencies.len() * 99 / 100]
    }

    /// Lets newcomers in for so long.
    fn watch(&self, time: Duration) -> Watched {
        let mut watched = Watched::default();
        let start = Instant::now();
        while start.elapsed() < time {
            let begin = Instant::now();
            let newcomer = self.newcomer();
            watched.join = watched.join.max(begin.elapsed());
            watched.memory = watched.memory.max(memory(&self.daemon));
            drop(newcomer);
            thread::sleep(PACE);
        }
        watched
    }

    /// Somebody healthy, in the room.
    fn newcomer(&self) -> Client {
        Client::open(connect(&self.daemon, HOME).expect("a door"), "ws://room/")
    }

    /// Says a number and the time, again and again.
    fn speak(&self, start: Instant) {
        let mouth = &self.mouth;
        let mut client = self.newcomer();
        client.0.get_ref().set_nonblocking(true).unwrap();
        let mut number = 0u32;
        loop {
            let last = mouth.hushed.load(Ordering::SeqCst);
            let message = json!({
                "usr": "healthy",
                "msg": "",
                "jwt": self.token,
                "number": number,
                "sent": start.elapsed().as_micros() as u64,
                "last": last,
            });
            client.send(&message.to_string());
            // What it hears itself is of no interest here.
            while client.0.read().is_ok() {}
            number += 1;
            mouth.said.store(number.into(), Ordering::SeqCst);
            if last {
                return;
            }
            let next = PACE * number;
            thread::sleep(next.saturating_sub(start.elapsed()));
        }
    }
}

/// The worst that was seen.
#[derive(Default)]
struct Watched {
    join: Duration,
    memory: usize,
}

/// What the healthy speaker has said so far.
#[derive(Default)]
struct Mouth {
    said: AtomicU64,
    hushed: AtomicBool,
}

/// Lets the speaker say its last word when it is dropped.
struct Hush<'a>(&'a Mouth);

impl Drop for Hush<'_> {
    fn drop(&mut self) {
        self.0.hushed.store(true, Ordering::SeqCst);
    }
}

/// What a healthy listener has heard of it.
#[derive(Default)]
struct Ear(Mutex<Vec<Heard>>);

struct Heard {
    number: u64,
    /// Since the start.
    sent: Duration,
    latency: Duration,
}

impl Ear {
    fn heard(&self) -> MutexGuard<'_, Vec<Heard>> {
        self.0.lock().unwrap()
    }

    /// Listens to the last word.
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
                self.heard().push(Heard { number, sent, latency });
                if message["last"] == true {
                    return;
                }
            }
        }
    }
}

/// A connection of somebody who means harm: it never waits, and never answers.
pub struct Foe {
    stream: TcpStream,
    unsent: Vec<u8>,
}

impl Foe {
    /// At the door.
    pub fn connect(daemon: &Daemon) -> Option<Self> {
        let stream = connect(daemon, ABROAD)?;
        stream.set_nonblocking(true).ok()?;
        Some(Self { stream, unsent: Vec::new() })
    }

    /// In the room, if it is let in.
    pub fn enter(daemon: &Daemon) -> Option<Self> {
        let mut stream = connect(daemon, ABROAD)?;
        stream.write_all(UPGRADE.as_bytes()).ok()?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).ok()?;
        let is_in = head.ends_with(b" 101");
        stream.set_nonblocking(true).ok()?;
        is_in.then_some(Self { stream, unsent: Vec::new() })
    }

    /// So many that are in the room.
    pub fn crowd(daemon: &Daemon, foes: usize) -> Vec<Self> {
        (0..foes).filter_map(|_| Self::enter(daemon)).collect()
    }

    /// Sends `bytes`, or what is left of those before; false if it is cut off.
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

    /// Takes what there is; false at the end.
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

/// A connection from `from`; none if the system has no descriptor or port left.
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

/// A frame of a client, masked with zeros.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u8::try_from(payload.len()) {
        Ok(length @ ..126) => frame.push(0x80 | length),
        _ => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// A text message.
pub fn text(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes())
}

/// How many connections an attack may open beside those of the healthy, and of
/// other tests in this process.
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

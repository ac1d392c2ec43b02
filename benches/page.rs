//! Figures of the chat page in real browsers, with a real daemon on loopback:
//!
//! - the time until the page is connected, if a round trip takes 150 ms;
//! - the time until a key is answered, and the memory, at 1,000 messages/s for a minute.
//!
//! `cargo bench --profile dev --bench page` runs it after `tests/run browser` has installed the
//! browsers. With words, only figures whose names contain one of them, such as "flood Firefox".

#[allow(dead_code, reason = "the tests of the page need more of it")]
#[path = "../tests/browser/driver.rs"]
mod driver;
#[allow(dead_code, reason = "the tests of the daemon need more of it")]
#[path = "../tests/it/harness.rs"]
mod harness;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use driver::{BROWSERS, Browser, Page, run};
use harness::{Daemon, until};
use serde_json::{Value, json};

const ROUND_TRIP: Duration = Duration::from_millis(150);
/// What a server sends before the first acknowledgement (RFC 6928), without headers of TCP.
const SEGMENT_BYTES: usize = 1_448;
const WINDOW_BYTES: usize = 10 * SEGMENT_BYTES;

const FLOOD_SECS: u64 = 60;
const FLOOD_PER_SEC: u64 = 1_000;
/// Keys are pressed so often.
const KEY_INTERVAL: Duration = Duration::from_millis(150);

fn main() {
    // cargo passes `--bench`.
    let words: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_asked =
        |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    for browser in BROWSERS {
        if is_asked(&format!("connected {browser:?}")) {
            connected(browser);
        }
    }
    for browser in BROWSERS {
        if is_asked(&format!("flood {browser:?}")) {
            run(flood(browser));
        }
    }
}

/// Prints the time from the connection of a new browser until it has a WebSocket.
fn connected(browser: Browser) {
    let daemon = Daemon::start("");
    let mut times: Vec<_> = (0..5)
        .map(|_| {
            let network = FarNetwork::to(daemon.addr);
            let page = run(Page::visit(browser, &format!("http://{}/", network.address)));
            let time = until("the page is connected", || *network.connected.lock().unwrap());
            drop(page);
            time.as_secs_f64()
        })
        .collect();
    times.sort_unstable_by(f64::total_cmp);
    println!(
        "{browser:?}: connected after {:.2} s ({:.2} to {:.2}) at a round trip of {:.2} s",
        times[2],
        times[0],
        times[4],
        ROUND_TRIP.as_secs_f64()
    );
}

/// A proxy to the daemon, whose connections behave like TCP over a long distance: the handshake
/// and each direction take their time, and the server begins with a small window.
struct FarNetwork {
    address: SocketAddr,
    /// From the connection of the first request until the browser has a WebSocket.
    connected: Arc<Mutex<Option<Duration>>>,
}

impl FarNetwork {
    fn to(room: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connected = Arc::new(Mutex::new(None));
        let (shared, first) = (connected.clone(), Arc::new(Mutex::new(None::<Instant>)));
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let (connected, first) = (shared.clone(), first.clone());
                let opened = Instant::now();
                thread::spawn(move || {
                    // A browser can connect without a request.
                    let mut head = [0; 4096];
                    let length = near.peek(&mut head).unwrap_or(0);
                    let is_websocket =
                        String::from_utf8_lossy(&head[..length]).contains("Sec-WebSocket-Key");
                    let far = TcpStream::connect(room).unwrap();
                    let first = *first.lock().unwrap().get_or_insert(opened);
                    let to_server = late(far.try_clone().unwrap(), || ());
                    let has_answer = move || {
                        if is_websocket {
                            connected.lock().unwrap().get_or_insert(first.elapsed());
                        }
                    };
                    let to_browser = late(near.try_clone().unwrap(), has_answer);
                    let upwards = near.try_clone().unwrap();
                    let established = opened + ROUND_TRIP;
                    thread::spawn(move || carry(upwards, established, usize::MAX, &to_server));
                    carry(far, opened, WINDOW_BYTES, &to_browser);
                });
            }
        });
        Self { address, connected }
    }
}

/// Reads what is sent from `start` on, and passes it on with the time at which it arrives.
fn carry(mut from: TcpStream, start: Instant, mut window: usize, to: &Sender<(Instant, Vec<u8>)>) {
    // When what is on its way is acknowledged.
    let mut sent: VecDeque<(Instant, usize)> = VecDeque::new();
    let mut buffer = [0; SEGMENT_BYTES];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let mut now = Instant::now().max(start);
        while let Some(&(acknowledged, bytes)) = sent.front() {
            let on_the_way: usize = sent.iter().map(|(_, bytes)| bytes).sum();
            if acknowledged > now && on_the_way + count <= window {
                break;
            }
            now = now.max(acknowledged);
            window = window.saturating_add(bytes);
            sent.pop_front();
        }
        sent.push_back((now + ROUND_TRIP, count));
        if to.send((now + ROUND_TRIP / 2, buffer[..count].to_vec())).is_err() {
            return;
        }
    }
}

/// Writes to a socket at the times that are passed; calls `wrote` after the first write.
fn late(mut to: TcpStream, wrote: impl Fn() + Send + 'static) -> Sender<(Instant, Vec<u8>)> {
    let (sender, receiver): (_, Receiver<(Instant, Vec<u8>)>) = channel();
    thread::spawn(move || {
        for (due, bytes) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                return;
            }
            wrote();
        }
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
    sender
}

/// Prints how long keys take while the room is flooded, and what memory the page takes.
async fn flood(browser: Browser) {
    let daemon = Daemon::start(harness::UNLIMITED);
    let page = Page::open_in(browser, daemon.addr).await;
    page.js(
        "(() => {
            window.keys = [];
            // The time from a key until the next picture.
            document.getElementById('msg').addEventListener('keydown', ({ timeStamp }) =>
                requestAnimationFrame(() => setTimeout(() => keys.push(performance.now() - timeStamp))));
            document.getElementById('msg').focus();
        })()",
    )
    .await;
    let sender = Flood::start(&daemon);
    let start = Instant::now();
    let mut memory = Vec::new();
    let mut pressed = 0;
    while start.elapsed() < Duration::from_secs(FLOOD_SECS) {
        page.press_key("a").await;
        pressed += 1;
        if pressed % 100 == 0 {
            page.fill("msg", "").await;
        }
        if browser == Browser::Chromium
            && [10, FLOOD_SECS - 1]
                .get(memory.len())
                .is_some_and(|at| start.elapsed().as_secs() >= *at)
        {
            memory.push(heap(&page).await);
        }
        tokio::time::sleep(KEY_INTERVAL).await;
    }
    let took = start.elapsed();
    let sent = sender.stop();
    page.until_with("keys.length >= $", json!(pressed)).await;
    let shown = page.js("document.querySelectorAll('.line').length").await;
    let keys = page.js("keys").await;
    let mut keys: Vec<_> = keys.as_array().unwrap().iter().filter_map(Value::as_f64).collect();
    keys.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| keys[((keys.len() - 1) as f64 * share) as usize];
    println!(
        "{browser:?}: {:.0} messages/s for {} s, {shown} shown; {} keys: median {:.0} ms, 95 % {:.0} ms, 99 % {:.0} ms, longest {:.0} ms, over 100 ms: {}{}",
        sent as f64 / took.as_secs_f64(),
        took.as_secs(),
        keys.len(),
        at(0.5),
        at(0.95),
        at(0.99),
        at(1.0),
        keys.iter().filter(|ms| **ms > 100.0).count(),
        memory.iter().map(|heap| format!("; {heap}")).collect::<String>(),
    );
}

/// What the page holds after a garbage collection.
async fn heap(page: &Page) -> String {
    page.devtools("HeapProfiler.enable", json!({})).await;
    page.devtools("HeapProfiler.collectGarbage", json!({})).await;
    let usage = page.devtools("Runtime.getHeapUsage", json!({})).await;
    let counters = page.devtools("Memory.getDOMCounters", json!({})).await;
    let bytes = usage["usedSize"].as_f64().unwrap();
    format!("heap {:.1} MB, {} nodes", bytes / 1e6, counters["nodes"])
}

/// A user who sends messages until `stop`.
struct Flood {
    stops: Arc<AtomicBool>,
    thread: thread::JoinHandle<u64>,
}

impl Flood {
    fn start(daemon: &Daemon) -> Self {
        let mut client = daemon.connect();
        let mut answers = client.0.get_ref().try_clone().unwrap();
        thread::spawn(move || while answers.read(&mut [0; 65_536]).is_ok_and(|count| count > 0) {});
        let stops = Arc::new(AtomicBool::new(false));
        let stopped = stops.clone();
        let thread = thread::spawn(move || {
            let start = Instant::now();
            for number in 0.. {
                let due = start + Duration::from_micros(number * 1_000_000 / FLOOD_PER_SEC);
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if stopped.load(Ordering::Relaxed) {
                    let _ = client.0.get_ref().shutdown(std::net::Shutdown::Both);
                    return number;
                }
                let text = "the quick brown fox jumps over the lazy dog, https://example.org/";
                client.say(&format!("user {}", number / 3 % 40), &format!("{number} {text}"));
            }
            0
        });
        Self { stops, thread }
    }

    /// Stops, and returns how many messages were sent.
    fn stop(self) -> u64 {
        self.stops.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

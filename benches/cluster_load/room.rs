//! Clients of the nodes: as little work as possible for each message, because they share the
//! processors with what they measure.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{DELAY_MAX_NANOS, Result, delays, nanos};

/// Time before the measurement.
const WARM_UP: Duration = Duration::from_secs(1);
/// What each message starts with; its sender and its number follow, in hexadecimal digits.
const START: &str = r#"{"usr":"bench","msg":""#;
const SENDER_DIGITS: usize = 4;
const NUMBER_DIGITS: usize = 8;
/// The most bytes of a message, so that the header of its frame has one length.
const SIZE_MAX: usize = 60_000;
/// The most messages in one write.
const FRAMES_MAX: usize = 64;

#[derive(clap::Args)]
pub struct Options {
    /// Senders on each node
    #[arg(long, default_value_t = 1)]
    senders: usize,
    /// Listeners on each node that do not send
    #[arg(long, default_value_t = 1)]
    listeners: usize,
    /// Messages in flight of each sender
    #[arg(long, default_value_t = 64)]
    window: usize,
    /// Messages per second, of all senders
    #[arg(long, default_value_t = 100)]
    rate: u64,
    /// Length of the JSON of a message
    #[arg(long, default_value_t = 200)]
    size: usize,
    /// Length of the measurement in seconds
    #[arg(long, default_value_t = 5)]
    secs: u64,
    /// Addresses of the nodes
    nodes: Vec<SocketAddr>,
}

/// How many messages each listener has received.
pub async fn throughput(options: &Options) -> Result<Value> {
    let mut received = Vec::new();
    for node in &options.nodes {
        for _ in 0..options.listeners {
            let count = Rc::new(Cell::new(0_u64));
            received.push(Rc::clone(&count));
            let client = Client::connect(*node).await?;
            let add = move |_, _| count.set(count.get() + 1);
            tokio::task::spawn_local(client.read_all(add));
        }
    }
    let mut number = 0;
    for node in &options.nodes {
        for _ in 0..options.senders {
            let client = Client::connect(*node).await?;
            tokio::task::spawn_local(send_window(client, number, options.window, options.size));
            number += 1;
        }
    }
    sleep(WARM_UP).await;
    let counts = || received.iter().map(|count| count.get()).collect::<Vec<_>>();
    let (before, start) = (counts(), Instant::now());
    sleep(Duration::from_secs(options.secs)).await;
    let (after, secs) = (counts(), start.elapsed().as_secs_f64());
    let rates: Vec<_> = before.iter().zip(after).map(|(b, a)| (a - b) as f64 / secs).collect();
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    Ok(json!({ "messages_per_sec": mean, "of_each_listener": rates }))
}

/// Keeps this many messages in flight.
async fn send_window(client: Client, sender: usize, window: usize, size: usize) {
    let mut writer = client.duplicate().expect("a descriptor is free");
    let received = Rc::new((Cell::new(0), Notify::new()));
    let own = Rc::clone(&received);
    tokio::task::spawn_local(client.read_all(move |from, _| {
        let (count, more) = &*own;
        count.set(count.get() + usize::from(from == sender));
        more.notify_one();
    }));
    let mut sent = 0;
    loop {
        let (count, more) = &*received;
        let end = (count.get() + window).min(sent + FRAMES_MAX);
        if sent == end {
            more.notified().await;
            continue;
        }
        let frames: Vec<u8> =
            (sent..end).flat_map(|number| message(sender, number, size)).collect();
        writer.write_all(&frames).await.expect("the node reads");
        sent = end;
    }
}

/// How long each message took to a listener of another node than that of its sender.
pub async fn delay(options: &Options) -> Result<Value> {
    let histogram = Rc::new(RefCell::new(Histogram::new_with_max(DELAY_MAX_NANOS, 3)?));
    let due = Rc::new(RefCell::new(Vec::new()));
    let first = Rc::new(Cell::new(usize::MAX));
    let nodes = options.nodes.len();
    let mut senders = Vec::new();
    for (place, node) in options.nodes.iter().enumerate() {
        // A sender reads, too, so that the node can write.
        let sender = Client::connect(*node).await?;
        senders.push(sender.duplicate()?);
        tokio::task::spawn_local(sender.read_all(|_, _| {}));
        let (histogram, due) = (Rc::clone(&histogram), Rc::clone(&due));
        let first = Rc::clone(&first);
        let record = move |sender: usize, number: usize| {
            if sender != place && number >= first.get() {
                let sent: &Vec<Instant> = &due.borrow();
                histogram.borrow_mut().saturating_record(nanos(sent[number].elapsed()));
            }
        };
        tokio::task::spawn_local(Client::connect(*node).await?.read_all(record));
    }
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(options.rate)?);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let start = Instant::now();
    while start.elapsed() < WARM_UP + Duration::from_secs(options.secs) {
        ticks.tick().await;
        let number = due.borrow().len();
        if start.elapsed() > WARM_UP && first.get() == usize::MAX {
            first.set(number);
        }
        due.borrow_mut().push(Instant::now());
        let sender = number % nodes;
        let frame = message(sender, number, options.size);
        senders[sender].write_all(&frame).await?;
    }
    sleep(WARM_UP).await;
    Ok(delays(&histogram.borrow()))
}

/// The masked frame of a message.
fn message(sender: usize, number: usize, size: usize) -> Vec<u8> {
    let mut text = format!("{START}{sender:04x}{number:08x}");
    let filler = size.min(SIZE_MAX).saturating_sub(text.len() + 2);
    text.extend(std::iter::repeat_n('x', filler));
    text.push_str("\"}");
    let mut frame = vec![0x81];
    match u8::try_from(text.len()) {
        Ok(length @ 0..=125) => frame.push(0x80 | length),
        _ => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    // A mask of zeros changes nothing.
    frame.extend([0; 4]);
    frame.extend(text.into_bytes());
    frame
}

/// A WebSocket, after its handshake.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    async fn connect(node: SocketAddr) -> Result<Self> {
        let mut stream = TcpStream::connect(node).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {node}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut buffer = Vec::with_capacity(1 << 20);
        let end = loop {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Err("the node has closed the connection".into());
            }
            if let Some(at) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
        };
        if !buffer.starts_with(b"HTTP/1.1 101 ") {
            return Err(String::from_utf8_lossy(&buffer).into());
        }
        buffer.drain(..end);
        Ok(Self { stream, buffer })
    }

    /// Another handle of the socket, to write while this one reads.
    fn duplicate(&self) -> Result<TcpStream> {
        let socket = rustix::io::fcntl_dupfd_cloexec(&self.stream, 0)?;
        Ok(TcpStream::from_std(socket.into())?)
    }

    /// Reads until the end of the program.
    async fn read_all(mut self, mut received: impl FnMut(usize, usize)) {
        while let Ok(()) = self.read(&mut received).await.inspect_err(|error| {
            eprintln!("{error}");
            std::process::exit(1);
        }) {}
    }

    /// Reads what has arrived; tells the sender and the number of each message.
    async fn read(&mut self, mut received: impl FnMut(usize, usize)) -> Result<()> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err("the node has closed the connection".into());
        }
        let mut rest = &self.buffer[..];
        while let [opcode, length, tail @ ..] = rest {
            let (length, tail) = match (length, tail) {
                (126, [high, low, tail @ ..]) => {
                    (usize::from(u16::from_be_bytes([*high, *low])), tail)
                }
                (0..126, _) => (usize::from(*length), tail),
                _ => break,
            };
            let Some((text, tail)) = tail.split_at_checked(length) else { break };
            rest = tail;
            match (opcode, text.strip_prefix(START.as_bytes())) {
                (0x81, Some(digits)) => {
                    let (sender, number) = digits.split_at(SENDER_DIGITS);
                    received(hex(sender), hex(&number[..NUMBER_DIGITS]));
                }
                // The nodes do not wait for the answer to a ping.
                (0x89, _) => {}
                // Presence is no message.
                (0x81, None) if text.ends_with(b"}}") => {}
                _ => return Err(String::from_utf8_lossy(text).into()),
            }
        }
        let read = self.buffer.len() - rest.len();
        self.buffer.drain(..read);
        Ok(())
    }
}

fn hex(digits: &[u8]) -> usize {
    let digit = |byte: &u8| (*byte as char).to_digit(16).unwrap_or_default() as usize;
    digits.iter().fold(0, |number, byte| number << 4 | digit(byte))
}

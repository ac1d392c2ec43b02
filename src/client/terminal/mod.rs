//! The client on a terminal.
//!
//! ```text
//! keys ─► input ─► command ─► chat ─► orders ─► session ─► link
//! link ─► session ─► news ─► chat ─► pane ─► screen
//! ```
//!
//! `chat` holds what is known and decides; it takes keys, news and the time,
//! and gives back what to print, so that it is tested without a terminal.

mod backoff;
mod chat;
mod command;
mod input;
mod pane;
mod screen;
mod session;
mod wrap;

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;
use signal_hook::consts::{SIGHUP, SIGTERM};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::{Address, Paint, TokenSource};
use crate::zone;
use chat::{Chat, Step};
use pane::Pane;
use screen::Screen;

pub use backoff::delay;
pub use command::Command;

/// News that wait for the screen; the connection is not read while they do.
const NEWS_MAX: usize = 256;
/// Orders that wait for the connection.
const ORDERS_MAX: usize = 16;
/// How long the size of the terminal must stay before anything is painted: to
/// take the pane away we must know how the terminal broke its rows, and while a
/// window is being dragged we are told the sizes late.
const SETTLE: Duration = Duration::from_millis(300);
/// How often what depends on the time is painted anew.
const TICK: Duration = Duration::from_secs(1);

/// The client on a terminal.
#[derive(Debug)]
pub struct Terminal {
    /// The room.
    pub address: Address,
    /// The name to speak under.
    pub usr: String,
    /// The token to speak with.
    pub token: TokenSource,
    /// Colours.
    pub paint: Paint,
}

impl Terminal {
    /// Runs until the user leaves.
    ///
    /// # Errors
    ///
    /// If the terminal fails.
    pub async fn run(self) -> io::Result<()> {
        let (orders, taken) = mpsc::channel(ORDERS_MAX);
        let (told, mut news) = mpsc::channel(NEWS_MAX);
        let session = tokio::spawn(session::run(self.address.clone(), taken, told));
        let mut keys = EventStream::new();
        let mut stop = stop_signals()?;
        let mut signal = [0];
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut settled: Option<Instant> = None;
        let mut screen = Screen::enter()?;
        let mut pane = Pane::default();
        let mut chat =
            Chat::new(self.address, self.usr, self.token, self.paint, zone::here().clone());
        loop {
            let step = tokio::select! {
                key = keys.next() => match key {
                    Some(Ok(Event::Key(key))) => chat.key(key, Instant::now()),
                    Some(Ok(Event::Paste(text))) => chat.paste(&text),
                    Some(Ok(Event::Resize(..))) => {
                        settled = Some(Instant::now() + SETTLE);
                        Step::Idle
                    }
                    Some(Ok(_)) => Step::Idle,
                    // The terminal is gone.
                    Some(Err(_)) | None => Step::Leave,
                },
                told = news.recv() => match told {
                    Some(told) => {
                        let (size, now) = (screen.size(), Instant::now());
                        let mut step = chat.news(told, size, now);
                        // What came meanwhile is painted together with it.
                        for _ in 0..NEWS_MAX {
                            let Ok(told) = news.try_recv() else { break };
                            step = chat.news(told, size, now);
                        }
                        step
                    }
                    None => Step::Leave,
                },
                () = sleep_until(settled.unwrap_or_else(Instant::now)), if settled.is_some() => {
                    settled = None;
                    Step::Paint
                }
                _ = ticks.tick() => chat.tick(Instant::now()),
                _ = stop.read(&mut signal) => Step::Leave,
            };
            for order in chat.orders() {
                // The session lives as long as we hold its other channel.
                let _ = orders.try_send(order);
            }
            let size = screen.size();
            match step {
                Step::Idle => {}
                Step::Paint if settled.is_some() => {}
                Step::Paint => {
                    let above = chat.take_printed();
                    let bytes = pane.paint(&above, chat.view(Instant::now()), size, self.paint);
                    screen.write(&bytes)?;
                }
                Step::Redraw => {
                    pane.forget();
                    screen.write("\x1b[H\x1b[2J")?;
                    screen.write(&pane.paint("", chat.view(Instant::now()), size, self.paint))?;
                }
                Step::Suspend => {
                    screen.write(&pane.clear(size))?;
                    screen = screen.suspend()?;
                    let bytes =
                        pane.paint("", chat.view(Instant::now()), screen.size(), self.paint);
                    screen.write(&bytes)?;
                }
                Step::Leave => break,
            }
        }
        // A terminal that is gone takes no goodbye; leaving is what was wanted.
        let _ = screen.write(&(pane.clear(screen.size()) + &chat.take_printed()));
        drop((orders, news));
        let _ = tokio::time::timeout(TICK, session).await;
        Ok(())
    }
}

/// A stream that becomes readable with SIGTERM or SIGHUP, so that the terminal
/// is given back before the end.
fn stop_signals() -> io::Result<tokio::net::UnixStream> {
    let (read, write) = UnixStream::pair()?;
    for signal in [SIGTERM, SIGHUP] {
        signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
    }
    read.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(read)
}

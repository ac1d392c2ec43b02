//! The interactive client.
//!
//! ```text
//! keys ─► line_editor ─► slash_command ─► app ─► reconnect ─► server
//! server ─► reconnect ─► app ─► footer ─► screen
//! ```

mod app;
mod footer;
mod line_editor;
mod reconnect;
mod screen;
mod slash_command;

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;
use signal_hook::consts::{SIGHUP, SIGTERM};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::connection::ConnectionError;
use super::options::ClientOptions;
use super::render::Renderer;
use super::resume::Resume;
use crate::zone::Zone;
use app::{App, ScreenAction};
use footer::Footer;
use screen::Screen;

/// Events that wait to be shown. While the channel is full, the connection is not read.
const EVENTS_MAX: usize = 256;
/// Commands that wait for the connection.
const COMMANDS_MAX: usize = 16;
/// How long the size of the terminal must stay the same before the client draws.
/// To erase the footer it must know how the terminal wrapped its rows, but while a
/// window is resized the sizes arrive late.
const RESIZE_DELAY: Duration = Duration::from_millis(300);
/// The interval in which the status line is updated.
const TICK: Duration = Duration::from_secs(1);

/// Runs the interactive client until the user exits. The outer errors are those of the
/// terminal; the inner one says why the connection ended, if the client does not reconnect.
pub async fn run(options: ClientOptions) -> io::Result<Result<(), ConnectionError>> {
    let (commands, commands_receiver) = mpsc::channel(COMMANDS_MAX);
    let (events_sender, mut events) = mpsc::channel(EVENTS_MAX);
    let resume = Resume::new(options.url.clone(), options.since);
    let connection =
        tokio::spawn(reconnect::run(resume, options.reconnects, commands_receiver, events_sender));
    let mut keys = EventStream::new();
    let mut stop = stop_signals()?;
    let mut signal = [0];
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut resized: Option<Instant> = None;
    let mut screen = Screen::enter()?;
    let mut footer = Footer::default();
    let colours = options.colours;
    let mut app = App::new(options, Renderer::new(Zone::local(), colours));
    loop {
        app.resize(screen.size());
        let action = tokio::select! {
            key = keys.next() => match key {
                Some(Ok(Event::Key(key))) => app.key(key, Instant::now()),
                Some(Ok(Event::Paste(text))) => app.paste(&text),
                Some(Ok(Event::Resize(..))) => {
                    resized = Some(Instant::now() + RESIZE_DELAY);
                    ScreenAction::None
                }
                Some(Ok(_)) => ScreenAction::None,
                // The terminal is gone.
                Some(Err(_)) | None => ScreenAction::Quit,
            },
            event = events.recv() => match event {
                Some(event) => {
                    let now = Instant::now();
                    let mut action = app.event(event, now);
                    // Draw once for all events that are there.
                    for _ in 0..EVENTS_MAX {
                        let Ok(event) = events.try_recv() else { break };
                        action = app.event(event, now);
                    }
                    action
                }
                None => ScreenAction::Quit,
            },
            () = sleep_until(resized.unwrap_or_else(Instant::now)), if resized.is_some() => {
                resized = None;
                ScreenAction::Draw
            }
            _ = ticks.tick() => app.tick(Instant::now()),
            _ = stop.read(&mut signal) => ScreenAction::Quit,
        };
        for command in app.take_commands() {
            // The receiver lives as long as `events`.
            let _ = commands.try_send(command);
        }
        match action {
            ScreenAction::None => continue,
            ScreenAction::Draw if resized.is_some() => continue,
            ScreenAction::Draw => {}
            ScreenAction::Redraw => {
                footer = Footer::default();
                screen.write("\x1b[H\x1b[2J")?;
            }
            ScreenAction::Suspend => {
                screen.write(&footer.erase(screen.size()))?;
                screen = screen.suspend()?;
            }
            ScreenAction::Quit => break,
        }
        let (above, content) = (app.take_output(), app.footer(Instant::now()));
        screen.write(&footer.draw(&above, content, screen.size(), colours))?;
    }
    // If the terminal is gone, this fails, and the client exits anyway.
    let _ = screen.write(&format!("{}{}", footer.erase(screen.size()), app.take_output()));
    drop((commands, events));
    let end = timeout(TICK, connection).await.ok().and_then(Result::ok).flatten();
    Ok(end.map_or(Ok(()), Err))
}

/// A stream that becomes readable with SIGTERM or SIGHUP, so that the client restores
/// the terminal before it exits.
fn stop_signals() -> io::Result<tokio::net::UnixStream> {
    let (read, write) = UnixStream::pair()?;
    for signal in [SIGTERM, SIGHUP] {
        signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
    }
    read.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(read)
}

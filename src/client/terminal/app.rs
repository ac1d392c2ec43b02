//! The state of the user interface, and how it reacts to keys, to the connection and
//! to time. It does no input or output, so tests need no terminal.

use std::collections::{HashSet, VecDeque};
use std::mem::take;
use std::time::Duration;

use chrono::{NaiveDate, SecondsFormat};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::footer::{FooterContent, Size};
use super::line_editor::LineEditor;
use super::reconnect::{ConnectionCommand, ConnectionEvent, ConnectionState};
use super::slash_command::{HELP, SlashCommand};
use crate::chat::Tim;
use crate::client::message::{Body, Incoming, IncomingKind, encode, new_id};
use crate::client::options::ClientOptions;
use crate::client::render::{DIM, GREEN, RED, Renderer, WARNING, YELLOW};
use crate::client::room_state::RoomState;
use crate::client::sanitize::{sanitize_name, sanitize_text};
use crate::client::token::TokenSource;
use crate::client::wrap::wrap;

/// How long to wait for the room's answer to a message.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long to wait for the answers to all messages before the client exits.
const QUIT_TIMEOUT: Duration = Duration::from_secs(3);
/// Messages that may wait to be sent.
const QUEUE_MAX: usize = 8;
/// So many titles and notices are remembered.
const ANNOUNCED_MAX: usize = 100;

/// The state of the user interface.
pub struct App {
    options: ClientOptions,
    /// The size of the terminal.
    columns: usize,
    /// The token that was read when the connection opened.
    jwt: Option<String>,
    renderer: Renderer,
    connection: ConnectionState,
    editor: LineEditor,
    /// Messages without an answer. Only the first one is sent, so that a notice can
    /// only be about this one.
    queue: VecDeque<Queued>,
    /// The message that had no answer when the connection was lost.
    perhaps_sent: Option<Queued>,
    /// Shown in the status line instead of the connection.
    warning: Option<String>,
    was_connected: bool,
    /// What the server has told last.
    room: RoomState,
    /// The titles and notices that were shown.
    announced: HashSet<String>,
    /// The day of the last message, for the line between two days.
    last_day: Option<NaiveDate>,
    output: String,
    commands: Vec<ConnectionCommand>,
    quit_at: Option<Instant>,
}

struct Queued {
    typed: String,
    /// The command; `None` if `typed` is a message.
    cmd: Option<Value>,
    id: String,
    sent_at: Option<Instant>,
}

/// What the event loop must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScreenAction {
    None,
    /// Print the output and draw the footer.
    Draw,
    /// The same on an empty screen.
    Redraw,
    /// Stop the process until the shell continues it.
    Suspend,
    Quit,
}

impl App {
    pub fn new(options: ClientOptions, renderer: Renderer) -> Self {
        let warning = options.token_warning();
        let mut app = Self {
            options,
            columns: 80,
            jwt: None,
            renderer,
            connection: ConnectionState::Connecting,
            editor: LineEditor::default(),
            queue: VecDeque::new(),
            perhaps_sent: None,
            warning: None,
            was_connected: false,
            room: RoomState::default(),
            announced: HashSet::new(),
            last_day: None,
            output: String::new(),
            commands: vec![],
            quit_at: None,
        };
        app.renderer.set_own_name(&app.options.usr);
        if let Some(warning) = warning {
            app.print_info(warning);
        }
        app
    }

    /// The size of the terminal from now on.
    pub fn resize(&mut self, size: Size) {
        self.columns = size.columns;
    }

    pub fn key(&mut self, key: KeyEvent, now: Instant) -> ScreenAction {
        let is_empty = self.editor.text().is_empty();
        match key.code {
            KeyCode::Tab if key.modifiers.is_empty() => {
                self.editor.complete(&self.renderer.names());
                return ScreenAction::Draw;
            }
            _ if !key.modifiers.contains(KeyModifiers::CONTROL) => {}
            KeyCode::Char('c' | 'd') if is_empty => return self.quit(now),
            KeyCode::Char('l') => return ScreenAction::Redraw,
            KeyCode::Char('z') => return ScreenAction::Suspend,
            _ => {}
        }
        match self.editor.key(key) {
            Some(line) => self.line(line, now),
            None => ScreenAction::Draw,
        }
    }

    pub fn paste(&mut self, text: &str) -> ScreenAction {
        self.editor.paste(text);
        ScreenAction::Draw
    }

    pub fn event(&mut self, event: ConnectionEvent, now: Instant) -> ScreenAction {
        match event {
            ConnectionEvent::State(state) => self.state_changed(state, now),
            ConnectionEvent::Received(message) => self.received(message, now),
        }
        match self.quit_at {
            Some(_) if self.queue.is_empty() => ScreenAction::Quit,
            _ => ScreenAction::Draw,
        }
    }

    /// Must be called about every second.
    pub fn tick(&mut self, now: Instant) -> ScreenAction {
        if self.quit_at.is_some_and(|at| now >= at) {
            return ScreenAction::Quit;
        }
        let timed_out = |sent_at| now.duration_since(sent_at) >= ANSWER_TIMEOUT;
        if let Some(Queued { typed, .. }) =
            self.pop_first(|first| first.sent_at.is_some_and(timed_out))
        {
            self.print_info(&format!("no answer from the room to: {}", sanitize_text(&typed)));
            self.editor.restore(&typed);
            self.send_next(now);
            return ScreenAction::Draw;
        }
        match self.connection {
            ConnectionState::Lost(..) => ScreenAction::Draw,
            _ => ScreenAction::None,
        }
    }

    /// Takes the commands for the connection.
    pub fn take_commands(&mut self) -> Vec<ConnectionCommand> {
        take(&mut self.commands)
    }

    /// Takes the output that must be printed above the footer.
    pub fn take_output(&mut self) -> String {
        take(&mut self.output)
    }

    pub fn footer(&self, now: Instant) -> FooterContent<'_> {
        let (status, status_style) = self.status(now);
        let (text, cursor) = (self.editor.text(), self.editor.cursor());
        FooterContent { status, status_style, text, cursor }
    }

    fn line(&mut self, line: String, now: Instant) -> ScreenAction {
        self.warning = None;
        if line.trim().is_empty() {
            if matches!(self.connection, ConnectionState::Lost(..)) {
                self.commands.push(ConnectionCommand::Reconnect);
            }
            return ScreenAction::Draw;
        }
        match SlashCommand::parse(&line) {
            SlashCommand::Message(typed) => self.send(typed, None, now),
            SlashCommand::Moderate(cmd) => self.send(line, Some(cmd), now),
            SlashCommand::Retract(time, name) => self.retract(line, &time, name.as_deref(), now),
            SlashCommand::Name(name) => {
                self.renderer.set_own_name(&name);
                self.options.usr = name;
            }
            SlashCommand::Token(file) => {
                self.options.token = TokenSource::File(file);
                self.read_token();
            }
            SlashCommand::Help => HELP.iter().for_each(|line| self.print_info(line)),
            SlashCommand::Quit => return self.quit(now),
            SlashCommand::Invalid(why) => self.reject(&why, &line),
        }
        ScreenAction::Draw
    }

    fn send(&mut self, typed: String, cmd: Option<Value>, now: Instant) {
        let why = match self.connection {
            ConnectionState::Connected if self.queue.len() < QUEUE_MAX => {
                self.queue.push_back(Queued { typed, cmd, id: new_id(), sent_at: None });
                return self.send_next(now);
            }
            ConnectionState::Connected => "too many messages are waiting; press Enter to try again",
            _ => "not connected: nothing was sent",
        };
        self.reject(why, &typed);
    }

    fn retract(&mut self, typed: String, time: &str, name: Option<&str>, now: Instant) {
        let of = name.map_or_else(String::new, |name| format!(" of {name}"));
        let tim = match self.renderer.find(time, name)[..] {
            // Nobody can tell whose it is.
            [] if time.parse::<Tim>().is_ok() && name.is_none() => time.to_owned(),
            [] => {
                let why = format!("no message{of} with the time {time} was shown here");
                return self.reject(&why, &typed);
            }
            [tim] => tim.to_rfc3339_opts(SecondsFormat::Nanos, true),
            [..] => {
                let or = match name {
                    Some(name) => format!("/retract {name} for all, or a tim from --json"),
                    None => format!("/retract {time} NAME, or a tim from --json"),
                };
                let why = format!("several messages{of} have the time {time}; use {or}");
                return self.reject(&why, &typed);
            }
        };
        self.send(typed, Some(json!({ "retract": tim })), now);
    }

    /// Shows a warning and the typed line again.
    fn reject(&mut self, why: &str, typed: &str) {
        self.warning = Some(sanitize_text(why));
        self.editor.restore(typed);
    }

    fn send_next(&mut self, now: Instant) {
        let Some(first) = self.queue.front_mut().filter(|first| first.sent_at.is_none()) else {
            return;
        };
        let body = match &first.cmd {
            Some(cmd) => Body::Command { cmd },
            None => Body::Text { msg: &first.typed, id: &first.id },
        };
        let json = encode(&self.options.usr, body, self.jwt.as_deref());
        self.commands.push(ConnectionCommand::Send(json));
        first.sent_at = Some(now);
    }

    /// Removes the first message from the queue under this condition.
    fn pop_first(&mut self, condition: impl FnOnce(&Queued) -> bool) -> Option<Queued> {
        self.queue.front().is_some_and(condition).then(|| self.queue.pop_front())?
    }

    fn received(&mut self, mut message: Incoming, now: Instant) {
        if let Some(room) = message.room {
            return self.told(room);
        }
        let is_notice = matches!(message.kind, IncomingKind::Notice { .. });
        let is_command =
            self.queue.front().is_some_and(|first| first.sent_at.is_some() && first.cmd.is_some());
        if is_command && message.err.as_deref() == Some("missing-msg") {
            // To a room without moderators it was a message, without a text.
            "not done: this room has no moderators".clone_into(&mut message.msg);
        }
        self.print(&message);
        if self.options.bell && self.renderer.is_called(&message) {
            self.output.push('\x07');
        }
        if is_notice {
            self.warning = Some(format!("! {}", sanitize_text(&message.msg)));
        }
        let is_late = |lost: &mut Queued| message.id.as_ref() == Some(&lost.id);
        if let Some(sent) = self.perhaps_sent.take_if(is_late) {
            self.editor.withdraw(&sent.typed);
        }
        let is_answer = |first: &Queued| {
            is_notice || message.kind == IncomingKind::Ack || message.id.as_ref() == Some(&first.id)
        };
        let answered = self.pop_first(|first| first.sent_at.is_some() && is_answer(first));
        if let Some(Queued { typed, .. }) = answered.filter(|_| is_notice) {
            self.editor.restore(&typed);
        }
        self.send_next(now);
    }

    /// Shows the title and the notice of the room if they are new.
    fn told(&mut self, room: RoomState) {
        let announcement = room.announcement();
        // What was told while the client was away comes once more when it resumes.
        if self.announced.len() >= ANNOUNCED_MAX {
            self.announced.clear();
        }
        if !announcement.is_empty() && self.announced.insert(announcement.clone()) {
            self.print_info(&announcement);
        }
        self.room = room;
    }

    fn print(&mut self, message: &Incoming) {
        if let Some(day) = message.tim.map(|tim| self.renderer.day(tim))
            && self.last_day.replace(day).is_some_and(|last_day| last_day != day)
        {
            self.print_dim(&format!("── {}", day.format("%A, %-d %B %Y")));
        }
        let line = self.renderer.render_in(message, self.columns);
        self.output += &line;
        self.output += "\r\n";
    }

    fn state_changed(&mut self, state: ConnectionState, now: Instant) {
        let was_open = matches!(self.connection, ConnectionState::Connected);
        match &state {
            ConnectionState::Connecting => {}
            ConnectionState::Connected => {
                if self.was_connected {
                    self.print_info("connected again");
                }
                self.was_connected = true;
                self.read_token();
            }
            ConnectionState::Lost(error, _) => {
                self.room = RoomState::default();
                if was_open {
                    self.print_info(&error.to_string());
                }
                for lost in take(&mut self.queue) {
                    let typed = sanitize_text(&lost.typed);
                    self.print_info(&format!("perhaps not sent: {typed}"));
                    self.editor.restore(&lost.typed);
                    if lost.sent_at.is_some() {
                        self.perhaps_sent = Some(lost);
                    }
                }
            }
        }
        self.connection = state;
        self.send_next(now);
    }

    fn read_token(&mut self) {
        let token = self.options.token.read();
        if let Err(error) = &token {
            self.warning = Some(format!("token: {}", sanitize_text(&error.to_string())));
        }
        self.jwt = token.unwrap_or_default();
    }

    /// Waits for the answers to all messages, unless the user quits a second time.
    fn quit(&mut self, now: Instant) -> ScreenAction {
        if self.queue.is_empty() || self.quit_at.is_some() {
            return ScreenAction::Quit;
        }
        self.quit_at = Some(now + QUIT_TIMEOUT);
        ScreenAction::Draw
    }

    /// Prints a line from the client itself.
    fn print_info(&mut self, line: &str) {
        const MARK: &str = "-- ";
        let line = wrap(line, MARK.len(), MARK.len(), self.columns);
        self.print_dim(&format!("{MARK}{line}"));
    }

    fn print_dim(&mut self, line: &str) {
        self.output += &self.renderer.colours.style(DIM, line);
        self.output += "\r\n";
    }

    /// The status line and its style.
    fn status(&self, now: Instant) -> (String, &'static str) {
        if let Some(warning) = &self.warning {
            return (warning.clone(), WARNING);
        }
        let host = sanitize_text(self.options.url.authority());
        match &self.connection {
            ConnectionState::Connecting => (format!("○ {host} · connecting"), YELLOW),
            ConnectionState::Connected => {
                let name = sanitize_name(&self.options.usr);
                let sending = match self.queue.len() {
                    0 => String::new(),
                    count => format!(" · sending {count}"),
                };
                let mut status = format!("● {host} · {name}{sending}");
                for words in self.room.words(self.jwt.is_some()) {
                    status += &format!(" · {words}");
                }
                (status, GREEN)
            }
            ConnectionState::Lost(error, None) => {
                (format!("✕ {host} · {error} · press Enter to connect again"), RED)
            }
            ConnectionState::Lost(error, Some(next)) => {
                let secs = next.saturating_duration_since(now).as_secs_f64().ceil();
                (format!("✕ {host} · {error} · next attempt in {secs} s, or press Enter"), RED)
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! What is known of the room, and what follows from a key or from news.

use std::collections::VecDeque;
use std::mem::take;
use std::time::Duration;

use chrono::{NaiveDate, TimeZone};
use crossterm::event::KeyEvent;
use serde_json::{Value, json};
use tokio::time::Instant;
use unicode_width::UnicodeWidthStr;

use super::command::{Command, HELP};
use super::input::{Input, Wish};
use super::pane::{Size, View};
use super::session::{News, Order};
use super::wrap::wrap;
use crate::client::{Address, Heard, Incoming, Paint, TokenSource};
use crate::client::{
    clock, encode, encode_command, harmless_name, harmless_text, new_id, tim_text,
};

/// Columns of the margin: a time of day and a blank.
const MARGIN: usize = 9;
/// How long a message may be under way before we stop waiting for it.
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long leaving waits for what is under way.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Typed lines that may wait to be sent; more stay in the input.
const WAITING_MAX: usize = 8;

/// What is known of the room, and what is being typed.
pub struct Chat<Z> {
    address: Address,
    usr: String,
    token: TokenSource,
    /// What the token's source held when the connection opened.
    jwt: Option<String>,
    paint: Paint,
    zone: Z,
    state: State,
    input: Input,
    /// Typed and not come back yet, the first of them under way: one at a time,
    /// so that a notice can only mean that one.
    waiting: VecDeque<Wanted>,
    under_way: Option<UnderWay>,
    /// What the status line says instead of the connection's state.
    remark: Option<String>,
    status: String,
    /// Whether there was a connection already.
    known: bool,
    /// The day of the last message, for the line between days.
    day: Option<NaiveDate>,
    heard: Heard,
    printed: String,
    orders: Vec<Order>,
    leave_at: Option<Instant>,
}

/// What was typed and is for the room.
struct Wanted {
    typed: String,
    /// If it is a command; otherwise it is to be said.
    cmd: Option<Value>,
}

struct UnderWay {
    id: String,
    since: Instant,
}

enum State {
    Connecting,
    Open,
    /// Since then, why, and when the next try comes.
    Lost {
        why: String,
        next: Instant,
    },
}

/// What the terminal has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Idle,
    /// Print what there is, and paint the pane.
    Paint,
    /// Clear the screen first.
    Redraw,
    /// Go to the background.
    Suspend,
    /// Leave.
    Leave,
}

impl<Z: TimeZone> Chat<Z> {
    /// Nothing is known yet.
    pub fn new(address: Address, usr: String, token: TokenSource, paint: Paint, zone: Z) -> Self {
        let mut chat = Self {
            address,
            usr,
            token,
            jwt: None,
            paint,
            zone,
            state: State::Connecting,
            input: Input::default(),
            waiting: VecDeque::new(),
            under_way: None,
            remark: None,
            status: String::new(),
            known: false,
            day: None,
            heard: Heard::default(),
            printed: String::new(),
            orders: vec![],
            leave_at: None,
        };
        if chat.token != TokenSource::None && chat.address.exposes_tokens() {
            chat.tell("the token can be read on the way; wss:// would hide it");
        }
        chat
    }

    /// A key was typed.
    pub fn key(&mut self, key: KeyEvent, now: Instant) -> Step {
        match self.input.key(key) {
            Wish::None => Step::Paint,
            Wish::Line(line) => self.line(line, now),
            Wish::Redraw => Step::Redraw,
            Wish::Suspend => Step::Suspend,
            Wish::Quit => self.leave(now),
        }
    }

    /// Something was pasted.
    pub fn paste(&mut self, text: &str) -> Step {
        self.input.paste(text);
        Step::Paint
    }

    /// The connection has told something.
    pub fn news(&mut self, news: News, size: Size, now: Instant) -> Step {
        match news {
            News::Connecting => self.state = State::Connecting,
            News::Open => self.open(now),
            News::Text(text) => {
                if let Some(message) = Incoming::parse(&text) {
                    self.message(&message, size, now);
                }
            }
            News::Lost(why, next) => self.lost(why.to_string(), next),
        }
        match self.leave_at {
            Some(_) if self.waiting.is_empty() => Step::Leave,
            _ => Step::Paint,
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Step {
        if self.leave_at.is_some_and(|at| now >= at) {
            return Step::Leave;
        }
        let late = |sent: &UnderWay| now.duration_since(sent.since) >= RECEIPT_TIMEOUT;
        if self.under_way.as_ref().is_some_and(late) {
            self.under_way = None;
            if let Some(Wanted { typed, .. }) = self.waiting.pop_front() {
                self.tell(&format!("the room says nothing about: {}", harmless_text(&typed)));
                self.input.restore(&typed);
            }
            self.send_next(now);
            return Step::Paint;
        }
        match self.state {
            State::Lost { .. } => Step::Paint,
            _ => Step::Idle,
        }
    }

    /// What the connection has to do.
    pub fn orders(&mut self) -> Vec<Order> {
        take(&mut self.orders)
    }

    /// What is to be printed above the pane.
    pub fn take_printed(&mut self) -> String {
        take(&mut self.printed)
    }

    /// What the pane shows.
    pub fn view(&mut self, now: Instant) -> View<'_> {
        let (status, status_style) = self.describe(now);
        self.status = status;
        View {
            status: &self.status,
            status_style,
            text: self.input.text(),
            cursor: self.input.cursor(),
        }
    }

    fn line(&mut self, line: String, now: Instant) -> Step {
        self.remark = None;
        if line.trim().is_empty() {
            if matches!(self.state, State::Lost { .. }) {
                self.orders.push(Order::Retry);
            }
            return Step::Paint;
        }
        match Command::parse(&line) {
            Command::Say(typed) => self.want(Wanted { typed, cmd: None }, now),
            Command::Moderate(cmd) => self.want(Wanted { typed: line, cmd: Some(cmd) }, now),
            Command::Retract(time) => self.retract(line, time, now),
            Command::Name(name) => {
                self.usr = name;
            }
            Command::Token(file) => {
                self.token = TokenSource::File(file);
                self.read_token();
            }
            Command::Help => HELP.iter().for_each(|line| self.tell(line)),
            Command::Quit => return self.leave(now),
            Command::Unknown(why) => {
                self.remark = Some(harmless_text(&why));
                self.input.restore(&line);
            }
        }
        Step::Paint
    }

    fn want(&mut self, wanted: Wanted, now: Instant) {
        let remark = match self.state {
            State::Open if self.waiting.len() < WAITING_MAX => {
                self.waiting.push_back(wanted);
                return self.send_next(now);
            }
            State::Open => "too much is under way; Enter tries again",
            _ => "not connected: nothing was sent",
        };
        self.remark = Some(remark.into());
        self.input.restore(&wanted.typed);
    }

    /// A time of day may mean several messages: then none is taken back.
    fn retract(&mut self, typed: String, time: String, now: Instant) {
        let tim = match self.heard.at(&time, &self.zone)[..] {
            [] => time,
            [tim] => tim_text(tim),
            [..] => {
                let times = format!("{time} is several messages; `tim` of --json names one");
                self.remark = Some(harmless_text(&times));
                return self.input.restore(&typed);
            }
        };
        self.want(Wanted { typed, cmd: Some(json!({ "retract": tim })) }, now);
    }

    /// Sends the first of what waits, if nothing is under way.
    fn send_next(&mut self, now: Instant) {
        if self.under_way.is_some() {
            return;
        }
        if let Some(Wanted { typed, cmd }) = self.waiting.front() {
            let id = new_id();
            let json = match cmd {
                Some(cmd) => encode_command(&self.usr, cmd, self.jwt.as_deref()),
                None => encode(&self.usr, typed, &id, self.jwt.as_deref()),
            };
            self.orders.push(Order::Send(json));
            self.under_way = Some(UnderWay { id, since: now });
        }
    }

    fn message(&mut self, message: &Incoming, size: Size, now: Instant) {
        self.print(message, size);
        let answered = |sent: &UnderWay| message.is_receipt() || message.has_id(&sent.id);
        let arrived = self.under_way.as_ref().is_some_and(answered);
        if message.is_notice() {
            self.remark = Some(format!("! {}", harmless_text(&message.msg)));
        }
        let refused = message.is_notice() && self.under_way.is_some();
        if !arrived && !refused {
            return;
        }
        self.under_way = None;
        let wanted = self.waiting.pop_front();
        if let Some(wanted) = wanted.filter(|_| refused) {
            self.input.restore(&wanted.typed);
        }
        self.send_next(now);
    }

    fn print(&mut self, message: &Incoming, size: Size) {
        let local = message.tim.map(|tim| tim.with_timezone(&self.zone).naive_local());
        if let Some(day) = local.map(|local| local.date())
            && self.day.replace(day).is_some_and(|before| before != day)
        {
            let line = format!("── {}", day.format("%A, %-d %B %Y"));
            self.printed.push_str(&format!("{}\r\n", self.paint.style("2", &line)));
        }
        let time = clock(message.tim, &self.zone);
        let shown = self.heard.show(message, &self.zone);
        let text = wrap(&shown.text, MARGIN + shown.head.width() + 1, MARGIN, size.columns);
        let line = format!(
            "{} {} {}\r\n",
            self.paint.style("2", &time),
            self.paint.style(&shown.head_style, &shown.head),
            shown.text_style.map_or(text.clone(), |style| self.paint.style(style, &text)),
        );
        self.printed.push_str(&line);
    }

    fn open(&mut self, now: Instant) {
        if self.known {
            self.tell("connected again; what was said meanwhile is not shown");
        }
        self.known = true;
        self.state = State::Open;
        self.read_token();
        self.send_next(now);
    }

    fn lost(&mut self, why: String, next: Instant) {
        if matches!(self.state, State::Open) {
            self.tell(&why);
        }
        self.state = State::Lost { why, next };
        self.under_way = None;
        for Wanted { typed, .. } in take(&mut self.waiting) {
            self.tell(&format!("perhaps not sent: {}", harmless_text(&typed)));
            self.input.restore(&typed);
        }
    }

    fn read_token(&mut self) {
        match self.token.read() {
            Ok(token) => self.jwt = token,
            Err(error) => {
                self.jwt = None;
                self.remark = Some(format!("token: {}", harmless_text(&error.to_string())));
            }
        }
    }

    fn leave(&mut self, now: Instant) -> Step {
        // A second wish to leave is an order.
        if self.waiting.is_empty() || self.leave_at.is_some() {
            return Step::Leave;
        }
        self.leave_at = Some(now + LEAVE_TIMEOUT);
        Step::Paint
    }

    /// Prints a line of our own, harmless already.
    fn tell(&mut self, line: &str) {
        let line = self.paint.style("2", &format!("-- {line}"));
        self.printed.push_str(&format!("{line}\r\n"));
    }

    /// The status line and its style.
    fn describe(&self, now: Instant) -> (String, &'static str) {
        let place = harmless_text(self.address.place());
        if let Some(remark) = &self.remark {
            return (remark.clone(), "1;33");
        }
        match &self.state {
            State::Connecting => (format!("○ {place} · connecting"), "33"),
            State::Open => {
                let name = harmless_name(&self.usr);
                let waiting = match self.waiting.len() {
                    0 => String::new(),
                    count => format!(" · sending {count}"),
                };
                (format!("● {place} · {name}{waiting}"), "32")
            }
            State::Lost { why, next } => {
                let secs = next.saturating_duration_since(now).as_secs_f64().ceil();
                (format!("✕ {place} · {why} · again in {secs} s, Enter: now"), "31")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use serde_json::Value;

    use super::*;
    use crate::client::LinkError;

    const SIZE: Size = Size { columns: 80, rows: 24 };

    /// A chat with the connection open, and the time.
    fn open_chat() -> (Chat<Utc>, Instant) {
        let now = Instant::now();
        let address = "ws://room.example".parse().unwrap();
        let mut chat = Chat::new(address, "petr".into(), TokenSource::None, Paint::Plain, Utc);
        chat.news(News::Connecting, SIZE, now);
        chat.news(News::Open, SIZE, now);
        (chat, now)
    }

    /// The one message that is to be sent.
    fn sent(chat: &mut Chat<Utc>) -> Value {
        let orders = chat.orders();
        let [Order::Send(json)] = orders.as_slice() else { panic!("{orders:?}") };
        serde_json::from_str(json).unwrap()
    }

    fn hear(chat: &mut Chat<Utc>, message: &Value, now: Instant) -> Step {
        chat.news(News::Text(message.to_string()), SIZE, now)
    }

    fn notice() -> Value {
        serde_json::json!({"usr": "wschat", "msg": "not sent: no", "err": "test"})
    }

    #[test]
    fn one_message_is_under_way_at_a_time() {
        let (mut chat, now) = open_chat();
        chat.line("one".into(), now);
        chat.line("two".into(), now);
        assert_eq!(chat.view(now).status, "● room.example · petr · sending 2");
        let one = sent(&mut chat);
        assert_eq!(one["msg"], "one");
        // The same words of somebody else are no receipt.
        hear(&mut chat, &serde_json::json!({"usr": "petr", "msg": "one"}), now);
        assert_eq!(chat.orders(), []);
        hear(&mut chat, &one, now);
        let two = sent(&mut chat);
        assert_eq!(two["msg"], "two");
        hear(&mut chat, &two, now);
        assert_eq!(chat.view(now).status, "● room.example · petr");
    }

    #[test]
    fn a_refused_message_comes_back_and_the_next_one_goes() {
        let (mut chat, now) = open_chat();
        chat.line("one".into(), now);
        chat.line("two".into(), now);
        sent(&mut chat);
        hear(&mut chat, &notice(), now);
        let view = chat.view(now);
        assert_eq!((view.status, view.text), ("! not sent: no", "one"));
        assert_eq!(sent(&mut chat)["msg"], "two");
    }

    #[test]
    fn a_moderator_commands_and_is_told_that_it_was_done() {
        let (mut chat, now) = open_chat();
        chat.line("/mute bob 600".into(), now);
        chat.line("next".into(), now);
        assert_eq!(sent(&mut chat), json!({"usr": "petr", "cmd": {"mute": "bob", "secs": 600}}));
        let done = json!({"usr": "wschat", "msg": "done: muted bob for 600 s", "ack": "mute"});
        hear(&mut chat, &done, now);
        assert_eq!(chat.take_printed(), "--:--:-- -- done: muted bob for 600 s\r\n");
        assert_eq!(sent(&mut chat)["msg"], "next");
        hear(&mut chat, &notice(), now);
        chat.line("/lock".into(), now);
        sent(&mut chat);
        hear(&mut chat, &notice(), now);
        assert_eq!(chat.view(now).text, "next");
    }

    #[test]
    fn a_message_is_taken_back_by_its_time_if_that_is_its_alone() {
        let (mut chat, now) = open_chat();
        let tim = "2020-08-11T23:59:59.000000007Z";
        hear(&mut chat, &json!({"usr": "eva", "msg": "x", "tim": tim}), now);
        let retract = |chat: &mut Chat<Utc>, time: &str| {
            chat.line(format!("/retract {time}"), now);
            let cmd = sent(chat)["cmd"]["retract"].clone();
            hear(chat, &json!({"usr": "wschat", "msg": "done", "ack": "retract"}), now);
            cmd
        };
        assert_eq!(retract(&mut chat, "23:59:59"), tim);
        assert_eq!(retract(&mut chat, "23:59:58"), "23:59:58");
        assert_eq!(retract(&mut chat, tim), tim);
        let next = "2020-08-11T23:59:59.000000008Z";
        hear(&mut chat, &json!({"usr": "eva", "msg": "y", "tim": next}), now);
        chat.line("/retract 23:59:59".into(), now);
        assert_eq!(chat.orders(), []);
        let view = chat.view(now);
        assert_eq!(view.status, "23:59:59 is several messages; `tim` of --json names one");
        assert_eq!(view.text, "/retract 23:59:59");
    }

    #[test]
    fn what_is_being_typed_is_never_replaced() {
        let (mut chat, now) = open_chat();
        chat.line("one".into(), now);
        chat.paste("in the middle of it");
        hear(&mut chat, &notice(), now);
        assert_eq!(chat.view(now).text, "in the middle of it");
    }

    #[test]
    fn a_lost_connection_tells_what_may_be_lost() {
        let (mut chat, now) = open_chat();
        chat.line("one".into(), now);
        chat.orders();
        let why = LinkError::new("gone");
        chat.news(News::Lost(why, now + Duration::from_millis(2500)), SIZE, now);
        assert_eq!(chat.take_printed(), "-- gone\r\n-- perhaps not sent: one\r\n");
        assert_eq!(chat.view(now).text, "one");
        let status = "✕ room.example · gone · again in 3 s, Enter: now";
        assert_eq!(chat.view(now).status, status);
        chat.line("".into(), now);
        assert_eq!(chat.orders(), [Order::Retry]);
        chat.news(News::Connecting, SIZE, now);
        chat.news(News::Open, SIZE, now);
        // It is not sent again by itself: it may have arrived.
        assert_eq!(chat.orders(), []);
    }

    #[test]
    fn silence_about_a_message_ends() {
        let (mut chat, now) = open_chat();
        chat.line("one".into(), now);
        chat.orders();
        assert_eq!(chat.tick(now + RECEIPT_TIMEOUT / 2), Step::Idle);
        assert_eq!(chat.tick(now + RECEIPT_TIMEOUT), Step::Paint);
        assert_eq!(chat.take_printed(), "-- the room says nothing about: one\r\n");
        assert_eq!(chat.view(now).text, "one");
    }

    #[test]
    fn leaving_waits_but_not_for_ever() {
        let (mut chat, now) = open_chat();
        assert_eq!(chat.line("/quit".into(), now), Step::Leave);
        chat.line("one".into(), now);
        let one = sent(&mut chat);
        assert_eq!(chat.line("/quit".into(), now), Step::Paint);
        assert_eq!(chat.tick(now), Step::Idle);
        assert_eq!(chat.tick(now + LEAVE_TIMEOUT), Step::Leave);
        assert_eq!(hear(&mut chat, &one, now), Step::Leave);
    }

    #[test]
    fn a_new_day_has_a_line_of_its_own() {
        let (mut chat, now) = open_chat();
        for tim in ["2020-08-11T23:59:59Z", "2020-08-12T00:00:00Z", "2020-08-12T00:00:01Z"] {
            let message = serde_json::json!({"usr": "eva", "msg": "x", "tim": tim});
            hear(&mut chat, &message, now);
        }
        let want = "23:59:59 eva: x\r\n── Wednesday, 12 August 2020\r\n00:00:00 eva: x\r\n00:00:01 eva: x\r\n";
        assert_eq!(chat.take_printed(), want);
    }

    #[test]
    fn a_token_that_cannot_be_read_is_told() {
        let (mut chat, now) = open_chat();
        chat.line("/token /nowhere".into(), now);
        assert!(chat.view(now).status.starts_with("token: "), "{}", chat.view(now).status);
    }
}

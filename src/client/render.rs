//! Formats messages for people.

use std::collections::{HashSet, VecDeque};

use super::mention::mentions;
use super::message::{Incoming, IncomingKind};
use super::sanitize::{sanitize_name, sanitize_name_to, typed_name};
use super::wrap::{columns_of, wrap};
use crate::zone::Zone;
use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};

/// Messages whose sender is remembered, so that a retraction can name it.
const RECENT_MAX: usize = 1000;

/// Columns of the margin: a time of day and a blank.
pub const MARGIN: usize = 9;

// Parameters of SGR escape sequences (ECMA-48).
pub const GREEN: &str = "32";
pub const YELLOW: &str = "33";
pub const RED: &str = "31";
pub const WARNING: &str = "1;33";
pub const BOLD: &str = "1";
pub const DIM: &str = "2";
const REVERSE: &str = "7";

/// Colours of names among the 256 of a terminal. Each has a contrast over 3.6 : 1
/// on black and on white.
const NAME_COLOURS: [u8; 20] =
    [167, 160, 166, 130, 94, 100, 64, 28, 29, 30, 31, 32, 67, 27, 63, 99, 134, 164, 162, 132];

/// Whether the output has colours.
#[derive(Clone, Copy)]
pub struct Colours(pub bool);

impl Colours {
    /// The text in a style, the parameters of an SGR sequence.
    pub fn style(self, sgr: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{sgr}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Formats messages and remembers the senders of the last ones.
pub struct Renderer {
    zone: &'static Zone,
    pub colours: Colours,
    /// The name of the user, which is highlighted in what others say.
    own_name: String,
    /// The most columns of a name.
    name_columns_max: usize,
    recent: VecDeque<Recent>,
}

/// A message that was shown.
struct Recent {
    tim: Option<DateTime<Utc>>,
    /// The name as it was shown.
    shown: String,
    /// The name as one types it; none of the server.
    typed: Option<String>,
}

impl Renderer {
    pub fn new(zone: &'static Zone, colours: Colours) -> Self {
        let (own_name, name_columns_max) = (String::new(), usize::MAX);
        Self { zone, colours, own_name, name_columns_max, recent: VecDeque::new() }
    }

    /// The name of the user from now on.
    pub fn set_own_name(&mut self, name: &str) {
        self.own_name = typed_name(name);
    }

    /// Whether somebody else calls the user in this message.
    pub fn is_called(&self, message: &Incoming) -> bool {
        message.kind == IncomingKind::User
            && typed_name(&message.usr) != self.own_name
            && !mentions(&message.msg, &self.own_name).is_empty()
    }

    /// `HH:MM:SS sender: text`, and remembers the sender. Instead of a sender, `!`
    /// marks a notice or a gap, `--` an acknowledged command, `*` what the server itself says.
    ///
    /// `layout` must sanitize the text; it also gets the width of the sender.
    pub fn render(
        &mut self,
        message: &Incoming,
        layout: impl FnOnce(&str, usize) -> String,
    ) -> String {
        let name = sanitize_name_to(&message.usr, self.name_columns_max);
        let is_own = typed_name(&message.usr) == self.own_name;
        let is_user = message.kind == IncomingKind::User;
        if is_user || message.kind == IncomingKind::Server {
            self.recent.truncate(RECENT_MAX - 1);
            let typed = Some(typed_name(&message.usr)).filter(|name| is_user && !name.is_empty());
            let shown = sanitize_name(&message.usr);
            self.recent.push_front(Recent { tim: message.tim, shown, typed });
        }
        let (sender, sender_style, text_style) = match message.kind {
            IncomingKind::User => {
                (format!("{name}:"), format!("1;38;5;{}", name_colour(&name)), None)
            }
            IncomingKind::Server => ("*".into(), BOLD.into(), None),
            IncomingKind::Notice { .. } | IncomingKind::Gap => {
                ("!".into(), WARNING.into(), Some(WARNING))
            }
            IncomingKind::Ack => ("--".into(), DIM.into(), Some(DIM)),
            IncomingKind::Retraction | IncomingKind::Presence => {
                ("*".into(), DIM.into(), Some(DIM))
            }
        };
        let text = match message.kind {
            IncomingKind::Retraction => &self.retraction(&message.retracted),
            _ => &message.msg,
        };
        let text = layout(text, columns_of(&sender));
        let text = match text_style {
            Some(style) => self.colours.style(style, &text),
            None if is_user && !is_own => self.highlight(&text),
            None => text,
        };
        let time = message.tim.map_or("--:--:--".into(), |tim| self.time_of_day(tim));
        let (time, sender) =
            (self.colours.style(DIM, &time), self.colours.style(&sender_style, &sender));
        format!("{time} {sender} {text}")
    }

    /// What a retraction says of the messages at these times.
    fn retraction(&self, times: &[DateTime<Utc>]) -> String {
        let sender = |tim: &DateTime<Utc>| self.recent.iter().find(|it| it.tim == Some(*tim));
        let mut names: Vec<_> = times.iter().filter_map(sender).map(|it| &it.shown).collect();
        names.sort();
        names.dedup();
        let by = match names[..] {
            [] => String::new(),
            [name] => format!(" by {name}"),
            [name, ..] => format!(" by {name} and others"),
        };
        match times {
            [time] => format!("a message{by} of {} was retracted", self.time_of_day(*time)),
            _ => format!("{} messages{by} were retracted", times.len()),
        }
    }

    /// A text that is laid out, with the name of the user in reverse video.
    fn highlight(&self, text: &str) -> String {
        let (mut out, mut done) = (String::new(), 0);
        for place in mentions(text, &self.own_name) {
            out += &text[done..place.start];
            done = place.end;
            // Not what is between two rows.
            for part in text[place].split_inclusive("\r\n") {
                let name = part.trim_start();
                let (blanks, name) = (&part[..part.len() - name.len()], name.trim_end());
                let end = &part[blanks.len() + name.len()..];
                out += blanks;
                out += &self.colours.style(REVERSE, name);
                out += end;
            }
        }
        out + &text[done..]
    }

    /// As [`render`](Self::render), in rows of a terminal with so many columns.
    pub fn render_in(&mut self, message: &Incoming, columns: usize) -> String {
        // Half of a row is for the text.
        self.name_columns_max = (columns / 2).saturating_sub(MARGIN + 2).max(1);
        self.render(message, |text, sender| wrap(text, MARGIN + sender + 1, MARGIN, columns))
    }

    /// The time stamps of the recent messages that were shown with this time of day, or that have
    /// this `tim`, of this name if there is one.
    pub fn find(&self, time: &str, name: Option<&str>) -> Vec<DateTime<Utc>> {
        let is_of = |it: &&Recent| match name {
            Some(name) => it.typed.as_ref().is_some_and(|typed| is_same(typed, name)),
            None => true,
        };
        let times = self.recent.iter().filter(is_of).filter_map(|it| it.tim);
        let is_tim = |tim: &DateTime<Utc>| tim.to_rfc3339_opts(SecondsFormat::Nanos, true) == time;
        times.filter(|tim| self.time_of_day(*tim) == time || is_tim(tim)).collect()
    }

    /// The names of those who have said something, as one types them. The last one is first, the
    /// name of the user is left out.
    pub fn names(&self) -> Vec<String> {
        let mut seen = HashSet::new();
        let names = self.recent.iter().filter_map(|it| it.typed.as_ref());
        names.filter(|name| **name != self.own_name && seen.insert(*name)).cloned().collect()
    }

    /// The day in the time zone of the renderer.
    pub fn day(&self, time: DateTime<Utc>) -> NaiveDate {
        self.zone.convert(time).date()
    }

    fn time_of_day(&self, time: DateTime<Utc>) -> String {
        self.zone.convert(time).format("%H:%M:%S").to_string()
    }
}

/// Whether two names differ in their case at most.
fn is_same(one: &str, other: &str) -> bool {
    let lower = |name: &str| typed_name(name).to_lowercase();
    lower(one) == lower(other)
}

/// The colour of a name. Every client and every version uses the same one.
fn name_colour(name: &str) -> u8 {
    // FNV-1a; the hasher of std may change between versions.
    let hash = name
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    NAME_COLOURS[hash as usize % NAME_COLOURS.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::sanitize::sanitize_text;

    fn renderer(utc_offset: i32, colours: bool) -> Renderer {
        let zone = Zone::Rule(tz::TimeZone::fixed(utc_offset).unwrap());
        Renderer::new(Box::leak(Box::new(zone)), Colours(colours))
    }

    fn render(renderer: &mut Renderer, json: &str) -> String {
        renderer.render(&Incoming::parse(json).unwrap(), |text, _| sanitize_text(text))
    }

    #[test]
    fn lines() {
        let check = |json: &str, colours, want: &str| {
            assert_eq!(render(&mut renderer(7200, colours), json), want);
        };
        let user = r#"{"usr":"petr","msg":"a\nb","tim":"2020-08-11T22:26:58.118678679Z"}"#;
        check(user, false, "00:26:58 petr: a␊b");
        check(user, true, "\x1b[2m00:26:58\x1b[0m \x1b[1;38;5;67mpetr:\x1b[0m a␊b");
        check(r#"{"usr":"petr","msg":"x"}"#, false, "--:--:-- petr: x");
        let notice = r#"{"usr":"wschat","msg":"not sent: why","err":"x"}"#;
        check(notice, false, "--:--:-- ! not sent: why");
        let gap = r#"{"usr":"wschat","msg":"some messages are missing","err":"gap","tim":"2020-08-11T22:26:58Z"}"#;
        check(gap, false, "--:--:-- ! some messages are missing");
        let ack = r#"{"usr":"wschat","msg":"done: muted bob","ack":"mute"}"#;
        check(ack, false, "--:--:-- -- done: muted bob");
        let server = r#"{"usr":"wschat","msg":"back in five minutes"}"#;
        check(server, false, "--:--:-- * back in five minutes");
        check(server, true, "\x1b[2m--:--:--\x1b[0m \x1b[1m*\x1b[0m back in five minutes");
    }

    #[test]
    fn a_retraction_names_the_sender() {
        let mut renderer = renderer(0, false);
        let mut check = |json: &str, want: &str| assert_eq!(render(&mut renderer, json), want);
        let tim = "2020-08-11T22:26:58.118678679Z";
        check(&format!(r#"{{"usr":"eva\n","msg":"x","tim":"{tim}"}}"#), "22:26:58 eva␊: x");
        let retract = |usr: &str, tim: &str| {
            let now = "2020-08-11T22:30:00Z";
            format!(r#"{{"usr":"{usr}","msg":"y","retract":"{tim}","tim":"{now}"}}"#)
        };
        check(&retract("wschat", tim), "22:30:00 * a message by eva␊ of 22:26:58 was retracted");
        let before = "2020-08-11T21:00:00.000000001Z";
        check(&retract("wschat", before), "22:30:00 * a message of 21:00:00 was retracted");
        check(&retract("bob", tim), "22:30:00 bob: y");
        let several = |also: &str| {
            let now = "2020-08-11T22:30:00Z";
            format!(
                r#"{{"usr":"wschat","msg":"y","retract":"{tim}","also":[{also}],"tim":"{now}"}}"#
            )
        };
        let also = format!("{before:?}");
        check(&several(&also), "22:30:00 * 2 messages by eva␊ were retracted");
        let later = "2020-08-11T22:29:00.000000001Z";
        check(&format!(r#"{{"usr":"ann","msg":"x","tim":"{later}"}}"#), "22:29:00 ann: x");
        let also = format!("{before:?},{later:?}");
        check(&several(&also), "22:30:00 * 3 messages by ann and others were retracted");
    }

    #[test]
    fn the_own_name_is_highlighted_in_what_others_say() {
        let mut renderer = renderer(0, true);
        renderer.set_own_name("Petr");
        let mut check = |usr: &str, msg: &str, want: &str| {
            let json = serde_json::json!({ "usr": usr, "msg": msg }).to_string();
            let message = Incoming::parse(&json).unwrap();
            let is_called = renderer.is_called(&message);
            let shown = renderer.render(&message, |text, _| text.into());
            assert!(shown.ends_with(want), "{shown:?}");
            assert_eq!(is_called, shown.contains(REVERSE_ON), "{shown:?}");
        };
        check("eva", "hi petr!", " hi \x1b[7mpetr\x1b[0m!");
        check("eva", "petrol", " petrol");
        check("petr ", "I am petr", " I am \x1b[7mpetr\x1b[0m");
        check("Petr", "I am petr", " I am petr");
        check("wschat", "petr", " petr");
        renderer.set_own_name("Ann Lee");
        let json = r#"{"usr":"eva","msg":"hi ann lee"}"#;
        let shown =
            renderer.render(&Incoming::parse(json).unwrap(), |_, _| "hi ann\r\n  lee".into());
        assert!(shown.ends_with(" hi \x1b[7mann\x1b[0m\r\n  \x1b[7mlee\x1b[0m"), "{shown:?}");
    }

    const REVERSE_ON: &str = "\x1b[7m";

    #[test]
    fn names_and_messages_of_a_name() {
        let mut renderer = renderer(0, false);
        renderer.set_own_name("petr");
        for (usr, second) in
            [("eva", 1), ("Ann\u{200b} Lee", 2), ("petr", 2), ("eva", 2), ("wschat", 3)]
        {
            let tim = format!("2020-08-11T22:26:0{second}Z");
            let json = serde_json::json!({ "usr": usr, "msg": "x", "tim": tim });
            render(&mut renderer, &json.to_string());
        }
        assert_eq!(renderer.names(), ["eva", "Ann Lee"]);
        let found = |time: &str, name| renderer.find(time, name).len();
        assert_eq!(found("22:26:02", None), 3);
        assert_eq!(found("22:26:02", Some("EVA ")), 1);
        assert_eq!(found("22:26:02", Some("ann lee")), 1);
        assert_eq!(found("22:26:01", Some("ann lee")), 0);
    }

    #[test]
    fn a_time_of_day_finds_messages() {
        let mut renderer = renderer(0, false);
        for number in 0..2000 {
            let (minutes, secs, nanos) = (number / 120, number / 2 % 60, number % 2);
            let tim = format!("2020-08-11T22:{minutes:02}:{secs:02}.00000000{nanos}Z");
            render(&mut renderer, &format!(r#"{{"usr":"eva","msg":"x","tim":"{tim}"}}"#));
        }
        assert_eq!(renderer.recent.len(), RECENT_MAX);
        assert_eq!(renderer.find("22:16:39", None).len(), 2);
        assert!(renderer.find("22:00:00", None).is_empty());
    }

    #[test]
    fn every_colour_has_contrast_on_black_and_on_white() {
        for colour in NAME_COLOURS {
            let luminance = luminance(colour);
            let contrast = (1.05 / (luminance + 0.05)).min((luminance + 0.05) / 0.05);
            assert!(contrast > 3.6, "{colour}: {contrast}");
        }
    }

    /// Relative luminance (WCAG 2) of a colour of the 6 × 6 × 6 cube.
    fn luminance(colour: u8) -> f64 {
        let level = |n: u8| f64::from([0, 95, 135, 175, 215, 255][usize::from(n)]) / 255.0;
        let linear =
            |c: f64| if c <= 0.03928 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) };
        let n = colour - 16;
        let [r, g, b] = [n / 36, n / 6 % 6, n % 6].map(|part| linear(level(part)));
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }
}

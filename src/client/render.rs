//! Formats messages for people.

use std::collections::VecDeque;

use chrono::{DateTime, NaiveDate, Utc};
use unicode_width::UnicodeWidthStr;

use super::message::{Incoming, IncomingKind};
use super::sanitize::sanitize_name;
use crate::zone::Zone;

/// Messages whose sender is remembered, so that a retraction can name it.
const RECENT_MAX: usize = 1000;

// Parameters of SGR escape sequences (ECMA-48).
pub const GREEN: &str = "32";
pub const YELLOW: &str = "33";
pub const RED: &str = "31";
pub const WARNING: &str = "1;33";
pub const BOLD: &str = "1";
pub const DIM: &str = "2";

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
    recent: VecDeque<(DateTime<Utc>, String)>,
}

impl Renderer {
    pub fn new(zone: &'static Zone, colours: Colours) -> Self {
        Self { zone, colours, recent: VecDeque::new() }
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
        let name = sanitize_name(&message.usr);
        let can_be_retracted = matches!(message.kind, IncomingKind::User | IncomingKind::Server);
        if let Some(tim) = message.tim.filter(|_| can_be_retracted) {
            self.recent.truncate(RECENT_MAX - 1);
            self.recent.push_front((tim, name.clone()));
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
            IncomingKind::Retraction(_) => ("*".into(), DIM.into(), Some(DIM)),
        };
        let text = match message.kind {
            IncomingKind::Retraction(tim) => {
                let sender = self.recent.iter().find(|(recent, _)| *recent == tim);
                let by = sender.map_or(String::new(), |(_, name)| format!(" by {name}"));
                &format!("a message{by} of {} was retracted", self.time_of_day(tim))
            }
            _ => &message.msg,
        };
        let text = layout(text, sender.width());
        let text = text_style.map_or(text.clone(), |style| self.colours.style(style, &text));
        let time = message.tim.map_or("--:--:--".into(), |tim| self.time_of_day(tim));
        let (time, sender) =
            (self.colours.style(DIM, &time), self.colours.style(&sender_style, &sender));
        format!("{time} {sender} {text}")
    }

    /// The time stamps of the recent messages that were shown with this time of day.
    pub fn find(&self, time: &str) -> Vec<DateTime<Utc>> {
        let times = self.recent.iter().map(|(tim, _)| *tim);
        times.filter(|tim| self.time_of_day(*tim) == time).collect()
    }

    /// The day in the time zone of the renderer.
    pub fn day(&self, time: DateTime<Utc>) -> NaiveDate {
        self.zone.convert(time).date()
    }

    fn time_of_day(&self, time: DateTime<Utc>) -> String {
        self.zone.convert(time).format("%H:%M:%S").to_string()
    }
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
        assert_eq!(renderer.find("22:16:39").len(), 2);
        assert!(renderer.find("22:00:00").is_empty());
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

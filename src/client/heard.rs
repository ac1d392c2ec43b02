//! Messages as people see them, and who said them, for when they are taken back.

use std::collections::VecDeque;

use chrono::{DateTime, TimeZone, Utc};

use super::{Incoming, Paint, clock, harmless_name, harmless_text, name_colour};

/// Messages whose speaker is remembered; older ones are called by their time.
const HEARD_MAX: usize = 1000;

/// Bold yellow: something was not sent.
const WARNING: &str = "1;33";
/// Bold: the server speaks.
const LOUD: &str = "1";
/// Dim: nobody speaks.
const QUIET: &str = "2";

/// What was heard last.
#[derive(Debug, Default)]
pub struct Heard {
    recent: VecDeque<(DateTime<Utc>, String)>,
}

/// A message in parts, each with its style (the parameters of an SGR sequence).
#[derive(Debug)]
pub struct Shown {
    /// A name, or a sign that nobody has for a name; harmless.
    pub head: String,
    /// The style of the head.
    pub head_style: String,
    /// The text, as it came.
    pub text: String,
    /// The style of the text, if it has one.
    pub text_style: Option<&'static str>,
}

impl Heard {
    /// The message in parts; it is remembered from now on. Marked by `!` is a
    /// notice, by `--` what was done for us, by `*` what the server says.
    pub fn show<Z: TimeZone>(&mut self, message: &Incoming, zone: &Z) -> Shown {
        let sign = |head: &str, style, text_style, text: String| Shown {
            head: head.to_owned(),
            head_style: String::from(style),
            text,
            text_style,
        };
        let msg = message.msg.clone();
        if message.is_notice() {
            return sign("!", WARNING, Some(WARNING), msg);
        }
        if message.is_receipt() {
            return sign("--", QUIET, Some(QUIET), msg);
        }
        if let Some(tim) = message.retracts() {
            let said = self.recent.iter().find(|(said, _)| *said == tim);
            let whose = said.map_or("a message".into(), |(_, name)| format!("a message by {name}"));
            let text = format!("{whose} of {} was retracted", clock(Some(tim), zone));
            return sign("*", QUIET, Some(QUIET), text);
        }
        let name = harmless_name(&message.usr);
        if let Some(tim) = message.tim {
            self.recent.truncate(HEARD_MAX - 1);
            self.recent.push_front((tim, name.clone()));
        }
        if message.is_the_servers() {
            return sign("*", LOUD, None, msg);
        }
        let head_style = format!("1;38;5;{}", name_colour(&name));
        Shown { head: format!("{name}:"), head_style, text: msg, text_style: None }
    }

    /// `HH:MM:SS name: text` on one line, in the given time zone, harmless.
    pub fn line<Z: TimeZone>(&mut self, message: &Incoming, zone: &Z, paint: Paint) -> String {
        let shown = self.show(message, zone);
        let time = paint.style(QUIET, &clock(message.tim, zone));
        let head = paint.style(&shown.head_style, &shown.head);
        let text = harmless_text(&shown.text);
        let text = shown.text_style.map_or(text.clone(), |style| paint.style(style, &text));
        format!("{time} {head} {text}")
    }

    /// The times of the messages that have this time of day in the margin.
    pub fn at<Z: TimeZone>(&self, time: &str, zone: &Z) -> Vec<DateTime<Utc>> {
        let times = self.recent.iter().map(|(tim, _)| *tim);
        times.filter(|tim| clock(Some(*tim), zone) == time).collect()
    }
}

#[cfg(test)]
mod tests {
    use chrono::FixedOffset;

    use super::*;

    #[test]
    fn lines() {
        let zone = FixedOffset::east_opt(7200).unwrap();
        let mut heard = Heard::default();
        let mut check = |json: &str, paint, want: &str| {
            assert_eq!(heard.line(&Incoming::parse(json).unwrap(), &zone, paint), want);
        };
        let said = r#"{"usr":"petr","msg":"a\nb","tim":"2020-08-11T22:26:58.118678679Z"}"#;
        check(said, Paint::Plain, "00:26:58 petr: a␊b");
        check(said, Paint::Colour, "\x1b[2m00:26:58\x1b[0m \x1b[1;38;5;67mpetr:\x1b[0m a␊b");
        check(r#"{"usr":"petr","msg":"x"}"#, Paint::Plain, "--:--:-- petr: x");
        let notice = r#"{"usr":"wschat","msg":"not sent: why","err":"x"}"#;
        check(notice, Paint::Plain, "--:--:-- ! not sent: why");
        let receipt = r#"{"usr":"wschat","msg":"done: muted bob","ack":"mute"}"#;
        check(receipt, Paint::Plain, "--:--:-- -- done: muted bob");
        let server = r#"{"usr":"wschat","msg":"back in five minutes"}"#;
        check(server, Paint::Plain, "--:--:-- * back in five minutes");
        check(server, Paint::Colour, "\x1b[2m--:--:--\x1b[0m \x1b[1m*\x1b[0m back in five minutes");
    }

    #[test]
    fn what_is_taken_back_is_named() {
        let mut heard = Heard::default();
        let mut check = |json: &str, want: &str| {
            assert_eq!(heard.line(&Incoming::parse(json).unwrap(), &Utc, Paint::Plain), want);
        };
        let tim = "2020-08-11T22:26:58.118678679Z";
        check(&format!(r#"{{"usr":"eva\n","msg":"x","tim":"{tim}"}}"#), "22:26:58 eva␊: x");
        let retract = |usr: &str, tim: &str| {
            let now = "2020-08-11T22:30:00Z";
            format!(r#"{{"usr":"{usr}","msg":"y","retract":"{tim}","tim":"{now}"}}"#)
        };
        check(&retract("wschat", tim), "22:30:00 * a message by eva␊ of 22:26:58 was retracted");
        let before = "2020-08-11T21:00:00.000000001Z";
        check(&retract("wschat", before), "22:30:00 * a message of 21:00:00 was retracted");
        // Others may send such a field; it means nothing.
        check(&retract("bob", tim), "22:30:00 bob: y");
        check(&retract("wschat", "?"), "22:30:00 * y");
    }

    #[test]
    fn a_time_finds_its_messages() {
        let mut heard = Heard::default();
        for number in 0..2000 {
            let (secs, nanos) = (number / 2, number % 2);
            let json = format!(
                r#"{{"usr":"eva","msg":"x","tim":"2020-08-11T22:{:02}:{:02}.00000000{nanos}Z"}}"#,
                secs / 60,
                secs % 60
            );
            heard.show(&Incoming::parse(&json).unwrap(), &Utc);
        }
        assert_eq!(heard.recent.len(), HEARD_MAX);
        assert_eq!(heard.at("22:16:39", &Utc).len(), 2);
        assert!(heard.at("22:00:00", &Utc).is_empty());
    }
}

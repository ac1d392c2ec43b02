//! The manual page of the protocol agrees with the tables of the program.

use wschat::chat::{DEPTH_MAX, NOTICES, Refusal, Tim};
use wschat::config::Config;
use wschat::ws::close::{self, Close};

const MANUAL: &str = include_str!("../../man/wschat-protocol.7");

/// The entries of a list in one section: the name and the text of each.
fn entries(section: &str) -> Vec<(&'static str, &'static str)> {
    let start = MANUAL.split_once(&format!(".Sh {section}\n")).unwrap().1;
    let text = start.split_once("\n.Sh ").unwrap().0;
    let entries = text.split("\n.It ").skip(1);
    entries.map(|entry| entry.split_once('\n').unwrap_or((entry, ""))).collect()
}

#[test]
fn every_notice_code_is_documented() {
    let entries = entries("CODES");
    assert_eq!(entries.len(), Refusal::ALL.len());
    for (refusal, (name, text)) in Refusal::ALL.into_iter().zip(entries) {
        assert_eq!(name, format!("Cm {}", refusal.code()));
        let words = format!(".Dq {}", refusal.reason());
        assert_eq!(text.lines().next(), Some(&*words), "{name}");
    }
}

#[test]
fn every_close_code_is_documented() {
    let too_slow = Close::too_slow(0);
    let too_slow = Close { reason: too_slow.reason.replace('0', "N").into(), ..too_slow };
    let rule = close::protocol_error("\\&...");
    let closes = [
        close::GOING_AWAY,
        rule,
        close::NOT_UTF8,
        close::IDLE,
        close::KICKED,
        close::TOO_BIG,
        close::RESTART,
        too_slow,
        close::NO_WATCH,
    ];
    let entries = entries("CLOSING");
    assert_eq!(entries.len(), closes.len());
    for (close, (name, text)) in closes.into_iter().zip(entries) {
        assert_eq!(name, close.code.to_string());
        let reason = format!(".Dq {}", close.reason);
        assert_eq!(text.lines().next(), Some(&*reason), "{name}");
    }
}

#[test]
fn documented_limits_are_the_defaults() {
    let defaults = Config::default().limits;
    for sentence in [
        format!("nested at most {DEPTH_MAX} levels deep"),
        format!(
            "up to {} notices at once, then one every {} milliseconds",
            NOTICES.burst,
            NOTICES.interval_us / 1000
        ),
        format!("message_bytes_max\nbytes, {} by default", defaults.message_bytes_max),
        format!("ping_interval_secs ,\n{} by default", defaults.ping_interval.as_secs()),
        format!("handshake_timeout_secs ,\n{} by default", defaults.handshake_timeout.as_secs()),
        format!(
            "messages_per_sec\nmessages per second on average, {} by default",
            defaults.messages_per_sec
        ),
        format!("messages_burst\nat once, {} by default", defaults.messages_burst),
        format!("always {} characters", Tim::LEN),
    ] {
        assert!(MANUAL.contains(&sentence), "{sentence}");
    }
}

#[test]
fn the_readme_shows_a_notice_that_the_program_sends() {
    let refusal = Refusal::MissingUsr;
    let notice = format!(r#""msg":"not sent: {}","err":"{}""#, refusal.reason(), refusal.code());
    assert!(include_str!("../../README.md").contains(&notice), "{notice}");
}

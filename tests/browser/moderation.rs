//! Moderation: rate limits, retracted messages, mutes and kicks.

use serde_json::json;

use crate::accessibility::check_axe;
use crate::driver::{Browser, Page, run};
use crate::harness::{Client, Daemon};
use crate::network::say;

const WAIT: &str = "document.getElementById('wait').textContent";
/// The texts that wait to be sent.
const WAITING: &str =
    "[...document.querySelectorAll('.waits .text')].map((text) => text.textContent)";
const WHY: &str = "document.querySelector('.failed .why')?.textContent";

/// An operator runs a command.
fn operate(daemon: &Daemon, words: &[&str]) {
    let output = daemon.command(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
}

/// Sends a message, and returns its `tim`.
fn tim_of(visitor: &mut Client, msg: &str) -> String {
    visitor.say("eva", msg);
    loop {
        let message = visitor.json();
        if message["msg"] == msg {
            return message["tim"].as_str().unwrap().to_owned();
        }
    }
}

#[test]
fn messages_wait_until_the_room_is_not_too_fast() {
    run(async {
        let daemon = Daemon::start("[limits]\nslow_mode_secs = 60\n");
        let mut visitor = daemon.connect();
        let page = Page::open(daemon.addr).await;
        page.name("ann").await;
        page.say("one").await;
        page.shows(&["one"]).await;
        // Both before the first reply.
        page.js("['two', 'three'].forEach((msg) => {
                document.getElementById('msg').value = msg;
                document.getElementById('composer').requestSubmit();
            })")
            .await;
        let sends = format!("/^Will be sent in [1-6]?\\d seconds$/.test({WAIT})");
        page.until(&format!("{sends} && document.querySelectorAll('.waits').length === 2")).await;
        // One more, while it counts down.
        page.say("four").await;
        assert_eq!(page.js("document.getElementById('msg').value").await, "");
        assert_eq!(page.js(WAITING).await, json!(["two", "three", "four"]));
        let why = "document.querySelector('.waits .why').textContent";
        assert_eq!(page.js(why).await, "Waiting to be sent");
        check_axe(&page, "too fast").await;
        page.picture("too-fast.png").await;
        // They can be changed and discarded.
        page.click(".waits .edit").await;
        assert_eq!(page.js("document.getElementById('msg').value").await, "two");
        page.click(".waits .discard").await;
        page.say("five").await;
        assert_eq!(page.js(WAITING).await, json!(["four", "five"]));
        // A reload keeps them, and the wait.
        page.reload().await;
        page.until(&sends).await;
        assert_eq!(page.js(WAITING).await, json!(["four", "five"]));
        operate(&daemon, &["slow", "off"]);
        page.js("(Date.now = ((now) => now + 70_000).bind(null, Date.now()))").await;
        page.shows(&["four", "five"]).await;
        page.until(&format!("{WAIT} === '' && !document.querySelector('#unsent li')")).await;
        assert_eq!([visitor.hear(), visitor.hear(), visitor.hear()], ["one", "four", "five"]);
        page.check_console(&[]).await;
    });
}

#[test]
fn slow_mode_sends_one_message_after_the_other() {
    run(async {
        for browser in [Browser::Chromium, Browser::Firefox] {
            let daemon = Daemon::start("[limits]\nslow_mode_secs = 1\n");
            let page = Page::open_in(browser, daemon.addr).await;
            page.name("ann").await;
            for text in ["one", "two", "three"] {
                page.say(text).await;
            }
            page.shows(&["one", "two", "three"]).await;
        }
    });
}

#[test]
fn a_message_that_waited_too_long_is_not_sent_by_itself() {
    run(async {
        let daemon = Daemon::start("[limits]\nslow_mode_secs = 60\n");
        let page = Page::open(daemon.addr).await;
        page.name("ann").await;
        page.say("one").await;
        page.shows(&["one"]).await;
        page.say("two").await;
        page.until("document.querySelector('.waits')").await;
        // The tab is opened again much later.
        page.js("sessionStorage.setItem('wschat.waitUntil', Date.now() - 600_000)").await;
        page.reload().await;
        page.until(&format!("{WHY} === 'Not sent: it has waited too long.'")).await;
        operate(&daemon, &["slow", "off"]);
        page.click(".failed .again").await;
        page.shows(&["two"]).await;
    });
}

#[test]
fn another_name_or_token_ends_the_wait() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        page.name("ann").await;
        let changes = [
            "document.getElementById('usr').dispatchEvent(new Event('change'))",
            "(document.getElementById('token').value = 'a.b.c',
                document.getElementById('token').dispatchEvent(new Event('change')))",
            "document.getElementById('token-forget').click()",
        ];
        let mut shown = Vec::new();
        for (index, change) in changes.iter().enumerate() {
            let texts = [format!("{index}, at once"), format!("{index}, later")];
            page.say(&texts[0]).await;
            shown.push(texts[0].clone());
            page.shows(&shown.iter().map(String::as_str).collect::<Vec<_>>()).await;
            operate(&daemon, &["slow", "60"]);
            page.say(&texts[1]).await;
            page.until("document.querySelector('.waits')").await;
            operate(&daemon, &["slow", "off"]);
            page.js(change).await;
            shown.push(texts[1].clone());
            page.shows(&shown.iter().map(String::as_str).collect::<Vec<_>>()).await;
            page.until(&format!("{WAIT} === ''")).await;
        }
    });
}

#[test]
fn a_retracted_message_is_hidden() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        page.name("ann").await;
        let mut eva = daemon.connect();
        say(&mut eva, "bob", "Good morning!");
        let tim = tim_of(&mut eva, "Buy my pills");
        say(&mut eva, "bob", "Oh, not again.");
        page.shows(&["Good morning!", "Buy my pills", "Oh, not again."]).await;
        // Another user cannot retract a message.
        eva.send(&json!({ "usr": "eva", "msg": "mine", "retract": tim }).to_string());
        page.shows(&["Good morning!", "Buy my pills", "Oh, not again.", "mine"]).await;
        operate(&daemon, &["retract", &tim]);
        page.shows(&["Good morning!", "Message retracted", "Oh, not again.", "mine"]).await;
        assert_eq!(page.js("/pills/.test(document.body.textContent)").await, false);
        operate(&daemon, &["say", "The room closes at noon."]);
        page.until(
            "document.querySelector('.server .text')?.textContent === 'The room closes at noon.'",
        )
        .await;
        assert_eq!(page.js("document.querySelectorAll('.server').length").await, 1);
        for scheme in ["light", "dark"] {
            page.media(&[("prefers-color-scheme", scheme)]).await;
            check_axe(&page, &format!("retracted, {scheme}")).await;
        }
        page.media(&[]).await;
        page.picture("retracted.png").await;
        page.check_console(&[]).await;
    });
}

#[test]
fn mutes_and_kicks_are_shown() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        page.name("ann").await;
        operate(&daemon, &["lock"]);
        page.say("hello").await;
        page.until(&format!("{WHY} === 'Not sent: only moderators may speak now.'")).await;
        operate(&daemon, &["unlock"]);
        operate(&daemon, &["mute", "ann", "--for", "3600"]);
        page.click(".again").await;
        page.until(&format!("{WHY} === 'Not sent: you have been silenced.'")).await;
        page.until(&format!("/^You can send again in /.test({WAIT})")).await;
        // The mute can end before that.
        operate(&daemon, &["unmute", "ann"]);
        page.click(".again").await;
        page.shows(&["hello"]).await;
        page.until(&format!("{WAIT} === ''")).await;
        operate(&daemon, &["mute", "ann", "--for", "3600"]);
        page.say("never").await;
        page.until(&format!("/^You can send again in /.test({WAIT})")).await;
        operate(&daemon, &["unmute", "ann"]);
        page.say("at once").await;
        page.shows(&["hello", "at once"]).await;
        page.click(".discard").await;
        page.until("!document.querySelector('#unsent li')").await;
        operate(&daemon, &["kick", "ann"]);
        page.until("document.getElementById('state-words').textContent === 'You were put out of the room.'")
            .await;
        // It connects again when its user asks for it, and not before.
        page.until("document.body.dataset.state === 'waiting'").await;
        page.click("#state-retry").await;
        page.until("document.body.dataset.state === 'open'").await;
        page.check_console(&[]).await;
    });
}

//! Moderation: rate limits, retracted messages, mutes and kicks.

use serde_json::json;

use crate::accessibility::check_axe;
use crate::driver::{Page, run};
use crate::harness::{Client, Daemon};
use crate::network::say;

const WAIT: &str = "document.getElementById('wait').textContent";
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
fn a_rate_limit_shows_the_wait_and_loses_nothing() {
    run(async {
        let daemon = Daemon::start("[limits]\nslow_mode_secs = 60\n");
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
        page.until(&format!("/^You can send again in [1-6]?\\d seconds$/.test({WAIT})")).await;
        page.until("document.querySelectorAll('.failed .again:disabled').length === 2").await;
        assert_eq!(page.js(WHY).await, "Not sent: too fast.");
        // The text in the input stays.
        page.say("four").await;
        assert_eq!(page.js("document.getElementById('msg').value").await, "four");
        check_axe(&page, "too fast").await;
        page.picture("too-fast.png").await;
        // It counts down, and then the retry works.
        let later =
            |secs| format!("(Date.now = ((now) => now + {secs}_000).bind(null, Date.now()))");
        page.js(&later(30)).await;
        page.until(&format!("/^You can send again in [123]?\\d seconds?$/.test({WAIT})")).await;
        operate(&daemon, &["slow", "off"]);
        page.js(&later(40)).await;
        page.until(&format!("!document.querySelector('.again:disabled') && {WAIT} === ''")).await;
        page.click(".again").await;
        page.shows(&["one", "two"]).await;
        // When a button is disabled, the focus moves to the input.
        operate(&daemon, &["slow", "60"]);
        page.js(
            "(document.getElementById('composer').requestSubmit(), document.querySelector('.again').focus())",
        )
        .await;
        page.until("document.querySelector('.again').disabled").await;
        assert_eq!(page.js("document.activeElement.id").await, "msg");
        page.check_console(&[]).await;
    });
}

#[test]
fn another_name_or_token_ends_the_wait() {
    run(async {
        let daemon = Daemon::start("[limits]\nslow_mode_secs = 60\n");
        let page = Page::open(daemon.addr).await;
        page.name("ann").await;
        page.say("one").await;
        page.shows(&["one"]).await;
        let change_name = "(field) => {
            field.value = 'bob';
            field.dispatchEvent(new Event('input', { bubbles: true }));
        }";
        for change in [
            format!("({change_name})(document.getElementById('usr'))"),
            "(document.getElementById('token').value = 'a.b.c',
                document.getElementById('token').dispatchEvent(new Event('change')))"
                .to_owned(),
            "document.getElementById('token-forget').click()".to_owned(),
        ] {
            page.js("document.getElementById('msg').value = 'two'").await;
            page.js("document.getElementById('composer').requestSubmit()").await;
            page.until(&format!("/^You can send again in /.test({WAIT})")).await;
            page.until("document.querySelector('.again:disabled')").await;
            page.js(&change).await;
            page.until(&format!("{WAIT} === '' && !document.querySelector('.again:disabled')"))
                .await;
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

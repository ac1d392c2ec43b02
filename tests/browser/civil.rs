//! A room that is kept civil: what comes too early, what is taken back, who is put out.

use serde_json::json;

use crate::access::check_axe;
use crate::driver::{Page, run};
use crate::harness::{Client, Daemon};
use crate::network::say;

const WAIT: &str = "document.getElementById('wait').textContent";
const WHY: &str = "document.querySelector('.failed .why')?.textContent";

/// The operator does something to the room.
fn operate(daemon: &Daemon, words: &[&str]) {
    let output = daemon.command(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
}

/// The `tim` of what a visitor says now.
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
fn who_is_too_fast_sees_how_long_to_wait_and_loses_nothing() {
    run(async {
        let daemon = Daemon::start("[limits]\nslow_mode_secs = 60\n");
        let page = Page::open(daemon.addr).await;
        page.name("ann").await;
        page.say("one").await;
        page.shows(&["one"]).await;
        // Both before the first is answered.
        page.js("['two', 'three'].forEach((msg) => {
                document.getElementById('msg').value = msg;
                document.getElementById('composer').requestSubmit();
            })")
            .await;
        page.until(&format!("/^You can send again in [1-6]?\\d seconds$/.test({WAIT})")).await;
        page.until("document.querySelectorAll('.failed .again:disabled').length === 2").await;
        assert_eq!(page.js(WHY).await, "Not sent: too fast.");
        // What is typed meanwhile stays where it is.
        page.say("four").await;
        assert_eq!(page.js("document.getElementById('msg').value").await, "four");
        check_axe(&page, "too fast").await;
        page.picture("too-fast.png").await;
        // It counts, and when the time is over the retry works.
        let later =
            |secs| format!("(Date.now = ((now) => now + {secs}_000).bind(null, Date.now()))");
        page.js(&later(30)).await;
        page.until(&format!("/^You can send again in [123]?\\d seconds?$/.test({WAIT})")).await;
        operate(&daemon, &["slow", "off"]);
        page.js(&later(40)).await;
        page.until(&format!("!document.querySelector('.again:disabled') && {WAIT} === ''")).await;
        page.click(".again").await;
        page.shows(&["one", "two"]).await;
        // A button that can be pressed no more does not take the focus with it.
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
fn what_the_server_takes_back_is_not_shown_any_more() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        page.name("ann").await;
        let mut eva = daemon.connect();
        say(&mut eva, "bob", "Good morning!");
        let tim = tim_of(&mut eva, "Buy my pills");
        say(&mut eva, "bob", "Oh, not again.");
        page.shows(&["Good morning!", "Buy my pills", "Oh, not again."]).await;
        // Nobody else can do that.
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
fn who_is_silenced_or_put_out_is_told() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        page.name("ann").await;
        operate(&daemon, &["lock"]);
        page.say("hello").await;
        page.until(&format!("{WHY} === 'Not sent: only moderators may speak now.'")).await;
        operate(&daemon, &["unlock"]);
        operate(&daemon, &["mute", "ann", "--for", "2"]);
        page.click(".again").await;
        page.until(&format!("{WHY} === 'Not sent: you have been silenced.'")).await;
        page.until(&format!("/^You can send again in /.test({WAIT})")).await;
        page.until("!document.querySelector('.again').disabled").await;
        page.click(".again").await;
        page.shows(&["hello"]).await;
        operate(&daemon, &["kick", "ann"]);
        page.until("document.getElementById('state-words').textContent === 'You were put out of the room.'")
            .await;
        page.until("document.body.dataset.state === 'open'").await;
        page.check_console(&[]).await;
    });
}

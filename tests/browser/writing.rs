//! Writing messages: keys, receipts, errors, drafts.

use serde_json::json;
use thirtyfour::prelude::*;

use crate::accessibility::check_axe;
use crate::driver::{Page, run};
use crate::harness::Daemon;
use crate::network::{Network, start_again_with};

const UNSENT: &str = "[...document.querySelectorAll('#unsent .why')].map((why) => why.textContent)";

#[test]
fn enter_sends_and_shift_enter_breaks_the_line() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        // With the keyboard alone: the name, Enter, the message.
        assert_eq!(page.js("document.activeElement.id").await, "usr");
        page.type_into("usr", "ann" + Key::Enter).await;
        assert_eq!(page.js("document.activeElement.id").await, "msg");
        page.type_into("msg", "one" + Key::Shift + Key::Enter + Key::Null + "two").await;
        assert_eq!(page.js("document.getElementById('msg').value").await, "one\ntwo");
        for composing in ["isComposing: true", "keyCode: 229"] {
            let event = format!(
                "new KeyboardEvent('keydown', {{ key: 'Enter', bubbles: true, {composing} }})"
            );
            page.js(&format!("document.getElementById('msg').dispatchEvent({event})")).await;
        }
        assert_eq!(page.js("document.getElementById('msg').value").await, "one\ntwo");
        page.type_into("msg", Key::Enter).await;
        page.shows(&["one\ntwo"]).await;
        assert_eq!(page.js("document.getElementById('msg').value").await, "");
        assert_eq!(page.js("document.activeElement.id").await, "msg");
        // An empty message is not sent.
        page.type_into("msg", "  " + Key::Enter).await;
        page.say("three").await;
        page.shows(&["one\ntwo", "three"]).await;
        page.check_console(&[]).await;
    });
}

#[test]
fn without_a_name_nothing_is_sent_or_lost() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        page.say("hello").await;
        assert_eq!(page.js("document.activeElement.id").await, "usr");
        assert_eq!(page.js("document.getElementById('msg').value").await, "hello");
        page.name("ann").await;
        page.click("#send").await;
        page.shows(&["hello"]).await;
    });
}

#[test]
fn on_a_slow_network_a_message_is_shown_as_pending() {
    run(async {
        let daemon = Daemon::start("");
        let network = Network::to(daemon.addr);
        let page = Page::open(network.address).await;
        page.name("ann").await;
        network.pause();
        page.say("slowly").await;
        page.say("one after the other").await;
        assert_eq!(page.js(UNSENT).await, json!(["Sending…", "Sending…"]));
        assert_eq!(page.js("document.querySelectorAll('#list .text').length").await, 0);
        page.picture("sending.png").await;
        network.resume();
        page.shows(&["slowly", "one after the other"]).await;
        assert_eq!(page.js(UNSENT).await, json!([]));
    });
}

#[test]
fn a_notice_is_shown_and_the_text_stays() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        page.name("wschat").await;
        page.say("I am the server").await;
        let why = json!(["Not sent: this name belongs to the server."]);
        page.until_with(&format!("JSON.stringify({UNSENT}) === JSON.stringify($)"), why).await;
        assert_eq!(
            page.js("document.querySelector('.failed .text').textContent").await,
            "I am the server"
        );
        // Another attempt is useless here, but editing under another name works.
        page.click(".again").await;
        page.until("document.querySelector('.failed .again')").await;
        page.name("ann").await;
        page.click(".edit").await;
        assert_eq!(page.js("document.getElementById('msg').value").await, "I am the server");
        assert_eq!(page.js("document.activeElement.id").await, "msg");
        page.type_into("msg", Key::Enter).await;
        page.shows(&["I am the server"]).await;
        assert_eq!(page.js(UNSENT).await, json!([]));
        page.check_console(&[]).await;
    });
}

#[test]
fn a_reload_loses_nothing() {
    run(async {
        let daemon = Daemon::start("");
        let network = Network::to(daemon.addr);
        let page = Page::open(network.address).await;
        page.name("ann").await;
        page.fill("msg", "half a sent").await;
        page.reload().await;
        assert_eq!(page.js("document.getElementById('usr').value").await, "ann");
        assert_eq!(page.js("document.getElementById('msg').value").await, "half a sent");
        // Whether the message in flight arrived is unknown, so the page asks.
        network.pause();
        page.say("under way").await;
        page.fill("msg", "the next").await;
        page.driver().refresh().await.unwrap();
        page.until("document.querySelector('.failed')").await;
        assert_eq!(
            page.js("document.querySelector('.failed .text').textContent").await,
            "under way"
        );
        assert_eq!(page.js("document.getElementById('msg').value").await, "the next");
        // It arrives now, or is sent again.
        network.resume();
        page.until(
            "document.querySelector('.failed .again')?.click()
                || [...document.querySelectorAll('#list .text')].at(-1)?.textContent === 'under way'",
        )
        .await;
        page.until("!document.querySelector('#unsent li')").await;
        page.reload().await;
        assert_eq!(page.js("document.querySelector('.failed')").await, json!(null));
    });
}

#[test]
fn near_the_limit_the_rest_is_shown_and_nothing_longer_is_sent() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        page.name("ann").await;
        let left = "document.getElementById('left').textContent";
        page.fill("msg", &"ü".repeat(5_000)).await;
        assert_eq!(page.js(left).await, "");
        page.fill("msg", &"ü".repeat(8_000)).await;
        let shown = page.js(left).await;
        assert!(shown.as_str().unwrap().ends_with(" bytes left"), "{shown}");
        page.fill("msg", &"ü".repeat(9_000)).await;
        let shown = page.js(left).await;
        assert!(shown.as_str().unwrap().ends_with(" bytes too long"), "{shown}");
        page.type_into("msg", Key::Enter).await;
        assert_eq!(page.js("document.getElementById('msg').value.length").await, 9_000);
        // A message of exactly the limit is sent, and the connection stays.
        let fill = "((box) => {
            box.value = 'x'.repeat(16_384 - JSON.stringify({ usr: 'ann', msg: '', id: 'x'.repeat(22) }).length);
            box.dispatchEvent(new Event('input'));
        })(document.getElementById('msg'))";
        page.js(fill).await;
        assert_eq!(page.js(left).await, "0 bytes left");
        page.type_into("msg", Key::Enter).await;
        page.until("document.querySelectorAll('#list .text').length === 1").await;
        assert_eq!(page.js("document.body.dataset.state").await, "open");
        page.check_console(&[]).await;
    });
}

#[test]
fn the_limit_comes_from_the_server() {
    let limit = |bytes| format!("[limits]\nmessage_bytes_max = {bytes}\n");
    run(async {
        let daemon = Daemon::start(&limit(1_000));
        let address = daemon.addr;
        let page = Page::open(address).await;
        page.name("ann").await;
        let left = "document.getElementById('left').textContent";
        page.fill("msg", &"x".repeat(900)).await;
        page.until(&format!("/^\\d\\d bytes left$/.test({left})")).await;
        page.fill("msg", &"x".repeat(1_000)).await;
        page.until(&format!("/^\\d\\d bytes too long$/.test({left})")).await;
        // If the page's limit is out of date, the server rejects the message, and the
        // page keeps the text.
        drop(daemon);
        let _daemon = start_again_with(address, &limit(500));
        page.until("document.body.dataset.state === 'waiting'").await;
        page.until("document.body.dataset.state === 'open'").await;
        page.say(&"y".repeat(800)).await;
        page.until(
            "document.querySelector('.failed .why')?.textContent === 'Not sent: it is too long.'",
        )
        .await;
        page.until("document.body.dataset.state === 'open'").await;
        page.click(".failed .edit").await;
        assert_eq!(page.js("document.getElementById('msg').value.length").await, 800);
        // When it is loaded again, it knows the limit.
        page.reload().await;
        page.until(&format!("/^3\\d\\d bytes too long$/.test({left})")).await;
        page.check_console(&["ERR_CONNECTION_REFUSED"]).await;
    });
}

#[test]
fn a_failed_message_is_sent_again_under_the_name_that_stands_there_or_discarded() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        page.name("wschat").await;
        page.say("first").await;
        page.until("document.querySelectorAll('.failed').length === 1").await;
        page.say("second").await;
        page.until("document.querySelectorAll('.failed').length === 2").await;
        page.click(".failed .discard").await;
        page.until("document.querySelectorAll('.failed').length === 1").await;
        assert_eq!(page.js("document.activeElement.id").await, "msg");
        page.reload().await;
        assert_eq!(page.js("document.querySelector('.failed .text').textContent").await, "second");
        // Without a name it is not sent.
        page.name("").await;
        page.click(".failed .again").await;
        assert_eq!(page.js("document.activeElement.id").await, "usr");
        page.name("ann").await;
        page.click(".failed .again").await;
        page.shows(&["second"]).await;
        assert_eq!(page.js("document.querySelector('#list .who').textContent").await, "ann");
        assert_eq!(page.js(UNSENT).await, json!([]));
    });
}

#[test]
fn a_command_is_never_said_to_the_room() {
    run(async {
        let daemon = Daemon::start("");
        let mut visitor = daemon.connect();
        let page = Page::open(daemon.addr).await;
        page.name("ann").await;
        let is_command = "is a command of “wschat join”. This page has no commands.";
        for (text, word) in [
            ("/mute bob", "/mute"),
            (" /mute bob 600", "/mute"),
            ("/Mute bob", "/Mute"),
            ("/kick", "/kick"),
            ("/retract 22:26:58\nplease", "/retract"),
            ("/mute:bob", "/mute"),
            ("/lock/", "/lock"),
            ("\u{200b}/token secret", "/token"),
            ("／mute bob", "／mute"),
        ] {
            page.say(text).await;
            assert_eq!(page.js(UNSENT).await, json!([format!("{word} {is_command}")]), "{text:?}");
            page.reload().await;
            assert_eq!(page.js(UNSENT).await, json!([format!("{word} {is_command}")]), "{text:?}");
            assert_eq!(page.js("document.querySelectorAll('.again, .sendAnyway').length").await, 0);
            page.click(".failed .discard").await;
        }
        for text in ["/shrug", "/ban bob", "/MUTED bob", "/8ball", "/me waves"] {
            page.say(text).await;
            let word = text.split(' ').next().unwrap();
            let asks = format!("{word} looks like a command. Send it to everybody?");
            assert_eq!(page.js(UNSENT).await, json!([asks]));
            if text == "/me waves" {
                check_axe(&page, "a word that looks like a command").await;
                page.picture("command.png").await;
                page.click(".failed .sendAnyway").await;
            } else {
                page.click(".failed .edit").await;
                assert_eq!(page.js("document.getElementById('msg').value").await, text);
            }
        }
        assert_eq!(visitor.hear(), "/me waves");
        // These are no commands.
        for text in ["/etc/passwd is a file", "//", "/ and", "either/or", "/8", "a /mute"] {
            page.say(text).await;
            assert_eq!(visitor.hear(), text);
        }
        page.check_console(&[]).await;
    });
}

#[test]
fn a_message_on_its_way_does_not_jump_when_it_is_sent() {
    run(async {
        let daemon = Daemon::start("");
        let network = Network::to(daemon.addr);
        let page = Page::open(network.address).await;
        page.name("ann").await;
        let mut texts: Vec<String> = (0..3).map(|number| format!("short {number}")).collect();
        texts.push("a longer text that takes more than one line of the window ".repeat(5));
        texts.extend((0..30).map(|number| format!("more {number}")));
        for (count, text) in texts.iter().enumerate() {
            network.pause();
            page.say(text).await;
            page.until("document.querySelector('.sending')").await;
            let pending = page.js("(({ top, height }) => [top, height])(document.querySelector('.sending .text').getBoundingClientRect())").await;
            network.resume();
            page.until_with(
                "document.querySelectorAll('#list .text').length === $",
                json!(count + 1),
            )
            .await;
            let sent = page.js("(({ top, height }) => [top, height])([...document.querySelectorAll('#list .text')].at(-1).getBoundingClientRect())").await;
            for axis in 0..2 {
                let moved = pending[axis].as_f64().unwrap() - sent[axis].as_f64().unwrap();
                assert!(moved.abs() < 1.5, "{text}: {pending} and {sent}");
            }
        }
        page.check_console(&[]).await;
    });
}

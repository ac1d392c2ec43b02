//! The menu of a message, and what moderators do with it.

use serde_json::{Value, json};
use thirtyfour::prelude::*;

use crate::accessibility::check_axe;
use crate::driver::{BROWSERS, Browser, Page, PageOptions, run};
use crate::harness::{Client, Daemon, UNLIMITED};
use crate::network::say;
use crate::token::{SECRET, token};

const DID: &str = "document.getElementById('did').textContent";
const OFFERED: &str = "[...document.querySelectorAll('#menu:popover-open button')]
    .filter((button) => button.checkVisibility()).map((button) => button.dataset.entry)";
const FOR_ALL: [&str; 3] = ["mention", "copy", "hide"];
const FOR_MODERATORS: [&str; 7] =
    ["retract", "retractAll", "mute600", "mute3600", "mute", "muteAndRetract", "kick"];

/// A room with moderators.
fn moderated() -> Daemon {
    Daemon::start(&format!(
        "{UNLIMITED}[auth]\njwt_secret = \"{SECRET}\"\nmoderator_claim = \"mod\"\ncheck_exp = false\n"
    ))
}

/// Sends a message with a token for this name.
fn speak(client: &mut Client, usr: &str, msg: &str) {
    let jwt = token(&json!({ "sub": usr }));
    client.send(&json!({ "usr": usr, "msg": msg, "jwt": jwt }).to_string());
}

/// Sends a message, and waits until it comes back.
fn spoken(client: &mut Client, usr: &str, msg: &str) {
    speak(client, usr, msg);
    while client.json()["msg"] != msg {}
}

/// Opens the page with a token of these claims.
async fn open_with(browser: Browser, daemon: &Daemon, claims: &Value) -> Page {
    let page = Page::open_in(browser, daemon.addr).await;
    give(&page, claims).await;
    page
}

async fn give(page: &Page, claims: &Value) {
    let set = "sessionStorage.setItem('wschat.token', $)";
    page.js_with(set, json!(token(claims))).await;
    page.reload().await;
    page.name("ann").await;
}

fn moderator() -> Value {
    json!({ "sub": "ann", "mod": true })
}

/// Opens the menu of the last message with this text.
async fn open_menu(page: &Page, msg: &str) {
    let times = "[...document.querySelectorAll('#list time')]
        .filter((time) => time.parentNode.querySelector('.text').textContent === $)";
    page.until_with(&format!("{times}.length"), json!(msg)).await;
    let msg = json!(msg);
    open_menu_by(page, &times.replace('$', &msg.to_string()), -1).await;
}

/// Opens the menu by this one of these times.
async fn open_menu_by(page: &Page, times: &str, index: i32) {
    let script = format!("return {times}.at({index})");
    let time = page.driver().execute(script, vec![]).await.unwrap().element().unwrap();
    time.click().await.unwrap();
    page.until("document.querySelector('#menu:popover-open')").await;
}

const TIMES: &str = "[...document.querySelectorAll('#list time')]";

async fn choose(page: &Page, entry: &str) {
    page.click(&format!("#menu [data-entry={entry}]")).await;
    page.until("!document.querySelector('#menu:popover-open')").await;
}

async fn did(page: &Page, words: &str) {
    page.until_with(&format!("{DID} === $"), json!(words)).await;
}

#[test]
fn two_clicks_remove_spam_for_everybody_and_mute_its_author() {
    run(async {
        for browser in BROWSERS {
            let daemon = moderated();
            let page = open_with(browser, &daemon, &moderator()).await;
            let mut bob = daemon.connect();
            let mut eva = daemon.connect();
            spoken(&mut bob, "bob", "Buy pills");
            spoken(&mut eva, "eva", "What is that?");
            spoken(&mut bob, "bob", "Buy more pills");
            open_menu(&page, "Buy pills").await;
            choose(&page, "muteAndRetract").await;
            let gone = ["Message retracted", "What is that?", "Message retracted"];
            page.shows(&gone).await;
            did(&page, "bob can no longer speak. Messages retracted: 2.").await;
            loop {
                let heard = eva.json();
                if heard["retract"].is_string() {
                    assert_eq!(heard["also"].as_array().unwrap().len(), 1);
                    break;
                }
            }
            speak(&mut bob, "bob", "again");
            while bob.json()["err"] != "muted" {}
            page.click("#undo").await;
            did(&page, "bob can speak again.").await;
            assert_eq!(page.js("document.getElementById('undo').hidden").await, true);
            spoken(&mut bob, "bob", "sorry");
            page.shows(&[&gone[..], &["sorry"]].concat()).await;
            // What was done is not shown for ever.
            page.say("fine").await;
            did(&page, "").await;
        }
    });
}

#[test]
fn each_entry_does_what_it_says() {
    run(async {
        let daemon = moderated();
        let page = open_with(Browser::Chromium, &daemon, &moderator()).await;
        let mut bob = daemon.connect();
        let mut eva = daemon.connect();
        spoken(&mut eva, "eva", "hello");
        for msg in ["one", "two", "three"] {
            spoken(&mut bob, "bo\u{200b}b", msg);
        }
        // The command has the name as it is, the page shows it without what deceives.
        for (entry, words) in [
            ("retract", "Message retracted"),
            ("retractAll", "Messages retracted: 2."),
            ("retractAll", "Messages retracted: 0."),
            ("mute600", "bo\u{fffd}b can speak again in 10 minutes."),
            ("mute3600", "bo\u{fffd}b can speak again in 60 minutes."),
            ("mute", "bo\u{fffd}b can no longer speak."),
            ("kick", "bo\u{fffd}b was put out (connections: 1)."),
            ("kick", "bo\u{fffd}b is not here."),
        ] {
            let text = if entry == "retract" { "two" } else { "Message retracted" };
            open_menu(&page, text).await;
            choose(&page, entry).await;
            did(&page, words).await;
        }
        let output = daemon.command(&["mutes"]).output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("bo"), "{output:?}");
        // The server decides.
        daemon.reload(&format!("[auth]\njwt_secret = \"{SECRET}\"\nmoderator_claim = \"boss\"\n"));
        open_menu(&page, "hello").await;
        choose(&page, "kick").await;
        did(&page, "Not done: this token is not a moderator’s.").await;
        page.check_console(&[]).await;
        drop(daemon);
        page.until("document.body.dataset.state === 'waiting'").await;
        open_menu(&page, "hello").await;
        choose(&page, "kick").await;
        did(&page, "Not done: there is no connection.").await;
    });
}

#[test]
fn moderators_lock_and_slow_the_room() {
    run(async {
        for browser in BROWSERS {
            let daemon = moderated();
            let page = open_with(browser, &daemon, &moderator()).await;
            let mut bob = daemon.connect();
            for (index, words, refused) in [
                (1, "Only moderators may speak now.", Some("locked")),
                (2, "Everybody may speak", None),
                (6, "Wait between messages: 30 seconds", Some("rate-limited")),
                (3, "Wait between messages: 0 seconds", None),
            ] {
                let button = format!("#room-acts button:nth-of-type({index})");
                page.click("#settings-open").await;
                page.click(&button).await;
                did(&page, words).await;
                // What is in force is pressed, once the server has told it.
                let pressed = format!("document.querySelector('{button}').ariaPressed === 'true'");
                let open = "document.getElementById('settings-open').click()";
                page.until(&format!("{open} || {pressed}")).await;
                page.js("document.getElementById('settings').close()").await;
                assert_eq!(page.js("document.getElementById('settings').open").await, false);
                speak(&mut bob, "bob", "hello");
                match refused {
                    Some(code) => while bob.json()["err"] != code {},
                    None => while bob.json()["msg"] != "hello" {},
                }
            }
        }
    });
}

#[test]
fn others_are_offered_nothing_of_moderators() {
    run(async {
        let daemon = moderated();
        let mut bob = daemon.connect();
        let page = Page::open(daemon.addr).await;
        for (claims, is_moderator) in [
            (json!({ "sub": "ann" }), false),
            (json!({ "sub": "ann", "mod": "true" }), false),
            (json!({ "sub": "ann", "mod": true, "exp": 1_000_000_000 }), true),
            (json!({ "sub": "ann", "mod": true, "exp": 4_000_000_000_u32 }), true),
        ] {
            give(&page, &claims).await;
            spoken(&mut bob, "bob", "hello");
            open_menu(&page, "hello").await;
            let moderators: &[&str] = if is_moderator { &FOR_MODERATORS } else { &[] };
            assert_eq!(page.js(OFFERED).await, json!([&FOR_ALL, moderators].concat()), "{claims}");
            page.driver().action_chain().send_keys(Key::Escape).perform().await.unwrap();
            page.until("!document.querySelector('#menu:popover-open')").await;
            page.click("#settings-open").await;
            let is_shown = page.js("document.getElementById('room-acts').checkVisibility()").await;
            assert_eq!(is_shown, is_moderator, "{claims}");
            page.click("#settings-close").await;
        }
        // What the server says has no author.
        let output = daemon.command(&["say", "The room closes."]).output().unwrap();
        assert!(output.status.success());
        open_menu(&page, "The room closes.").await;
        assert_eq!(page.js(OFFERED).await, json!(["copy", "retract"]));
    });
}

#[test]
fn a_person_can_be_hidden_in_this_tab() {
    run(async {
        for browser in BROWSERS {
            let daemon = Daemon::start(UNLIMITED);
            let page = Page::open_in(browser, daemon.addr).await;
            page.name("ann").await;
            let mut visitor = daemon.connect();
            for number in 0..40 {
                say(&mut visitor, "eva", &format!("line {number}"));
                say(&mut visitor, "bob", "noise");
            }
            page.until("document.querySelectorAll('.line').length === 80").await;
            let shown = "[...document.querySelectorAll('#list .text')]
                .filter((text) => text.checkVisibility()).map((text) => text.textContent)";
            // What is in view stays there.
            page.js("document.querySelectorAll('.line')[40].scrollIntoView()").await;
            page.until("!document.getElementById('jump').hidden").await;
            let place = "document.querySelectorAll('.line')[40].getBoundingClientRect().top";
            let before = page.js(place).await.as_f64().unwrap();
            open_menu_by(&page, TIMES, 43).await;
            choose(&page, "hide").await;
            page.until(&format!("!{shown}.includes('noise')")).await;
            let moved = page.js(place).await.as_f64().unwrap() - before;
            assert!(moved.abs() < 1.5, "{browser:?}: {moved}");
            let who = "document.getElementById('hidden-who').textContent";
            assert_eq!(page.js(who).await, "Hidden: 1 (bob)");
            // It is neither counted nor called out.
            say(&mut visitor, "bob", "ann, more noise");
            say(&mut visitor, "eva", "news");
            page.until("document.getElementById('jump').textContent === 'New messages: 1'").await;
            assert_eq!(page.js("document.querySelector('.mention')").await, Value::Null);
            page.reload().await;
            assert_eq!(page.js(who).await, "Hidden: 1 (bob)");
            say(&mut visitor, "bob", "even more");
            say(&mut visitor, "eva", "more news");
            page.until(&format!("JSON.stringify({shown}) === '[\"more news\"]'")).await;
            page.click("#hidden-end").await;
            page.until(&format!("{shown}.includes('even more')")).await;
            assert_eq!(page.js("document.getElementById('hidden').hidden").await, true);
        }
    });
}

#[test]
fn a_message_is_copied_and_its_name_mentioned() {
    run(async {
        for browser in BROWSERS {
            let daemon = Daemon::start("");
            let page = Page::open_in(browser, daemon.addr).await;
            let mut visitor = daemon.connect();
            say(&mut visitor, "bob", "hello");
            page.js("addEventListener('copy', (event) => (window.copied = event.clipboardData.getData('text/plain')))")
                .await;
            open_menu(&page, "hello").await;
            choose(&page, "copy").await;
            did(&page, "Copied.").await;
            let time = page.js("document.querySelector('#list time').textContent").await;
            let line = format!("[{}] bob: hello", time.as_str().unwrap());
            assert_eq!(page.js("window.copied").await, line, "{browser:?}");
            open_menu(&page, "hello").await;
            choose(&page, "mention").await;
            assert_eq!(page.js("document.getElementById('msg').value").await, "@bob ");
            assert_eq!(page.js("document.activeElement.id").await, "msg");
        }
    });
}

#[test]
fn the_menu_keeps_its_message_in_a_flood() {
    run(async {
        for browser in BROWSERS {
            let daemon = moderated();
            let page = open_with(browser, &daemon, &moderator()).await;
            let mut bob = daemon.connect();
            let mut eva = daemon.connect();
            spoken(&mut bob, "bob", "spam");
            open_menu(&page, "spam").await;
            let place = "(({ left, top }) => [left, top])(document.querySelector('#menu [data-entry=kick]').getBoundingClientRect())";
            let before = page.js(place).await;
            // More than the list keeps.
            for number in 0..2_100 {
                speak(&mut eva, "eva", &format!("message {number}"));
                eva.json();
            }
            page.until(
                "[...document.querySelectorAll('.text')].at(-1).textContent === 'message 2099'",
            )
            .await;
            page.until("![...document.querySelectorAll('.text')].some((text) => text.textContent === 'spam')").await;
            assert_eq!(page.js(place).await, before, "{browser:?}");
            let of = page.js("document.getElementById('menu-of').textContent").await;
            assert!(of.as_str().unwrap().ends_with(": spam"), "{of}");
            choose(&page, "kick").await;
            did(&page, "bob was put out (connections: 1).").await;
        }
    });
}

#[test]
fn the_menu_needs_no_pointer() {
    run(async {
        for browser in BROWSERS {
            let daemon = moderated();
            let page = open_with(browser, &daemon, &moderator()).await;
            let mut bob = daemon.connect();
            for msg in ["one", "two", "three"] {
                spoken(&mut bob, "bob", msg);
            }
            page.shows(&["one", "two", "three"]).await;
            page.js("document.getElementById('scroller').focus()").await;
            let keys = async |keys: &[Key]| {
                for key in keys {
                    page.driver().action_chain().send_keys(key.clone()).perform().await.unwrap();
                }
            };
            keys(&[Key::Tab]).await;
            assert_eq!(page.js("document.activeElement.id").await, "more", "{browser:?}");
            let named = "document.getElementById('more').textContent";
            assert!(page.js(named).await.as_str().unwrap().ends_with(": three"));
            keys(&[Key::Up]).await;
            assert!(page.js(named).await.as_str().unwrap().ends_with(": two"));
            let marked = "document.querySelector('.chosen .text').textContent";
            assert_eq!(page.js(marked).await, "two");
            keys(&[Key::Enter]).await;
            page.until("document.activeElement.dataset.entry === 'mention'").await;
            assert_eq!(page.js(marked).await, "two");
            keys(&[Key::Tab, Key::Tab, Key::Tab]).await;
            page.until("document.activeElement.dataset.entry === 'retract'").await;
            keys(&[Key::Escape]).await;
            page.until("!document.querySelector('#menu:popover-open')").await;
            assert_eq!(page.js("document.activeElement.id").await, "more", "{browser:?}");
            assert_eq!(page.js(marked).await, "two");
            keys(&[Key::Enter, Key::Tab, Key::Tab, Key::Tab, Key::Enter]).await;
            page.shows(&["one", "Message retracted", "three"]).await;
            assert_eq!(page.js("document.activeElement.id").await, "more", "{browser:?}");
            keys(&[Key::Tab]).await;
            assert_eq!(page.js("document.querySelector('.chosen')").await, Value::Null);
        }
    });
}

#[test]
fn the_menu_is_accessible_and_fits_a_phone() {
    run(async {
        for (width, height, phone) in [(900, 700, false), (360, 640, true), (320, 330, true)] {
            let daemon = moderated();
            let options = PageOptions { width, height, phone, ..PageOptions::default() };
            let page = Page::open_as(daemon.addr, options).await;
            give(&page, &moderator()).await;
            let mut bob = daemon.connect();
            for number in 0..20 {
                spoken(&mut bob, "bob", &format!("{number} {}", "word ".repeat(20)));
            }
            page.until("document.querySelectorAll('.line').length === 20").await;
            page.js("document.addEventListener('click', (event) => (window.point = [event.clientX, event.clientY]))")
                .await;
            for scheme in ["light", "dark"] {
                page.media(&[("prefers-color-scheme", scheme)]).await;
                check_axe(&page, &format!("{width} px, {scheme}")).await;
                for (line, index) in [("first", 0), ("last", -1)] {
                    let time = format!("{TIMES}.at({index})");
                    page.js(&format!("{time}.scrollIntoView({{ block: 'nearest' }})")).await;
                    page.run("await new Promise(requestAnimationFrame)").await;
                    open_menu_by(&page, TIMES, index).await;
                    let fits = "(({ left, top, right, bottom }) => left >= 0 && top >= 0 && right <= innerWidth
                        && bottom <= innerHeight)(document.getElementById('menu').getBoundingClientRect())";
                    assert_eq!(page.js(fits).await, true, "{width} px, {line}");
                    // A second click meets no entry.
                    let meets =
                        "document.elementFromPoint(...window.point).closest('#menu') !== null";
                    assert_eq!(page.js(meets).await, false, "{width} px, {line}");
                    let small = "[...document.querySelectorAll('#menu button, #list .line')]
                        .filter((node) => node.offsetHeight < 24 || node.offsetWidth < 24).length";
                    assert!(!phone || page.js(small).await == 0, "{width} px");
                    check_axe(&page, &format!("menu, {width} px, {scheme}, {line}")).await;
                    page.picture(&format!("menu-{width}-{scheme}-{line}.png")).await;
                    page.driver().action_chain().send_keys(Key::Escape).perform().await.unwrap();
                    page.until("!document.querySelector('#menu:popover-open')").await;
                }
            }
            page.click("#settings-open").await;
            check_axe(&page, "settings of a moderator").await;
            page.picture(&format!("settings-moderator-{width}.png")).await;
        }
    });
}

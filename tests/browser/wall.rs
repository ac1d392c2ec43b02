//! `/?wall`: the messages alone, for a screen or a stream.

use serde_json::json;

use crate::accessibility::check_axe;
use crate::driver::{Browser, Page, run};
use crate::harness::Daemon;
use crate::network::say;
use crate::other_origin::other_origin;

const OPEN: &str = "document.body.dataset.state === 'open'";
/// Whether the last message is in the window, and the first one is not.
const AT_END: &str = "(() => {
    const lines = [...document.querySelectorAll('.line')].map((line) => line.getBoundingClientRect());
    return lines.at(-1).bottom <= innerHeight && lines.at(-1).top > innerHeight / 2 && lines[0].bottom < 0;
})()";

async fn open(browser: Browser, daemon: &Daemon, path: &str) -> Page {
    let page = Page::visit(browser, &format!("http://{}/{path}", daemon.addr)).await;
    page.until(OPEN).await;
    page
}

#[test]
fn a_wall_shows_messages_and_nothing_else() {
    run(async {
        for browser in [Browser::Chromium, Browser::Firefox] {
            let daemon = Daemon::start("");
            let page = open(browser, &daemon, "?wall").await;
            let mut visitor = daemon.connect();
            say(&mut visitor, "ann", "Good morning");
            say(&mut visitor, "bob", "Is the build green?");
            page.shows(&["Good morning", "Is the build green?"]).await;
            // Nothing to press or to fill in, and large letters at the bottom.
            let visible = page
                .js("[...document.querySelectorAll('h1, a, button, input, textarea, select, dialog, p:not(#spoken), time, .day')]
                    .filter((node) => node.checkVisibility() && node.getBoundingClientRect().width > 2)
                    .map((node) => node.id || node.localName)")
                .await;
            assert_eq!(visible, json!(["title"]), "{browser:?}");
            let size = "parseFloat(getComputedStyle(document.querySelector('.text')).fontSize)";
            assert!(page.js(size).await.as_f64().unwrap() >= 24.0);
            let bottom = "[...document.querySelectorAll('.line')].at(-1).getBoundingClientRect().bottom / innerHeight";
            assert!(page.js(bottom).await.as_f64().unwrap() > 0.8);
            assert_eq!(page.js("document.querySelectorAll('.who').length").await, 2);
            // What is retracted goes.
            let tim = page.js("document.querySelector('time').dateTime").await;
            let retracted = daemon.command(&["retract", tim.as_str().unwrap()]).output().unwrap();
            assert!(retracted.status.success(), "{retracted:?}");
            page.shows(&["Message retracted", "Is the build green?"]).await;
            visitor.json();
            // A wall that is not connected says so.
            drop(daemon);
            page.until("document.body.dataset.state === 'waiting'").await;
            page.until("document.getElementById('state').checkVisibility()").await;
        }
    });
}

#[test]
fn a_wall_always_follows() {
    run(async {
        for browser in [Browser::Chromium, Browser::Firefox] {
            let daemon = Daemon::start("");
            let page = open(browser, &daemon, "?wall").await;
            let mut visitor = daemon.connect();
            for number in 0..40 {
                say(&mut visitor, &format!("name {}", number / 3), &format!("message {number}"));
            }
            page.until("document.querySelectorAll('.line').length === 40").await;
            page.until(AT_END).await;
            page.act(json!({
                "type": "wheel", "id": "wheel", "actions": [
                    { "type": "scroll", "x": 200, "y": 200, "deltaX": 0, "deltaY": -400 },
                ],
            }))
            .await;
            page.act(json!({
                "type": "key", "id": "key", "actions": [
                    { "type": "keyDown", "value": "\u{E00E}" }, { "type": "keyUp", "value": "\u{E00E}" },
                ],
            }))
            .await;
            page.js("document.getElementById('scroller').scrollTop = 0").await;
            page.js("getSelection().selectAllChildren(document.getElementById('list'))").await;
            say(&mut visitor, "ann", "the last one");
            page.until("document.querySelectorAll('.line').length === 41").await;
            page.until(AT_END).await;
        }
    });
}

#[test]
fn a_wall_uses_nothing_that_the_page_has_stored() {
    run(async {
        let daemon = Daemon::start("");
        let page = open(Browser::Chromium, &daemon, "").await;
        page.name("ann").await;
        page.say("/mute bob").await;
        page.until("document.querySelector('.failed')").await;
        page.fill("msg", "a draft").await;
        let stored = "JSON.stringify([{ ...localStorage }, { ...sessionStorage }])";
        let before = page.js(stored).await;
        assert!(before.as_str().unwrap().contains("a draft"), "{before}");
        page.driver().goto(format!("http://{}/?wall", daemon.addr)).await.unwrap();
        page.until(OPEN).await;
        say(&mut daemon.connect(), "bob", "hello ann");
        page.shows(&["hello ann"]).await;
        assert_eq!(page.js("document.querySelectorAll('.mention, .failed').length").await, 0);
        assert_eq!(page.js(stored).await, before);
        page.check_console(&[]).await;
    });
}

#[test]
fn axe_finds_nothing_on_a_wall() {
    run(async {
        let daemon = Daemon::start("");
        let site = other_origin(
            "<html lang=en><title>A stream</title>
            <style>
                body { margin: 0; background: linear-gradient(130deg, #f5e9c8 45%, #27406b 45%); }
                iframe { display: block; width: 100vw; height: 100vh; border: 0; }
            </style>
            <iframe title=Chat></iframe>",
        );
        let site = format!("http://localhost:{}", site.port());
        daemon.reload(&format!("listen.origins = ['{site}', 'http://{}']", daemon.addr));
        let fill = || {
            let mut visitor = daemon.connect();
            say(&mut visitor, "ann", "Good morning! The log is at https://example.org/log/412.");
            say(&mut visitor, "Zoë", "Thank you. `make test` is green here.");
            say(&mut visitor, "שלום", "بخير، شكرا");
            say(&mut visitor, "ann", "Then let us begin.");
        };
        let page = open(Browser::Chromium, &daemon, "?wall").await;
        check_axe(&page, "an empty wall").await;
        fill();
        page.until("document.querySelectorAll('.line').length === 4").await;
        for scheme in ["light", "dark"] {
            page.media(&[("prefers-color-scheme", scheme)]).await;
            check_axe(&page, &format!("a wall, {scheme}")).await;
        }
        page.picture("wall.png").await;
        page.media(&[("prefers-color-scheme", "light")]).await;
        page.driver().goto(format!("http://{}/?wall=transparent", daemon.addr)).await.unwrap();
        page.until(OPEN).await;
        fill();
        page.until("document.querySelectorAll('.line').length === 4").await;
        check_axe(&page, "a transparent wall").await;
        for node in ["documentElement", "body"] {
            let background = format!("getComputedStyle(document.{node}).backgroundColor");
            assert_eq!(page.js(&background).await, "rgba(0, 0, 0, 0)");
        }
        // Over another page, in its frame.
        page.driver().goto(&site).await.unwrap();
        let source = format!("http://{}/?wall=transparent", daemon.addr);
        page.js_with("document.querySelector('iframe').src = $", json!(source)).await;
        page.driver().enter_frame(0).await.unwrap();
        page.until(OPEN).await;
        fill();
        page.until("document.querySelectorAll('.line').length === 4").await;
        page.driver().enter_parent_frame().await.unwrap();
        page.picture("overlay.png").await;
    });
}

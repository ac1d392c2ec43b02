//! What is under a pointer stays there between press and release.

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use crate::driver::{BROWSERS, Page, PageOptions, run};
use crate::harness::{Daemon, UNLIMITED};
use crate::network::Network;
use crate::token::{SECRET, token};

fn mouse(actions: &[Value]) -> Value {
    json!({ "type": "pointer", "id": "mouse", "parameters": { "pointerType": "mouse" }, "actions": actions })
}

/// Presses the mouse on the centre of an element.
async fn press(page: &Page, selector: &str) {
    let centre = page
        .js_with(
            "((node) => {
                node.scrollIntoView({ block: 'nearest' });
                const { left, top, width, height } = node.getBoundingClientRect();
                return [left + width / 2, top + height / 2].map(Math.round);
            })(document.querySelector($))",
            json!(selector),
        )
        .await;
    let place = json!({ "type": "pointerMove", "origin": "viewport", "x": centre[0], "y": centre[1], "duration": 0 });
    page.act(mouse(&[place, json!({ "type": "pointerDown", "button": 0 })])).await;
}

async fn release(page: &Page) {
    page.act(mouse(&[json!({ "type": "pointerUp", "button": 0 })])).await;
}

/// Where an element is.
async fn place(page: &Page, selector: &str) -> Value {
    let place =
        "(({ left, top }) => [left, top])(document.querySelector($).getBoundingClientRect())";
    page.js_with(place, json!(selector)).await
}

#[test]
fn a_control_does_not_move_when_a_token_is_taken() {
    run(async {
        let daemon = Daemon::start(&format!("[auth]\njwt_secret = \"{SECRET}\"\n"));
        let until = Utc::now() + TimeDelta::days(1);
        let ann = token(&json!({ "sub": "ann", "exp": until.timestamp() }));
        for browser in BROWSERS {
            let page = Page::open_in(browser, daemon.addr).await;
            for (control, effect) in [
                ("#settings-close", "!document.getElementById('settings').open"),
                ("#sound", "document.getElementById('sound').checked"),
            ] {
                page.click("#settings-open").await;
                page.js("document.getElementById('settings-close').scrollIntoView()").await;
                page.type_into("token", ann.as_str()).await;
                let bring = "document.querySelector($).scrollIntoView({ block: 'nearest' })";
                page.js_with(bring, json!(control)).await;
                let before = place(&page, control).await;
                press(&page, control).await;
                assert_eq!(place(&page, control).await, before, "{browser:?}, {control}");
                release(&page).await;
                page.until(effect).await;
                page.until("sessionStorage.getItem('wschat.token')").await;
                page.until("document.getElementById('token-is').textContent").await;
                if control == "#sound" {
                    assert_eq!(place(&page, control).await, before, "{browser:?}, {control}");
                }
                page.js("sessionStorage.clear()").await;
                page.reload().await;
            }
        }
    });
}

#[test]
fn a_button_does_not_move_when_another_message_is_sent() {
    run(async {
        let daemon = Daemon::start("");
        let network = Network::to(daemon.addr);
        for browser in BROWSERS {
            let page = Page::open_in(browser, network.address).await;
            page.name("wschat").await;
            for msg in ["first", "second"] {
                page.say(msg).await;
            }
            page.until("document.querySelectorAll('.failed').length === 2").await;
            page.name("ann").await;
            let mut visitor = daemon.connect();
            network.pause();
            page.js("Object.assign(document.getElementById('msg'), { value: 'third' })").await;
            page.js("document.getElementById('composer').requestSubmit()").await;
            page.until("document.querySelector('.sending')").await;
            let before = place(&page, ".failed .edit").await;
            press(&page, ".failed .edit").await;
            network.resume();
            assert_eq!(visitor.hear(), "third");
            page.until(
                "!JSON.parse(sessionStorage.getItem('wschat.unsent')).some(({ why }) => !why)",
            )
            .await;
            assert_eq!(place(&page, ".failed .edit").await, before);
            release(&page).await;
            page.until("document.getElementById('msg').value === 'first'").await;
            page.shows(&["third"]).await;
        }
    });
}

#[test]
fn a_double_click_discards_one_message() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        page.name("wschat").await;
        for msg in ["first", "second"] {
            page.say(msg).await;
        }
        page.until("document.querySelectorAll('.failed').length === 2").await;
        // The second click meets the button of the other message.
        page.js("[1, 2].forEach((detail) => document.querySelector('.discard')
                .dispatchEvent(new MouseEvent('click', { bubbles: true, detail })))")
            .await;
        assert_eq!(page.js("document.querySelectorAll('.failed').length").await, 1);
    });
}

#[test]
fn the_header_does_not_move_when_the_connection_breaks() {
    run(async {
        let daemon = Daemon::start("");
        let network = Network::to(daemon.addr);
        let options = PageOptions { width: 360, height: 640, ..PageOptions::default() };
        let page = Page::open_as(network.address, options).await;
        let before = place(&page, "#settings-open").await;
        press(&page, "#settings-open").await;
        network.cut();
        page.until("document.body.dataset.state === 'waiting'").await;
        assert_eq!(place(&page, "#settings-open").await, before);
        release(&page).await;
        page.until("document.getElementById('settings').open").await;
        page.until("!document.getElementById('state-retry').hidden").await;
    });
}

#[test]
fn a_link_stays_under_the_pointer_while_messages_come() {
    run(async {
        let daemon = Daemon::start(UNLIMITED);
        for browser in BROWSERS {
            let page = Page::open_in(browser, daemon.addr).await;
            let mut visitor = daemon.connect();
            for number in 0..60 {
                visitor.say("ann", &format!("line {number}"));
                visitor.hear();
            }
            visitor.say("ann", "https://example.org/");
            visitor.hear();
            page.until("document.querySelector('#list a')").await;
            page.js("document.addEventListener('click', (event) => {
                    event.preventDefault();
                    window.clicks = (window.clicks ?? 0) + (event.target.localName === 'a');
                })")
                .await;
            let before = place(&page, "#list a").await;
            // Of two presses the second counts.
            press(&page, "#list a").await;
            release(&page).await;
            press(&page, "#list a").await;
            for number in 0..20 {
                visitor.say("bob", &format!("more {number}"));
                visitor.hear();
            }
            page.run("for (let frame = 0; frame < 20; frame += 1) await new Promise(requestAnimationFrame)").await;
            assert_eq!(place(&page, "#list a").await, before, "{browser:?}");
            release(&page).await;
            page.until("window.clicks === 2").await;
            page.until("document.querySelectorAll('.line').length === 81").await;
            assert_eq!(page.js("document.getElementById('jump').hidden").await, true);
        }
    });
}

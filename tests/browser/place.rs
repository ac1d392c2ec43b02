//! What tells a person where they are: what is new, which lines are their own, the ways by
//! keyboard.

use serde_json::json;
use thirtyfour::prelude::*;

use crate::accessibility::check_axe;
use crate::driver::{BROWSERS, Page, run};
use crate::harness::{Daemon, UNLIMITED};
use crate::network::{Network, say};

/// The texts and the lines between them.
const ROWS: &str =
    "[...document.querySelectorAll('#list .text, #list .day')].map((row) => row.textContent)";
const NEW: &str = "New since you left";

async fn shows_rows(page: &Page, rows: &[&str]) {
    page.until_with(&format!("JSON.stringify({ROWS}) === JSON.stringify($)"), json!(rows)).await;
}

async fn leave(page: &Page) {
    page.js("(document.hasFocus = () => false)").await;
}

async fn come_back(page: &Page) {
    page.js("(document.hasFocus = () => true, dispatchEvent(new Event('focus')))").await;
}

#[test]
fn a_line_says_what_is_new_since_the_reader_left() {
    run(async {
        let daemon = Daemon::start(UNLIMITED);
        let page = Page::open(daemon.addr).await;
        page.name("ann").await;
        let mut visitor = daemon.connect();
        // There is nothing above the first message.
        leave(&page).await;
        say(&mut visitor, "bob", "first");
        shows_rows(&page, &["first"]).await;
        come_back(&page).await;
        say(&mut visitor, "bob", "seen");
        shows_rows(&page, &["first", "seen"]).await;
        leave(&page).await;
        say(&mut visitor, "bob", "one");
        say(&mut visitor, "bob", "two");
        shows_rows(&page, &["first", "seen", NEW, "one", "two"]).await;
        // It stays until the reader leaves again,
        come_back(&page).await;
        say(&mut visitor, "bob", "three");
        shows_rows(&page, &["first", "seen", NEW, "one", "two", "three"]).await;
        check_axe(&page, "new").await;
        page.picture("new.png").await;
        leave(&page).await;
        say(&mut visitor, "bob", "four");
        shows_rows(&page, &["first", "seen", "one", "two", "three", NEW, "four"]).await;
        // or says something.
        come_back(&page).await;
        page.say("mine").await;
        let rows = ["first", "seen", "one", "two", "three", "four", "mine"];
        shows_rows(&page, &rows).await;
        // Own messages are not new.
        leave(&page).await;
        page.say("also mine").await;
        shows_rows(&page, &[&rows[..], &["also mine"]].concat()).await;
        come_back(&page).await;
        // Who reads above has left, too; nothing moves there.
        for number in 0..60 {
            say(&mut visitor, "ci", &format!("line {number}"));
        }
        page.until("document.querySelectorAll('#list .text').length === 68").await;
        page.js("document.getElementById('scroller').scrollTop = 100").await;
        page.until("!document.getElementById('jump').hidden").await;
        say(&mut visitor, "bob", "below");
        say(&mut visitor, "bob", "more below");
        page.until_with(
            &format!("JSON.stringify({ROWS}.slice(-3)) === JSON.stringify($)"),
            json!([NEW, "below", "more below"]),
        )
        .await;
        assert_eq!(page.js("document.getElementById('scroller').scrollTop").await, 100);
        page.click("#jump").await;
        say(&mut visitor, "bob", "seen at the end");
        page.until_with(
            &format!("JSON.stringify({ROWS}.slice(-4)) === JSON.stringify($)"),
            json!([NEW, "below", "more below", "seen at the end"]),
        )
        .await;
        // A line in view does not vanish under the reader.
        page.js("document.getElementById('scroller').scrollTop -= 60").await;
        page.until("!document.getElementById('jump').hidden").await;
        say(&mut visitor, "bob", "not in view");
        page.until_with(
            &format!("JSON.stringify({ROWS}.slice(-5)) === JSON.stringify($)"),
            json!([NEW, "below", "more below", "seen at the end", "not in view"]),
        )
        .await;
        page.check_console(&[]).await;
    });
}

#[test]
fn a_gap_after_a_break_is_shown_in_its_place() {
    run(async {
        let daemon = Daemon::start("limits.messages_per_sec = 0\nlimits.feed_tail_bytes = 65536\n");
        let network = Network::to(daemon.addr);
        let page = Page::open(network.address).await;
        let mut visitor = daemon.connect();
        say(&mut visitor, "bob", "before");
        page.shows(&["before"]).await;
        network.cut();
        page.until("document.body.dataset.state === 'waiting'").await;
        for number in 0..40 {
            say(&mut visitor, "bob", &format!("{number} {}", "x".repeat(8_000)));
        }
        network.restore();
        page.js("document.getElementById('state-retry').click()").await;
        page.until(&format!("{ROWS}[1] === 'Messages are missing here'")).await;
        page.until(&format!("{ROWS}.at(-1).startsWith('39 ')")).await;
        assert_eq!(page.js(&format!("{ROWS}[0]")).await, "before");
    });
}

#[test]
fn own_messages_have_a_bar_and_those_of_an_imitator_have_none() {
    run(async {
        let daemon = Daemon::start("");
        for browser in BROWSERS {
            let page = Page::open_in(browser, daemon.addr).await;
            page.name("ann").await;
            page.say("mine").await;
            page.shows(&["mine"]).await;
            say(&mut daemon.connect(), "ann", "not mine");
            page.shows(&["mine", "not mine"]).await;
            page.say("mine again").await;
            page.shows(&["mine", "not mine", "mine again"]).await;
            let bars = "[...document.querySelectorAll('#list .text')]
                .map((text) => getComputedStyle(text.closest('.run')).borderInlineStartWidth !== '0px')";
            assert_eq!(page.js(bars).await, json!([true, false, true]), "{browser:?}");
            assert_eq!(page.js("document.querySelectorAll('#list .who').length").await, 3);
            let edges = "[...new Set([...document.querySelectorAll('#list .text')]
                .map((text) => Math.round(text.getBoundingClientRect().left)))].length";
            assert_eq!(page.js(edges).await, 1, "{browser:?}");
        }
    });
}

#[test]
fn the_message_box_is_reached_past_all_links() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        say(&mut daemon.connect(), "bob", "https://example.org https://example.com");
        page.until("document.querySelectorAll('#list a').length === 2").await;
        // The first stop of the page.
        page.js("(document.activeElement.blur(), document.getElementById('skip').focus())").await;
        let first =
            "[...document.querySelectorAll('a, button, input, textarea, [tabindex]')][0].id";
        assert_eq!(page.js(first).await, "skip");
        let visible = "document.getElementById('skip').getBoundingClientRect().height > 20
            && getComputedStyle(document.getElementById('skip')).clipPath === 'none'";
        assert_eq!(page.js(visible).await, true);
        check_axe(&page, "the link past the messages").await;
        page.type_into("skip", Key::Enter).await;
        assert_eq!(page.js("document.activeElement.id").await, "msg");
        assert_eq!(page.js("location.hash").await, "");
        page.js("document.querySelector('#list a').focus()").await;
        page.driver().action_chain().send_keys(Key::Escape).perform().await.unwrap();
        assert_eq!(page.js("document.activeElement.id").await, "msg");
    });
}

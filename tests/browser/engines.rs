//! The main states of the page in each engine.

use serde_json::json;

use crate::driver::{BROWSERS, Browser, Page, run};
use crate::harness::Daemon;
use crate::network::{Network, say};

const WHY: &str = "document.querySelector('.failed .why')?.textContent";

/// Messages are sent and received, marked, retracted, not sent, edited, sent later; the page
/// reconnects and resumes; name and draft are stored.
async fn is_used_in(browser: Browser) {
    let daemon = Daemon::start("");
    let network = Network::to(daemon.addr);
    let page = Page::open_in(browser, network.address).await;
    let mut visitor = daemon.connect();
    page.name("ann").await;
    page.say("hello").await;
    page.shows(&["hello"]).await;
    assert_eq!(visitor.hear(), "hello");
    say(&mut visitor, "bob", "ann, see https://example.org/ and\n1 < 2 & 3");
    page.until("document.querySelector('.mention a')?.href === 'https://example.org/'").await;
    page.shows(&["hello", "ann, see https://example.org/ and\n1 < 2 & 3"]).await;
    let tim = page.js("[...document.querySelectorAll('time')].at(-1).dateTime").await;
    let retracted = daemon.command(&["retract", tim.as_str().unwrap()]).output().unwrap();
    assert!(retracted.status.success(), "{retracted:?}");
    page.shows(&["hello", "Message retracted"]).await;
    visitor.json();
    // A command is not said; a reserved name is refused; what was not sent is kept.
    page.say("/mute bob").await;
    page.until("document.querySelector('.failed .edit')").await;
    page.click(".failed .discard").await;
    page.until("!document.querySelector('.failed')").await;
    page.name("wschat").await;
    page.say("later").await;
    let reserved = "Not sent: this name belongs to the server.";
    page.until_with(&format!("{WHY} === $"), json!(reserved)).await;
    page.name("ann").await;
    page.click(".failed .again").await;
    page.shows(&["hello", "Message retracted", "later"]).await;
    assert_eq!(visitor.hear(), "later");
    // It resumes, and keeps what is written.
    page.fill("msg", "a draft").await;
    network.cut();
    page.until("document.body.dataset.state === 'waiting'").await;
    say(&mut visitor, "bob", "missed");
    network.restore();
    page.until("document.body.dataset.state !== 'waiting' || document.getElementById('state-retry').click()")
        .await;
    page.until("document.body.dataset.state === 'open'").await;
    page.shows(&["hello", "Message retracted", "later", "missed"]).await;
    page.reload().await;
    let fields = "[document.getElementById('usr').value, document.getElementById('msg').value]";
    assert_eq!(page.js(fields).await, json!(["ann", "a draft"]), "{browser:?}");
    // The settings open and close, and colours change.
    page.click("#settings-open").await;
    page.until("document.getElementById('settings').open").await;
    page.fill("theme", "dark").await;
    page.until("getComputedStyle(document.documentElement).colorScheme === 'dark'").await;
    page.click("#settings-close").await;
    page.until("!document.getElementById('settings').open").await;
}

#[test]
fn the_page_is_used_in_every_engine() {
    run(async {
        for browser in BROWSERS {
            is_used_in(browser).await;
        }
    });
}

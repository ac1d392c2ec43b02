//! What the page shows of the state of the room: its name, who is there, who may speak.

use serde_json::{Value, json};

use crate::accessibility::check_axe;
use crate::driver::{BROWSERS, Page, PageOptions, run};
use crate::harness::{Daemon, NO_PRESENCE};
use crate::network::{Network, say};
use crate::token::token;

const RULE: &str = "document.getElementById('rules').innerText.trim()";

/// Tells the page what the server could tell, on its first connection.
async fn tell(page: &Page, room: Value) {
    let text = json!({ "usr": "wschat", "msg": "", "room": room }).to_string();
    page.js_with("early.onmessage({ data: $ })", json!(text)).await;
}

fn cinema() -> Value {
    json!({
        "listeners": 1_234, "locked": false, "slow": 0, "token": false, "title": "Cinema <b>",
        "notice": "We talk about films. Rules: https://example.org/rules",
    })
}

#[test]
fn the_room_has_a_name_and_tells_how_many_are_here() {
    run(async {
        let daemon = Daemon::start(NO_PRESENCE);
        let network = Network::to(daemon.addr);
        let page = Page::open(network.address).await;
        tell(&page, cinema()).await;
        let heading = "document.getElementById('title').textContent";
        assert_eq!(page.js(heading).await, "Cinema <b>");
        assert_eq!(page.js("document.title").await, "Cinema <b>");
        let here = "document.getElementById('here').textContent";
        assert_eq!(page.js(here).await, "1,234 here");
        let link = "document.querySelector('#notice[open] a').href";
        assert_eq!(page.js(link).await, "https://example.org/rules");
        let empty = "document.getElementById('empty').textContent";
        assert_eq!(page.js(empty).await, "Nothing has been said since you came. Say hello!");
        for scheme in ["light", "dark"] {
            page.media(&[("prefers-color-scheme", scheme)]).await;
            check_axe(&page, &format!("a room with a title, {scheme}")).await;
        }
        page.media(&[]).await;
        tell(
            &page,
            json!({
                "listeners": 12, "title": "Film club",
                "notice": "We talk about the film of the week. Rules: https://example.org/rules",
            }),
        )
        .await;
        page.picture("first-look.png").await;
        tell(&page, cinema()).await;
        // A notice that was folded stays folded, until it is another one.
        page.click("summary").await;
        page.until("localStorage.getItem('wschat.noticeFolded').startsWith('We talk')").await;
        let is_open = "document.getElementById('notice').open";
        tell(&page, cinema()).await;
        assert_eq!(page.js(is_open).await, false);
        page.reload().await;
        tell(&page, cinema()).await;
        assert_eq!(page.js(is_open).await, false);
        tell(&page, json!({ "listeners": 2, "notice": "Another one" })).await;
        assert_eq!(page.js(is_open).await, true);
        // Without a title the room is named after its host.
        assert_eq!(page.js(heading).await, "127.0.0.1");
        page.js("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
            .await;
        say(&mut daemon.connect(), "bob", "one");
        page.until("document.title === '(1) 127.0.0.1'").await;
        tell(&page, cinema()).await;
        assert_eq!(page.js("document.title").await, "(1) Cinema <b>");
        page.js("delete document.hidden").await;
        page.js("document.dispatchEvent(new Event('visibilitychange'))").await;
        assert_eq!(page.js("document.title").await, "Cinema <b>");
        // Nobody knows how many are there while it is not connected.
        network.cut();
        page.until(&format!("{here} === ''")).await;
        let words = "document.getElementById('state').innerText";
        page.until(&format!("{words}.includes('Not connected.')")).await;
    });
}

#[test]
fn the_page_says_who_may_speak_before_somebody_tries() {
    run(async {
        let daemon = Daemon::start(NO_PRESENCE);
        let page = Page::open(daemon.addr).await;
        page.name("ann").await;
        assert_eq!(page.js("document.getElementById('rules').hidden").await, true);
        let room = |change: Value| {
            let mut room = json!({ "listeners": 2, "locked": false, "slow": 0, "token": false });
            room.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            room
        };
        tell(&page, room(json!({ "token": true }))).await;
        assert_eq!(page.js(RULE).await, "You need a token to speak here. Enter a token");
        check_axe(&page, "a token is needed").await;
        page.picture("token-needed.png").await;
        page.click("#rules-token").await;
        page.fill("token", &token(&json!({ "sub": "ann" }))).await;
        page.click("#settings-close").await;
        page.until("document.getElementById('rules').hidden").await;
        tell(&page, room(json!({ "token": true, "locked": true }))).await;
        page.until(&format!("{RULE} === 'Only moderators may speak now.'")).await;
        page.js("document.getElementById('token-forget').click()").await;
        page.until(&format!("/token.*moderators/.test({RULE})")).await;
        // In slow mode a message waits without a refusal, until the mode ends.
        tell(&page, room(json!({ "slow": 60 }))).await;
        page.until(&format!("{RULE} === 'Slow mode: 60 seconds between your messages.'")).await;
        page.say("one").await;
        page.shows(&["one"]).await;
        let wait = "document.getElementById('wait').textContent";
        page.until(&format!("/^You can send again in /.test({wait})")).await;
        page.say("two").await;
        page.until(&format!("/^Will be sent in /.test({wait})")).await;
        page.shows(&["one"]).await;
        check_axe(&page, "slow mode").await;
        tell(&page, room(json!({}))).await;
        page.shows(&["one", "two"]).await;
        assert_eq!(page.js("document.getElementById('rules').hidden").await, true);
    });
}

#[test]
fn a_phone_shows_the_room_and_its_rules() {
    run(async {
        let daemon = Daemon::start(NO_PRESENCE);
        for language in ["en", "de", "cs"] {
            let options = PageOptions {
                width: 320,
                height: 640,
                phone: true,
                language,
                ..PageOptions::default()
            };
            let page = Page::open_as(daemon.addr, options).await;
            let mut room = cinema();
            room["token"] = json!(true);
            room["slow"] = json!(300);
            room["title"] = json!("A long title of a room ".repeat(4));
            tell(&page, room).await;
            let fits = "document.documentElement.scrollWidth <= innerWidth";
            assert_eq!(page.js(fits).await, true, "{language}");
            let visible = "['title', 'here', 'rule', 'msg', 'usr'].every((id) => {
                const { width, height } = document.getElementById(id).getBoundingClientRect();
                return width > 20 && height > 10;
            })";
            assert_eq!(page.js(visible).await, true, "{language}");
            check_axe(&page, &format!("the room on a phone, {language}")).await;
            page.picture(&format!("first-look-phone-{language}.png")).await;
        }
    });
}

/// Runs an operator's command.
fn operate(daemon: &Daemon, words: &[&str]) {
    let output = daemon.command(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
}

#[test]
fn the_server_tells_the_page_of_its_room() {
    run(async {
        let config =
            "[room]\ntitle = \"Film club\"\nnotice = \"Rules: https://example.org/rules\"\n";
        for browser in BROWSERS {
            let daemon = Daemon::start(config);
            let page = Page::open_in(browser, daemon.addr).await;
            page.until("document.title === 'Film club'").await;
            page.until("document.querySelector('#notice[open] a')").await;
            page.until("/^[1-9]\\d* here$/.test(document.getElementById('here').textContent)")
                .await;
            operate(&daemon, &["lock"]);
            page.until(&format!("{RULE} === 'Only moderators may speak now.'")).await;
            operate(&daemon, &["unlock"]);
            operate(&daemon, &["slow", "60"]);
            page.until(&format!("{RULE} === 'Slow mode: 60 seconds between your messages.'")).await;
            // The wait is known without a refusal, and ends with slow mode.
            page.name("ann").await;
            page.say("one").await;
            page.shows(&["one"]).await;
            page.say("two").await;
            page.until("document.querySelector('.waits')").await;
            operate(&daemon, &["slow", "off"]);
            page.shows(&["one", "two"]).await;
            page.until("document.getElementById('rules').hidden").await;
        }
    });
}

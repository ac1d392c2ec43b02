//! A room that requires tokens.

use chrono::{TimeDelta, Utc};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::driver::{BROWSERS, Page, PageOptions, run};
use crate::harness::Daemon;

pub const SECRET: &str = "a secret that is long enough for it";

pub fn token(claims: &Value) -> String {
    encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

#[test]
fn a_token_is_pasted_shown_used_stored_and_removed() {
    run(async {
        let daemon = Daemon::start(&format!("[auth]\njwt_secret = \"{SECRET}\"\n"));
        let page = Page::open(daemon.addr).await;
        page.name("ann").await;
        page.say("hello").await;
        page.until("/asks for a token/.test(document.querySelector('.failed .why')?.textContent)")
            .await;
        page.picture("token-asked.png").await;
        // From the error to the field and back.
        page.click(".failed .token").await;
        let until = Utc::now() + TimeDelta::days(1);
        let ann = token(&json!({ "sub": "ann", "exp": until.timestamp() }));
        page.type_into("token", format!(" {ann}\n")).await;
        page.until(
            "document.getElementById('token-is').textContent.startsWith('Speaks for ann. Until ')",
        )
        .await;
        assert_eq!(page.js("document.getElementById('token').value").await, "");
        page.picture("token.png").await;
        page.click("#settings-close").await;
        page.click(".failed .again").await;
        page.shows(&["hello"]).await;
        // It is stored in this tab only.
        let places =
            "[location.href, document.cookie, JSON.stringify(localStorage), document.title,
            document.documentElement.outerHTML].some((place) => place.includes($))";
        assert_eq!(page.js_with(places, json!(ann)).await, false);
        assert_eq!(page.js("sessionStorage.getItem('wschat.token')").await, ann.as_str());
        page.reload().await;
        page.say("again").await;
        page.shows(&["again"]).await;
        page.click("#settings-open").await;
        page.click("#token-forget").await;
        assert_eq!(page.js("sessionStorage.getItem('wschat.token') || ''").await, "");
        assert_eq!(page.js("document.getElementById('token-is').textContent").await, "");
        assert_eq!(page.js("document.activeElement.id").await, "token");
        page.click("#settings-close").await;
        page.say("without").await;
        page.until("document.querySelector('.failed')").await;
        page.check_console(&[]).await;
    });
}

#[test]
fn invalid_tokens_are_explained() {
    run(async {
        let daemon =
            Daemon::start(&format!("[auth]\njwt_secret = \"{SECRET}\"\ncheck_exp = true\n"));
        let page = Page::open(daemon.addr).await;
        let past = token(&json!({ "sub": "bob", "exp": 1_000_000_000 }));
        let foreign = encode(
            &Header::default(),
            &json!({ "sub": "carl", "exp": 4_000_000_000_u32 }),
            &EncodingKey::from_secret(b"another secret, also long enough"),
        );
        let cases = [
            ("not a token", "This does not look like a token.", "the token is not valid here."),
            (&past, "Speaks for bob. It has expired.", "the token has expired."),
            (&foreign.unwrap(), "Speaks for carl. Until ", "the token is not valid here."),
        ];
        for (token, shown, refused) in cases {
            page.click("#settings-open").await;
            page.fill("token", token).await;
            let is = "document.getElementById('token-is').textContent.startsWith($)";
            page.until_with(is, json!(shown)).await;
            page.click("#settings-close").await;
            page.name("ann").await;
            page.say("hello").await;
            let why = "[...document.querySelectorAll('.failed .why')].at(-1)?.textContent === $";
            page.until_with(why, json!(format!("Not sent: {refused}"))).await;
        }
        page.check_console(&[]).await;
    });
}

#[test]
fn the_name_in_the_token_is_offered() {
    run(async {
        let config = format!("[auth]\njwt_secret = \"{SECRET}\"\nbind_usr = \"sub\"\n");
        let daemon = Daemon::start(&config);
        let page = Page::open(daemon.addr).await;
        page.name("bob").await;
        page.click("#settings-open").await;
        page.fill("token", &token(&json!({ "sub": "ann" }))).await;
        page.click("#settings-close").await;
        page.say("hello").await;
        let why = "document.querySelector('.failed .why')?.textContent";
        page.until(&format!("{why} === 'Not sent: your token is for another name.'")).await;
        assert_eq!(page.js("document.querySelector('.sendAs').textContent").await, "Send as ann");
        page.picture("another-name.png").await;
        page.click(".sendAs").await;
        page.shows(&["hello"]).await;
        assert_eq!(page.js("document.querySelector('#list .who').textContent").await, "ann");
        assert_eq!(page.js("document.getElementById('usr').value").await, "ann");
    });
}

/// Words of the page, and of what a browser shows and stores, that contain `$`.
const PLACES: &str =
    "[location.href, document.cookie, JSON.stringify(localStorage), document.title,
        document.documentElement.outerHTML, JSON.stringify(history.state)].some((place) => place.includes($))";

#[test]
fn a_link_brings_a_token() {
    run(async {
        let config = format!("[auth]\njwt_secret = \"{SECRET}\"\nbind_usr = \"sub\"\n");
        let daemon = Daemon::start(&config);
        let [ann, bob] = ["ann", "bob"].map(|name| token(&json!({ "sub": name })));
        for browser in BROWSERS {
            let room = format!("http://{}/", daemon.addr);
            let page = Page::visit(browser, &format!("{room}?a=b#x=1&token={ann}&y=%20")).await;
            page.until("document.body.dataset.state === 'open'").await;
            // The rest of the address stays, and no entry of the history has the token.
            let rest = format!("{room}?a=b#x=1&y=%20");
            assert_eq!(page.js("location.href").await, rest, "{browser:?}");
            assert_eq!(page.js("document.getElementById('usr').value").await, "ann");
            assert_eq!(page.js_with(PLACES, json!(ann)).await, false);
            assert_eq!(page.js("sessionStorage.getItem('wschat.token')").await, ann.as_str());
            page.say("hello").await;
            page.shows(&["hello"]).await;
            page.reload().await;
            assert_eq!(page.js("location.href").await, rest, "{browser:?}");
            page.say("again").await;
            page.shows(&["again"]).await;
            // Another one replaces it in the open page; percent-encoding is decoded.
            let encoded = bob.replace('.', "%2E");
            page.js(&format!("location.hash = 'token={encoded}'")).await;
            page.until_with("sessionStorage.getItem('wschat.token') === $", json!(bob)).await;
            assert_eq!(page.js("location.href").await, format!("{room}?a=b"));
            let is = "document.getElementById('token-is').textContent";
            assert_eq!(page.js(is).await, "Speaks for bob.");
            // An empty one changes nothing, and an odd one is named.
            page.js("location.hash = 'token='").await;
            page.until("location.hash === ''").await;
            assert_eq!(page.js("sessionStorage.getItem('wschat.token')").await, bob.as_str());
            page.js("location.hash = 'token=%E0%A4%A'").await;
            let hint = "document.getElementById('hint').textContent";
            page.until(&format!("{hint} === 'This does not look like a token.'")).await;
            assert_eq!(page.js("location.hash").await, "");
        }
    });
}

#[test]
fn a_token_works_without_storage() {
    run(async {
        let daemon = Daemon::start(&format!("[auth]\njwt_secret = \"{SECRET}\"\n"));
        let data = "(['getItem', 'setItem'].forEach((name) => {
            Storage.prototype[name] = () => { throw new Error('forbidden'); };
        }), {})";
        let page = Page::open_as(daemon.addr, PageOptions { data, ..PageOptions::default() }).await;
        page.name("ann").await;
        page.fill("token", &token(&json!({ "sub": "ann" }))).await;
        page.say("hello").await;
        page.shows(&["hello"]).await;
    });
}

//! Hostile content of every kind is shown as text.

use serde_json::{Value, json};

use crate::driver::{Page, run};
use crate::harness::{Daemon, UNLIMITED};
use crate::network::say;

/// Inputs like those of OWASP's cheat sheets on cross-site scripting, one per line.
const OWASP: &str = include_str!("hostile.txt");

/// Inputs that a line of a file cannot contain.
const ODD: &[&str] = &[
    "\u{1b}[2J\u{1b}]0;owned\u{7}",
    "\u{0}\u{1}\u{8}\u{b}\u{7f}\u{85}",
    "\u{202e}moc.live//:sptth",
    "\u{2066}\u{2067}\u{2068}\u{202a}\u{202b}\u{202d} never closed",
    "\u{feff}\u{200b}\u{200d}\u{2060}\u{ad}",
    "\u{fffe}\u{ffff}\u{10ffff}",
    "Z\u{351}\u{36b}\u{343}\u{369}\u{35d}\u{31d}a\u{332}\u{34a}\u{300}l\u{33c}g\u{310}o",
    "👩‍👩‍👧‍👦🏴‍☠️🇨🇿",
    "line\u{2028}paragraph\u{2029}next\u{c}form",
    "tab\tand\r\nreturn\rand\nnewline",
    "﷽﷽﷽﷽﷽﷽﷽﷽",
];

#[test]
fn everything_is_text() {
    run(async {
        let daemon = Daemon::start(UNLIMITED);
        let page = Page::open(daemon.addr).await;
        page.name("ann").await;
        let mut visitor = daemon.connect();
        let mut payloads: Vec<&str> = OWASP.lines().chain(ODD.iter().copied()).collect();
        let long = "<b>".repeat(5_000);
        let many_lines = "\n".repeat(7_000);
        payloads.extend([long.as_str(), many_lines.as_str()]);
        for payload in &payloads {
            let short: String = payload.chars().take(400).collect();
            // As a message, as a name, and as unknown fields.
            let message = json!({ "usr": "eve", "msg": payload, "id": short, "html": short });
            visitor.send(&message.to_string());
            // A name needs something visible.
            visitor.say(&format!("~{short}"), payload);
        }
        say(&mut visitor, "eve", "the end");
        page.until("[...document.querySelectorAll('.text')].at(-1).textContent === 'the end'")
            .await;
        let shown = page
            .js("[...document.querySelectorAll('#list .text')].map((text) => text.textContent)")
            .await;
        let wanted: Vec<String> = payloads
            .iter()
            .flat_map(|payload| [as_shown(payload), as_shown(payload)])
            .chain(["the end".to_owned()])
            .collect();
        for (shown, wanted) in shown.as_array().unwrap().iter().zip(&wanted) {
            assert_eq!(shown, wanted);
        }
        assert_eq!(shown.as_array().unwrap().len(), wanted.len());
        check_clean(&page).await;
        // The page still works, and treats own messages in the same way.
        for payload in &payloads[..20] {
            page.say(payload).await;
        }
        page.say("still here").await;
        page.until("[...document.querySelectorAll('.text')].at(-1).textContent === 'still here'")
            .await;
        check_clean(&page).await;
        page.check_console(&[]).await;
    });
}

#[test]
fn hostile_own_names_and_tokens() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        // A name is also searched for, and stored.
        for name in [
            ".*",
            "(",
            "\\",
            "[a-",
            "$&",
            "a{9999999}",
            "(?<n>",
            "__proto__",
            "<b>",
            "-",
            "\u{202e}x",
        ] {
            page.name(name).await;
            page.say("said").await;
            say(&mut daemon.connect(), "eve", &format!("hello {name}"));
        }
        page.until("document.querySelectorAll('#list .text').length === 22").await;
        for token in [
            "<img src=x onerror=window.hacked=1>",
            "a.b.c",
            "..",
            "a.eyJleHAiOjFlMzAwfQ.c",               // {"exp":1e300}
            "a.eyJleHAiOiJ4Iiwic3ViIjp7fX0.c",      // {"exp":"x","sub":{}}
            "a.bnVsbA.c",                           // null
            "a.W10.c",                              // []
            "a.eyJzdWIiOiI8aW1nIHNyYz14Pu-_vSJ9.c", // {"sub":"<img src=x>…"}
        ] {
            page.click("#settings-open").await;
            page.fill("token", token).await;
            page.click("#settings-close").await;
            page.reload().await;
            page.name("ann").await;
            page.say(token).await;
            page.until("!document.querySelector('#unsent li')").await;
        }
        check_clean(&page).await;
        page.check_console(&[]).await;
    });
}

/// A message as the page shows it: without characters that deceive, and with at most one
/// blank line after another.
fn as_shown(msg: &str) -> String {
    let lines = msg.replace("\r\n", "\n").replace(['\r', '\u{2028}', '\u{2029}'], "\n");
    let safe: String = lines
        .chars()
        .map(|char| match char {
            '\n' | '\t' => char,
            '\u{202d}' | '\u{202e}' => '\u{fffd}',
            char if char.is_control() => '\u{fffd}',
            char => char,
        })
        .collect();
    // A host is shown as it is called.
    let safe = safe.replace("http://%6aavascript/", "http://javascript/");
    safe.trim_start_matches('\n').trim_end_matches('\n').to_owned()
}

/// Checks that nothing ran or was loaded, and that there are only the page's own
/// elements.
async fn check_clean(page: &Page) {
    assert_eq!(page.js("window.hacked").await, Value::Null);
    let strange = "[...document.querySelectorAll('main *')]
        .filter((node) => !node.matches('#gone, #empty, #log, ol, li, bdi, time, div, p, a, code, noscript, button'))
        .map((node) => node.outerHTML)";
    assert_eq!(page.js(strange).await, json!([]));
    let attributes = "[...document.querySelectorAll('#list *, #unsent *')]
        .flatMap((node) => node.getAttributeNames())
        .filter((name) => !/^(class|style|title|dir|datetime|href|rel|target|tabindex|role|type)$/.test(name))";
    assert_eq!(page.js(attributes).await, json!([]));
    let links = "[...document.querySelectorAll('main a')]
        .filter((link) => !/^https?:$/.test(link.protocol) || link.username || link.password)
        .map((link) => link.href)";
    assert_eq!(page.js(links).await, json!([]));
    let loaded = "performance.getEntriesByType('resource').map(({ name }) => name)
        .filter((name) => new URL(name).origin !== location.origin)";
    assert_eq!(page.js(loaded).await, json!([]));
    assert_eq!(
        page.js("document.getElementById('scroller').scrollWidth <= innerWidth").await,
        true
    );
}

//! Accessibility: axe-core in every state, keyboard, zoom, small screens, print.

use std::sync::LazyLock;

use serde_json::json;
use thirtyfour::prelude::*;

use crate::driver::{Page, PageOptions, run};
use crate::harness::Daemon;
use crate::network::{Network, say};
use crate::token::SECRET;

/// The text of axe.min.js.
static AXE: LazyLock<String> = LazyLock::new(|| {
    let path = std::env::var("WSCHAT_AXE").expect(
        "WSCHAT_AXE must name axe.min.js of the npm package axe-core; tests/run fetches it",
    );
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("WSCHAT_AXE: {path}: {error}"))
});

/// Checks that axe-core finds nothing.
pub async fn check_axe(page: &Page, state: &str) {
    if page.js("typeof axe").await == "undefined" {
        page.driver().execute(AXE.as_str(), vec![]).await.unwrap();
    }
    let found = page
        .run(
            "const { violations } = await axe.run();
             return violations.map(({ id, nodes }) => [id, nodes.map(({ html, failureSummary }) => html + ' ' + failureSummary)]);",
        )
        .await;
    assert_eq!(found, json!([]), "{state}");
}

/// A room with every kind of message.
fn fill(daemon: &Daemon) {
    let mut visitor = daemon.connect();
    say(&mut visitor, "Zoë", &"a\nb\n".repeat(40));
    for number in 0..24 {
        say(&mut visitor, &format!("name {number}"), "A colour of its own.");
    }
    say(&mut visitor, "ann", "Good morning! The log is at https://example.org/log/412.");
    say(&mut visitor, "ann", "It looks fine to me.");
    say(&mut visitor, "bob", "me, could you look at it, too?");
    say(&mut visitor, "שלום", "بخير، شكرا");
    say(&mut visitor, "ci", "build 412 is green ✅");
    say(&mut visitor, "ann", "See you.");
}

#[test]
fn axe_finds_nothing() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        check_axe(&page, "empty").await;
        page.picture("empty.png").await;
        page.name("me").await;
        page.say("Hello all.").await;
        fill(&daemon);
        page.name("wschat").await;
        page.say("This name is taken.").await;
        page.until("document.querySelector('.failed')").await;
        page.name("me").await;
        for scheme in ["light", "dark"] {
            page.media(&[("prefers-color-scheme", scheme)]).await;
            check_axe(&page, &format!("full, {scheme}")).await;
            page.picture(&format!("full-{scheme}.png")).await;
            page.js("document.getElementById('scroller').scrollTop = 0").await;
            page.until("!document.getElementById('jump').hidden").await;
            check_axe(&page, &format!("reading above, {scheme}")).await;
            page.click("#settings-open").await;
            check_axe(&page, &format!("settings, {scheme}")).await;
            page.picture(&format!("settings-{scheme}.png")).await;
            page.click("#settings-close").await;
            page.click("#jump").await;
        }
        page.media(&[("forced-colors", "active")]).await;
        check_axe(&page, "full, forced colours").await;
        page.picture("forced-colours.png").await;
        drop(daemon);
        page.until("document.body.dataset.state === 'waiting'").await;
        for scheme in ["light", "dark"] {
            page.media(&[("prefers-color-scheme", scheme)]).await;
            check_axe(&page, &format!("disconnected, {scheme}")).await;
        }
    });
}

#[test]
fn axe_finds_nothing_in_what_failed() {
    run(async {
        let daemon = Daemon::start(&format!("[auth]\njwt_secret = \"{SECRET}\"\n"));
        let page = Page::open(daemon.addr).await;
        page.name("me").await;
        for msg in ["without a token", "/mute bob", "/shrug"] {
            page.say(msg).await;
        }
        page.until("document.querySelectorAll('.failed button').length > 6").await;
        for width in [900, 320] {
            let metrics =
                json!({ "width": width, "height": 640, "deviceScaleFactor": 1, "mobile": false });
            page.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
            page.until_with("innerWidth === $", json!(width)).await;
            for scheme in ["light", "dark"] {
                page.media(&[("prefers-color-scheme", scheme)]).await;
                check_axe(&page, &format!("failed, {scheme}, {width}")).await;
                page.click("#settings-open").await;
                check_axe(&page, &format!("settings, {scheme}, {width}")).await;
                page.click("#settings-close").await;
            }
        }
        let kick = daemon.command(&["kick", "--id", "0"]).output().unwrap();
        assert!(kick.status.success(), "{kick:?}");
        page.until("!document.getElementById('state-retry').hidden").await;
        for scheme in ["light", "dark"] {
            page.media(&[("prefers-color-scheme", scheme)]).await;
            check_axe(&page, &format!("kicked, {scheme}")).await;
        }
    });
}

#[test]
fn every_name_has_enough_contrast() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        page.driver().execute(AXE.as_str(), vec![]).await.unwrap();
        // A name for every hue, without waiting for a room that has them all.
        page.js(
            "document.getElementById('list').append(...Array.from({ length: 360 }, (_, hue) => {
                const name = document.createElement('bdi');
                name.className = 'who';
                name.textContent = `hue ${hue}`;
                name.style.setProperty('--hue', hue);
                const item = document.createElement('li');
                item.append(name);
                return item;
            }))",
        )
        .await;
        for scheme in ["light", "dark"] {
            page.media(&[("prefers-color-scheme", scheme)]).await;
            // The contrast of what is painted, as WCAG 2 defines it.
            let worst = page
                .run(
                    "const paint = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
                     const light = (colour) => {
                         paint.fillStyle = colour;
                         paint.fillRect(0, 0, 1, 1);
                         const [r, g, b] = [...paint.getImageData(0, 0, 1, 1).data].map((v) =>
                             v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
                         return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
                     };
                     const ground = light(getComputedStyle(document.documentElement).backgroundColor);
                     const ratios = [...document.querySelectorAll('#list .who')].map((who) => {
                         const ink = light(getComputedStyle(who).color);
                         return Math.max(ink, ground) / Math.min(ink, ground);
                     });
                     return Math.min(...ratios);",
                )
                .await;
            assert!(worst.as_f64().unwrap() >= 4.5, "{scheme}: {worst}");
        }
    });
}

#[test]
fn a_phone_and_its_keyboard() {
    run(async {
        let daemon = Daemon::start("");
        let options =
            PageOptions { width: 360, height: 640, phone: true, ..PageOptions::default() };
        let page = Page::open_as(daemon.addr, options).await;
        page.name("me").await;
        fill(&daemon);
        page.say("From the tram.").await;
        page.until("!document.querySelector('#unsent li')").await;
        check_fits(&page).await;
        check_axe(&page, "phone").await;
        page.picture("phone.png").await;
        let metrics =
            json!({ "width": 360, "height": 330, "deviceScaleFactor": 1, "mobile": true });
        page.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        page.until("innerHeight === 330").await;
        check_fits(&page).await;
        // The newest message and the input are both visible.
        let seen = "((box) => box.top >= 0 && box.bottom <= innerHeight)";
        for selector in ["#list .run:last-child .line:last-child", "#msg", "#send"] {
            let found =
                format!("{seen}(document.querySelector('{selector}').getBoundingClientRect())");
            page.until(&found).await;
        }
        page.picture("phone-keyboard.png").await;
        // Large enough for a finger (WCAG 2.5.8).
        let small = "[...document.querySelectorAll('button, input, textarea')]
            .filter((node) => node.offsetParent && (node.offsetHeight < 24 || node.offsetWidth < 24))
            .map((node) => node.id || node.className)";
        assert_eq!(page.js(small).await, json!([]));
    });
}

#[test]
fn header_and_name_take_one_line_on_a_phone() {
    run(async {
        let daemon = Daemon::start("");
        let network = Network::to(daemon.addr);
        for language in ["en", "de", "cs"] {
            for width in [360, 320] {
                let options = PageOptions {
                    width,
                    height: 640,
                    phone: true,
                    language,
                    ..PageOptions::default()
                };
                let page = Page::open_as(network.address, options).await;
                let heights =
                    "['header', 'form'].map((name) => document.querySelector(name).offsetHeight)";
                let before = page.js(heights).await;
                for height in before.as_array().unwrap() {
                    assert!(height.as_u64().unwrap() <= 62, "{language}, {width}: {before}");
                }
                let same_line = "((usr, settings) => usr.offsetTop === settings.offsetTop)
                    (document.getElementById('usr'), document.getElementById('settings-open'))";
                assert_eq!(page.js(same_line).await, true);
                network.cut();
                page.until("!document.getElementById('state-retry').hidden").await;
                check_fits(&page).await;
                assert_eq!(page.js(heights).await, before, "{language}, {width}");
                page.picture(&format!("phone-waiting-{language}-{width}.png")).await;
                network.restore();
            }
        }
    });
}

#[test]
fn the_page_works_at_400_percent() {
    run(async {
        let daemon = Daemon::start("");
        // 1280 by 1024 at 400 % (WCAG 1.4.10).
        let page = Page::open_as(
            daemon.addr,
            PageOptions { width: 320, height: 256, ..PageOptions::default() },
        )
        .await;
        page.name("me").await;
        fill(&daemon);
        page.say("Large text.").await;
        page.until("!document.querySelector('#unsent li')").await;
        check_fits(&page).await;
        check_axe(&page, "zoom").await;
        page.picture("zoom.png").await;
        // Everything can be reached.
        for selector in ["#settings-open", "#msg", "#send"] {
            page.click(selector).await;
            page.js("document.getElementById('settings').open && document.getElementById('settings').close()").await;
        }
        let room = page.js("document.getElementById('scroller').clientHeight").await;
        assert!(room.as_u64().unwrap() > 100, "{room} px for messages");
    });
}

/// Checks that nothing is wider than the window.
async fn check_fits(page: &Page) {
    assert_eq!(page.js("document.documentElement.scrollWidth <= innerWidth").await, true);
    assert_eq!(
        page.js("document.getElementById('scroller').scrollWidth <= innerWidth").await,
        true
    );
}

#[test]
fn everything_works_with_the_keyboard() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        fill(&daemon);
        page.until("document.querySelectorAll('.line').length > 20").await;
        let mut reached = Vec::new();
        while reached.len() < 20 {
            page.driver().action_chain().send_keys(Key::Tab).perform().await.unwrap();
            let id = "document.activeElement.id || document.activeElement.localName";
            let id = page.js(id).await.as_str().unwrap().to_owned();
            if reached.contains(&id) {
                break;
            }
            // The end of the page, before the focus starts again.
            if id == "body" {
                continue;
            }
            // The focus is visible.
            assert_ne!(
                page.js("getComputedStyle(document.activeElement).outlineStyle").await,
                "none",
                "{id}"
            );
            reached.push(id);
        }
        for id in ["settings-open", "scroller", "a", "usr", "msg", "send"] {
            assert!(reached.contains(&id.to_owned()), "{id} in {reached:?}");
        }
        // Into the settings and back, with the focus where it was.
        page.js("document.getElementById('settings-open').focus()").await;
        page.type_into("settings-open", Key::Enter).await;
        page.until("document.getElementById('settings').open").await;
        page.driver().action_chain().send_keys(Key::Escape).perform().await.unwrap();
        page.until("!document.getElementById('settings').open").await;
        assert_eq!(page.js("document.activeElement.id").await, "settings-open");
    });
}

#[test]
fn the_messages_are_printed() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        let ink = "getComputedStyle(document.documentElement).color";
        let dark_ink = page.js(ink).await;
        page.fill("theme", "dark").await;
        assert_ne!(page.js(ink).await, dark_ink);
        fill(&daemon);
        page.until("document.querySelectorAll('.line').length > 20").await;
        page.devtools("Emulation.setEmulatedMedia", json!({ "media": "print" })).await;
        // Paper is white in every theme.
        assert_eq!(page.js(ink).await, dark_ink);
        let hidden = "['composer', 'settings-open'].every((id) => !document.getElementById(id).offsetParent)";
        assert_eq!(page.js(hidden).await, true);
        // All messages, not only the visible ones.
        let whole = "document.getElementById('scroller').clientHeight >= document.getElementById('list').offsetHeight";
        assert_eq!(page.js(whole).await, true);
    });
}

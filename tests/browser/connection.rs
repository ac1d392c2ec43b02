//! The state of the connection, the user's own name, unread messages.

use rustix::process::Signal;
use serde_json::json;

use crate::accessibility::check_axe;
use crate::driver::{Page, PageOptions, run};
use crate::harness::Daemon;
use crate::network::{Network, say, start_again};

const STATE: &str = "document.getElementById('state-words').textContent";

#[test]
fn a_server_that_stops_and_starts_again() {
    run(async {
        let mut daemon = Daemon::start("");
        let address = daemon.addr;
        let page = Page::open(daemon.addr).await;
        page.name("ann").await;
        page.say("before").await;
        page.shows(&["before"]).await;
        assert_eq!(page.js(STATE).await, "Connected");
        daemon.signal(Signal::TERM);
        page.until(&format!("{STATE} === 'Not connected.'")).await;
        page.say("meanwhile").await;
        page.until("document.querySelector('.failed .why')?.textContent === 'Not sent: there is no connection.'")
            .await;
        page.until("/Next try in/.test(document.getElementById('retryIn').textContent)").await;
        page.picture("not-connected.png").await;
        daemon.wait();
        let _daemon = start_again(address);
        page.until(&format!("{STATE} === 'Connected'")).await;
        page.click(".again").await;
        page.shows(&["before", "meanwhile"]).await;
        page.until("!document.querySelector('#unsent li')").await;
        page.check_console(&["ERR_CONNECTION_REFUSED"]).await;
    });
}

#[test]
fn a_message_in_flight_when_the_connection_breaks() {
    run(async {
        let daemon = Daemon::start("");
        let address = daemon.addr;
        let network = Network::to(daemon.addr);
        let page = Page::open(network.address).await;
        page.name("ann").await;
        network.pause();
        page.say("into the dark").await;
        drop(daemon);
        network.resume();
        let why = "Not sent: no answer came. It may have arrived or not.";
        page.until_with("document.querySelector('.failed .why')?.textContent === $", json!(why))
            .await;
        let _daemon = start_again(address);
        page.until("document.body.dataset.state === 'open'").await;
        page.click(".again").await;
        page.shows(&["into the dark"]).await;
    });
}

#[test]
fn a_page_gets_what_it_has_missed_once() {
    run(async {
        let daemon = Daemon::start("");
        let network = Network::to(daemon.addr);
        let page = Page::open(network.address).await;
        page.name("ann").await;
        let mut eva = daemon.connect();
        // The first break comes before the first message.
        let mut shown = vec![];
        for texts in [["one", "two"], ["three", "four"], ["five", "six"]] {
            network.cut();
            page.until("document.body.dataset.state === 'waiting'").await;
            say(&mut eva, "eva", texts[0]);
            network.restore();
            page.until("document.body.dataset.state === 'open'").await;
            say(&mut eva, "eva", texts[1]);
            shown.extend(texts);
            page.shows(&shown).await;
        }
        assert_eq!(page.js("document.querySelectorAll('#list .day').length").await, 0);
        // All of them are in the group of one sender.
        assert_eq!(page.js("document.querySelectorAll('#list .who').length").await, 1);
        page.check_console(&["ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "WebSocket connection"])
            .await;
    });
}

#[test]
fn a_gap_is_a_line_between_messages() {
    run(async {
        let daemon = Daemon::start("");
        let address = daemon.addr;
        let network = Network::to(address);
        let page = Page::open(network.address).await;
        say(&mut daemon.connect(), "eva", "one");
        page.shows(&["one"]).await;
        network.cut();
        drop(daemon);
        // This daemon does not know what was said before.
        let daemon = start_again(address);
        network.restore();
        let rows = "[...document.querySelectorAll('#list > li')].map((row) => row.className)";
        let has_rows = format!("JSON.stringify({rows}) === JSON.stringify($)");
        page.until_with(&has_rows, json!(["run", "day"])).await;
        assert_eq!(
            page.js("document.querySelector('#list .day').textContent").await,
            "Messages are missing here"
        );
        // The same gap again.
        network.cut();
        page.until("document.body.dataset.state === 'waiting'").await;
        network.restore();
        page.until("document.body.dataset.state === 'open'").await;
        say(&mut daemon.connect(), "eva", "two");
        page.shows(&["one", "two"]).await;
        page.until_with(&has_rows, json!(["run", "day", "run"])).await;
        assert_eq!(page.js("document.getElementById('hint').textContent").await, "");
        check_axe(&page, "a gap").await;
        page.picture("gap.png").await;
    });
}

#[test]
fn what_was_missed_keeps_the_state_of_the_page() {
    run(async {
        let daemon = Daemon::start("");
        let network = Network::to(daemon.addr);
        let page = Page::open(network.address).await;
        page.name("ann").await;
        let mut eva = daemon.connect();
        let mut tim_of = |text: &str| {
            eva.say("eva", text);
            loop {
                let message = eva.json();
                if message["msg"] == text {
                    return message["tim"].as_str().unwrap().to_owned();
                }
            }
        };
        let seen = tim_of("seen");
        (0..40).for_each(|number| drop(tim_of(&format!("line {number}"))));
        page.until("document.querySelectorAll('#list .text').length === 41").await;
        page.js("((scroller) => scroller.scrollTop = 0)(document.getElementById('scroller'))")
            .await;
        page.until("!document.getElementById('jump').hidden").await;
        network.cut();
        page.until("document.body.dataset.state === 'waiting'").await;
        let missed = tim_of("missed");
        for tim in [&seen, &missed] {
            let output = daemon.command(&["retract", tim]).output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        tim_of("last");
        page.js("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
            .await;
        network.restore();
        page.until("document.querySelectorAll('#list .text').length === 43").await;
        let retracted = "[...document.querySelectorAll('#list em')].length";
        page.until(&format!("{retracted} === 2")).await;
        assert_eq!(page.js("document.title").await, "(2) 127.0.0.1");
        // The reader is still at the top, and sees how many are new.
        assert_eq!(page.js("document.getElementById('scroller').scrollTop").await, 0);
        assert_eq!(page.js("document.getElementById('jump').textContent").await, "New messages: 2");
    });
}

#[test]
fn a_message_whose_answer_was_lost_arrives_with_the_next_connection() {
    run(async {
        let daemon = Daemon::start("");
        let network = Network::to(daemon.addr);
        let page = Page::open(network.address).await;
        page.name("ann").await;
        let mut eva = daemon.connect();
        // The answer does not get through.
        network.lose_answers(true);
        page.say("hello").await;
        while eva.hear() != "hello" {}
        network.cut();
        page.until("document.querySelector('.failed')").await;
        network.lose_answers(false);
        network.restore();
        page.until("!document.querySelector('#unsent li')").await;
        page.shows(&["hello"]).await;
    });
}

#[test]
fn a_dead_connection_is_detected() {
    run(async {
        let daemon = Daemon::start("");
        let network = Network::to(daemon.addr);
        let data = "{ quietMs: 200, answerMs: 2_000 }";
        let page =
            Page::open_as(network.address, PageOptions { data, ..PageOptions::default() }).await;
        page.js("((send) => {
                window.asked = 0;
                WebSocket.prototype.send = function (text) {
                    window.asked += text === '';
                    send.call(this, text);
                };
            })(WebSocket.prototype.send)")
            .await;
        // While it works, probes are not shown.
        page.until("window.asked > 2").await;
        let seen = "document.querySelectorAll('.line, #unsent li').length
            + document.getElementById('hint').textContent.length";
        assert_eq!(page.js(seen).await, 0);
        page.until("document.body.dataset.state === 'open'").await;
        network.pause();
        say(&mut daemon.connect(), "eva", "meanwhile");
        page.until(&format!("{STATE} === 'Not connected.'")).await;
        network.resume();
        page.until("document.body.dataset.state === 'open'").await;
        page.name("ann").await;
        page.say("back again").await;
        page.shows(&["meanwhile", "back again"]).await;
    });
}

#[test]
fn the_page_reconnects_at_once_when_the_network_or_the_tab_is_back() {
    run(async {
        let daemon = Daemon::start("");
        let address = daemon.addr;
        let page = Page::open(daemon.addr).await;
        let after = |event| format!("({event}, document.body.dataset.state)");
        let offline = "window.dispatchEvent(new Event('offline'))";
        assert_eq!(page.js(&after(offline)).await, "waiting");
        let online = "window.dispatchEvent(new Event('online'))";
        assert_eq!(page.js(&after(online)).await, "connecting");
        page.until("document.body.dataset.state === 'open'").await;
        drop(daemon);
        page.until("document.body.dataset.state === 'waiting'").await;
        let shown = "document.dispatchEvent(new Event('visibilitychange'))";
        assert_eq!(page.js(&after(shown)).await, "connecting");
        // By hand, and the focus stays on the page.
        page.until(
            "document.body.dataset.state === 'waiting' && ((button) => {
                button.focus();
                button.click();
                return document.activeElement.id === 'msg' && document.body.dataset.state === 'connecting';
            })(document.getElementById('state-retry'))",
        )
        .await;
        let _daemon = start_again(address);
        page.until("document.body.dataset.state === 'open'").await;
    });
}

#[test]
fn unread_messages_are_counted_while_the_page_is_hidden() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        let mut visitor = daemon.connect();
        page.js("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
            .await;
        say(&mut visitor, "bob", "one");
        say(&mut visitor, "bob", "two");
        page.until("document.title === '(2) 127.0.0.1'").await;
        page.shows(&["one", "two"]).await;
        page.js("delete document.hidden").await;
        page.js("document.dispatchEvent(new Event('visibilitychange'))").await;
        assert_eq!(page.js("document.title").await, "127.0.0.1");
    });
}

#[test]
fn the_own_name_is_marked_and_notified() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        let calls = "
            window.called = [];
            window.Notification = class {
                static requestPermission() { return Promise.resolve('granted'); }
                constructor(title, { body }) { window.called.push([title, body]); }
            };
            window.tones = 0;
            window.AudioContext = class extends AudioContext {
                constructor() { super(); window.tones += 1; }
            };
            document.hasFocus = () => false;
            window.now = Date.now();
            Date.now = () => window.now;";
        page.driver().execute(calls, vec![]).await.unwrap();
        page.name("ann").await;
        let mut visitor = daemon.connect();
        say(&mut visitor, "bob", "Ann, not wanted yet");
        page.click("#settings-open").await;
        page.click("#notify").await;
        page.click("#settings-close").await;
        page.js("window.now += 10_000").await;
        say(&mut visitor, "bob", "hello Ann!");
        say(&mut visitor, "bob", "Anna and Joann and ann_ are others");
        say(&mut visitor, "bob", "for ann");
        page.until("document.querySelectorAll('#list .text').length === 4").await;
        // One notification is enough for a while.
        assert_eq!(page.js("window.called").await, json!([["bob", "hello Ann!"]]));
        let marked =
            "[...document.querySelectorAll('.mention .text')].map((text) => text.textContent)";
        assert_eq!(page.js(marked).await, json!(["Ann, not wanted yet", "hello Ann!", "for ann"]));
        page.picture("mention.png").await;
        // Own messages do not notify.
        page.say("I am ann").await;
        page.until("document.querySelectorAll('#list .text').length === 5").await;
        assert_eq!(page.js("window.called.length").await, 1);
        assert_eq!(page.js("window.tones").await, 0);
        // A sound must be enabled separately.
        page.click("#settings-open").await;
        page.click("#notify").await;
        page.click("#sound").await;
        page.click("#settings-close").await;
        page.js("window.now += 10_000").await;
        say(&mut visitor, "bob", "and ann again");
        page.until("window.tones === 1").await;
        assert_eq!(page.js("window.called.length").await, 1);
        page.reload().await;
        let settings = "['notify', 'sound'].map((id) => document.getElementById(id).checked)";
        assert_eq!(page.js(settings).await, json!([false, true]));
    });
}

#[test]
fn the_theme_is_remembered() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        let ground = "getComputedStyle(document.documentElement).backgroundColor";
        let light = page.js(ground).await;
        page.media(&[("prefers-color-scheme", "dark")]).await;
        let dark = page.js(ground).await;
        assert_ne!(light, dark);
        page.fill("theme", "light").await;
        assert_eq!(page.js(ground).await, light);
        page.reload().await;
        assert_eq!(page.js(ground).await, light);
        page.media(&[]).await;
        page.fill("theme", "dark").await;
        assert_eq!(page.js(ground).await, dark);
        page.fill("theme", "").await;
        assert_eq!(page.js(ground).await, light);
    });
}

#[test]
fn the_page_uses_the_readers_language() {
    run(async {
        let daemon = Daemon::start("");
        for (language, lang, state, send) in [
            ("de-AT,en", "de", "Verbunden", "Senden"),
            ("cs", "cs", "Připojeno", "Odeslat"),
            ("ja", "en", "Connected", "Send"),
        ] {
            let page =
                Page::open_as(daemon.addr, PageOptions { language, ..PageOptions::default() })
                    .await;
            assert_eq!(page.js("document.documentElement.lang").await, lang);
            assert_eq!(page.js(STATE).await, state);
            assert_eq!(page.js("document.getElementById('send').textContent").await, send);
            page.check_console(&[]).await;
        }
    });
}

#[test]
fn a_refused_permission_unticks_the_box() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        let ticked = "document.getElementById('notify').checked";
        let stored = "localStorage.getItem('wschat.notify') || ''";
        let said = "document.getElementById('refused').textContent";
        for notification in [
            "class { static permission = 'denied'; static requestPermission() { return Promise.resolve('denied'); } }",
            "class { static permission = 'default'; static requestPermission() { return Promise.resolve('default'); } }",
            "class { static permission = 'denied'; static requestPermission() {} }",
            "undefined",
        ] {
            page.js(&format!("(window.Notification = {notification}, null)")).await;
            page.click("#settings-open").await;
            page.click("#notify").await;
            page.until(&format!("!{ticked} && {said} === 'Your browser does not allow it here.'"))
                .await;
            assert_eq!(page.js(stored).await, "");
            check_axe(&page, "no notifications").await;
            page.picture("refused.png").await;
            page.click("#settings-close").await;
        }
        // It was allowed once.
        page.js("localStorage.setItem('wschat.notify', 'yes')").await;
        page.reload().await;
        assert_eq!(page.js(ticked).await, false);
    });
}

//! Received messages: groups, names, times, links, the list.

use serde_json::json;

use crate::accessibility::check_axe;
use crate::driver::{BROWSERS, Page, PageOptions, run};
use crate::harness::{Daemon, UNLIMITED};
use crate::network::say;

#[test]
fn two_pages_and_a_visitor_chat() {
    run(async {
        let daemon = Daemon::start("");
        let (ann, bob) = tokio::join!(Page::open(daemon.addr), Page::open(daemon.addr));
        ann.name("ann").await;
        bob.name("bob").await;
        ann.say("Good morning").await;
        ann.shows(&["Good morning"]).await;
        ann.say("Is the build green?").await;
        ann.shows(&["Good morning", "Is the build green?"]).await;
        bob.shows(&["Good morning", "Is the build green?"]).await;
        bob.say("Since half an hour 🎉").await;
        ann.shows(&["Good morning", "Is the build green?", "Since half an hour 🎉"]).await;
        say(&mut daemon.connect(), "ci", "build 412 is green");
        for page in [&ann, &bob] {
            let all = [
                "Good morning",
                "Is the build green?",
                "Since half an hour 🎉",
                "build 412 is green",
            ];
            page.shows(&all).await;
            // One heading for consecutive messages of a user.
            let names = page
                .js("[...document.querySelectorAll('#list .who')].map((who) => who.textContent)");
            assert_eq!(names.await, json!(["ann", "bob", "ci"]));
            assert_eq!(page.js("document.getElementById('unsent').children.length").await, 0);
            page.check_console(&[]).await;
        }
        ann.picture("chat.png").await;
        // A name has the same colour everywhere, and another name another colour.
        let colours = "[...document.querySelectorAll('#list .who')].map((who) => getComputedStyle(who).color)";
        let of_ann = ann.js(colours).await;
        assert_eq!(of_ann, bob.js(colours).await);
        assert_ne!(of_ann[0], of_ann[1]);
        // Nothing was requested from other servers.
        let asked = "performance.getEntriesByType('resource')
            .every(({ name }) => new URL(name).origin === location.origin)";
        assert_eq!(ann.js(asked).await, true);
    });
}

#[test]
fn times_are_local_and_exact() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        let mut visitor = daemon.connect();
        visitor.say("ci", "now");
        let tim = visitor.json()["tim"].clone();
        page.shows(&["now"]).await;
        let time = "document.querySelector('#list time')";
        assert_eq!(page.js(&format!("{time}.dateTime")).await, tim);
        let local = "new Intl.DateTimeFormat('en', { timeStyle: 'short' }).format(new Date($.slice(0, 23) + 'Z'))";
        let local = page.js_with(local, tim.clone()).await;
        assert_eq!(page.js(&format!("{time}.textContent")).await, local);
        let full = "new Intl.DateTimeFormat('en', { dateStyle: 'full', timeStyle: 'medium' })
            .format(new Date($.slice(0, 23) + 'Z'))";
        assert_eq!(page.js(&format!("{time}.title")).await, page.js_with(full, tim).await);
    });
}

#[test]
fn only_links_become_links() {
    let cases: &[(&str, &[&str])] = &[
        ("see https://example.org/a_(b)?x=1#y, and go", &["https://example.org/a_(b)?x=1#y"]),
        ("(http://example.org/)", &["http://example.org/"]),
        ("HTTPS://EXAMPLE.ORG!", &["HTTPS://EXAMPLE.ORG"]),
        ("«https://example.org/é»", &["https://example.org/é"]),
        ("https://a.example https://b.example", &["https://a.example", "https://b.example"]),
        ("https://example.org@evil.example/", &[]),
        ("https://user:word@evil.example/", &[]),
        ("javascript:alert(1)//https:", &[]),
        ("data:text/html,<b>", &[]),
        ("ftp://example.org file:///etc/passwd www.example.org", &[]),
        ("https:// http://: https://[", &[]),
        ("xhttps://example.org", &[]),
        ("https://example.org/<b>\"'", &["https://example.org/"]),
        ("http://[::1]:8080/a http://127.1", &["http://[::1]:8080/a", "http://127.0.0.1/"]),
        // What looks like another host is shown as it is called.
        ("https://\u{430}pple.com/id", &["https://xn--pple-43d.com/id"]),
        ("https://ｅxample.org", &["https://example.org/"]),
        ("https://exam\u{ad}ple.org", &["https://example.org/"]),
        ("https://ex%61mple.org", &["https://example.org/"]),
        ("https:///example.org", &["https://example.org/"]),
    ];
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        let mut visitor = daemon.connect();
        for (msg, _) in cases {
            say(&mut visitor, "ann", msg);
        }
        page.until_with(
            "document.querySelectorAll('#list .text').length === $",
            json!(cases.len()),
        )
        .await;
        let found = "[...document.querySelectorAll('#list .text')]
            .map((text) => [...text.querySelectorAll('a')].map((link) => link.textContent))";
        let wanted: Vec<_> = cases.iter().map(|(_, links)| links).collect();
        assert_eq!(page.js(found).await, json!(wanted));
        let safe = "[...document.querySelectorAll('#list a')].every((link) =>
            /^https?:$/.test(link.protocol) && link.rel === 'noopener noreferrer' && link.target === '_blank')";
        assert_eq!(page.js(safe).await, true);
    });
}

#[test]
fn code_is_shown_in_monospace_as_it_was_written() {
    let cases: &[(&str, &[&str])] = &[
        ("run `ls -l` there", &["`ls -l`"]),
        ("`https://example.org` `<b>`", &["`https://example.org`", "`<b>`"]),
        ("``a ` b`` and ``` c ```", &["``a ` b``", "``` c ```"]),
        ("so:\n```js\nlet a = `b`;\n\n```\nend", &["```js\nlet a = `b`;\n\n```\n"]),
        ("````\n```\n````", &["````\n```\n````"]),
        // What is open, or in two lines, is no code.
        ("`open", &[]),
        ("it`s ``open", &[]),
        ("```\nopen `a` https://example.org", &["`a`"]),
        ("`a\nb`", &[]),
        // A hostile text costs no more than another one.
        (&"`".repeat(16_000), &[]),
        (&"`a` ".repeat(4_000), &["`a`"; 200]),
    ];
    run(async {
        let daemon = Daemon::start(UNLIMITED);
        let page = Page::open(daemon.addr).await;
        let mut visitor = daemon.connect();
        for (msg, _) in cases {
            say(&mut visitor, "ann", msg);
        }
        let texts: Vec<_> = cases.iter().map(|(msg, _)| *msg).collect();
        page.shows(&texts).await;
        let found = "[...document.querySelectorAll('#list .text')]
            .map((text) => [...text.querySelectorAll('code')].map((code) => code.textContent))";
        let wanted: Vec<_> = cases.iter().map(|(_, codes)| codes).collect();
        assert_eq!(page.js(found).await, json!(wanted));
        let links = "[...document.querySelectorAll('#list a')].map((link) => link.textContent)";
        assert_eq!(page.js(links).await, json!(["https://example.org"]));
        let families = "[...document.querySelectorAll('#list code')]
            .every((code) => /monospace/.test(getComputedStyle(code).fontFamily))";
        assert_eq!(page.js(families).await, true);
        check_axe(&page, "code").await;
        page.picture("code.png").await;
    });
}

#[test]
fn blank_lines_and_names_do_not_take_the_screen() {
    run(async {
        let daemon = Daemon::start(UNLIMITED);
        let page = Page::open(daemon.addr).await;
        let mut visitor = daemon.connect();
        for (msg, shown) in [
            ("a\n\nb", "a\n\nb"),
            (&*format!("a{}b", "\n".repeat(28)), "a\n\nb"),
            (&*format!("a{}b", "\u{2028}".repeat(28)), "a\n\nb"),
            (&*format!("a{}", "\r\n \u{200b}\u{2800}\t".repeat(28)), "a"),
            (&*format!("a\n{}b", " \u{3164}\n".repeat(28)), "a\n\nb"),
            (&*format!("{}  indented\n    more", "\n".repeat(28)), "  indented\n    more"),
            (&*"\n".repeat(28), ""),
        ] {
            say(&mut visitor, "ann", msg);
            let last = "[...document.querySelectorAll('#list .text')].at(-1)?.textContent === $";
            page.until_with(last, json!(shown)).await;
        }
        // A long text gets a part of the screen.
        say(&mut visitor, "ann", &"line\n".repeat(28));
        page.until("document.querySelector('.tall')").await;
        let part = page.js("document.querySelector('.tall').offsetHeight / innerHeight").await;
        assert!(part.as_f64().unwrap() <= 0.5, "{part}");
        replace_list(&page).await;
        page.run(
            "window.list.add(['\\u200d', '\\ufe0f', ' '].map((usr) => ({ message: { usr, msg: 'hi', tim: '2026-03-14T12:00:00.000000001Z' } })), 0);",
        )
        .await;
        let names =
            "[...document.querySelectorAll('#list .who')].slice(-3).map((who) => who.textContent)";
        assert_eq!(page.js(names).await, json!(["\u{fffd}", "\u{fffd}", "\u{fffd}"]));
    });
}

#[test]
fn dates_have_the_form_of_the_country() {
    run(async {
        let daemon = Daemon::start("");
        for (language, day) in [
            ("en-GB,en", "15 March 2026"),
            ("en-US,en", "March 15, 2026"),
            ("de-AT,de", "15. März 2026"),
        ] {
            let page =
                Page::open_as(daemon.addr, PageOptions { language, ..PageOptions::default() })
                    .await;
            replace_list(&page).await;
            page.run(
                "const on = (day) => ({ message: { usr: 'ann', msg: 'hi', tim: `2026-03-${day}T12:00:00.000000001Z` } });
                 window.list.add([on(14), on(15)], 0);",
            )
            .await;
            let shown = page.js("document.querySelector('.day').textContent").await;
            assert!(shown.as_str().unwrap().ends_with(day), "{shown}");
        }
        // A browser without a valid language has a page, too.
        let data = "(Object.defineProperty(navigator, 'language', { value: 'en_US@posix' }), {})";
        Page::open_as(daemon.addr, PageOptions { data, ..PageOptions::default() }).await;
    });
}

#[test]
fn copied_lines_are_what_one_would_write() {
    run(async {
        let daemon = Daemon::start(UNLIMITED);
        for browser in BROWSERS {
            let page = Page::open_in(browser, daemon.addr).await;
            let mut visitor = daemon.connect();
            for (usr, msg) in [
                ("ann", "one"),
                ("ann", "two\nlines"),
                ("bob", "see https://example.org"),
                ("bob", "end"),
            ] {
                say(&mut visitor, usr, msg);
            }
            page.until("document.querySelectorAll('#list .text').length === 4").await;
            let copied = "((from, start, to, end) => {
                const texts = document.querySelectorAll('#list .text');
                getSelection().setBaseAndExtent(texts[from].firstChild, start, texts[to].lastChild, end);
                const event = new ClipboardEvent('copy', { clipboardData: new DataTransfer(), bubbles: true, cancelable: true });
                texts[from].dispatchEvent(event);
                const time = texts[0].parentNode.querySelector('time').textContent;
                return event.defaultPrevented ? event.clipboardData.getData('text/plain').replaceAll(time, 'TIME') : null;
            })";
            let several = page.js(&format!("{copied}(0, 1, 3, 2)")).await;
            let lines = "[TIME] ann: ne\n[TIME] ann: two\nlines\n[TIME] bob: see https://example.org\n[TIME] bob: en";
            let minute = "document.querySelectorAll('#list time')[0].textContent === document.querySelectorAll('#list time')[3].textContent";
            if page.js(minute).await == true {
                assert_eq!(several, lines, "{browser:?}");
            }
            // All of the page is selected.
            let all = page
                .js("((target) => {
                    getSelection().selectAllChildren(document.body);
                    const copy = (target) => {
                        const event = new ClipboardEvent('copy', { clipboardData: new DataTransfer(), bubbles: true, cancelable: true });
                        target.dispatchEvent(event);
                        return event.clipboardData.getData('text/plain').split('\\n').length;
                    };
                    return [copy(document.body), copy(document.getElementById('msg'))];
                })()")
                .await;
            assert_eq!(all, json!([5, 1]), "{browser:?}");
            // A part of one text is copied as it is.
            assert_eq!(page.js(&format!("{copied}(1, 0, 1, 3)")).await, json!(null));
        }
    });
}

#[test]
fn text_direction_is_isolated() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        let mut visitor = daemon.connect();
        say(&mut visitor, "שלום", "مرحبا بالعالم");
        say(&mut visitor, "bob\u{202e}gnp", "two \u{202e}words");
        say(&mut visitor, "ann\u{200b}", &"ab".repeat(2_000));
        page.until("document.querySelectorAll('.line').length === 3").await;
        let directions = "[...document.querySelectorAll('#list .who, #list .text')]
            .map((node) => [node.textContent.slice(0, 9), getComputedStyle(node).direction, getComputedStyle(node).unicodeBidi])";
        let wanted = json!([
            ["שלום", "rtl", "isolate"],
            ["مرحبا بال", "rtl", "isolate"],
            ["bob\u{fffd}gnp", "ltr", "isolate"],
            ["two \u{fffd}word", "ltr", "isolate"],
            ["ann\u{fffd}", "ltr", "isolate"],
            ["ababababa", "ltr", "isolate"],
        ]);
        assert_eq!(page.js(directions).await, wanted);
        // A long word wraps.
        assert_eq!(
            page.js("document.getElementById('scroller').scrollWidth <= innerWidth").await,
            true
        );
    });
}

#[test]
fn a_new_day_is_marked() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        // The server cannot wait for midnight, so the list itself gets the messages.
        replace_list(&page).await;
        page.run(
            "const on = (day, msg) => ({ message: { usr: 'ann', msg, tim: `2026-03-${day}T12:00:00.000000001Z` } });
             window.list.add([on(14, 'one'), on(14, 'two'), on(15, 'three'), on(15, 'four')], 0);",
        )
        .await;
        let shown =
            page.js("[...document.querySelectorAll('#list > li')].map((li) => li.className)").await;
        assert_eq!(shown, json!(["run", "day", "run"]));
        assert_eq!(
            page.js("document.querySelector('.day').textContent").await,
            "Sunday, March 15, 2026"
        );
    });
}

/// Gives the page a list of the test's own, in the place for it.
async fn replace_list(page: &Page) {
    // Its modules are part of the page's script, so they are given to the browser once more.
    let sources = [
        include_str!("../../static/page/texts.js"),
        include_str!("../../static/page/dom.js"),
        include_str!("../../static/page/content.js"),
        include_str!("../../static/page/list.js"),
    ];
    let own = |line: &&str| !line.starts_with("import ");
    let lines = sources.iter().flat_map(|source| source.lines()).filter(own);
    let modules: Vec<_> = lines.map(|line| line.strip_prefix("export ").unwrap_or(line)).collect();
    let create = "
        window.list = new List({ scroller: $('scroller'), list: $('list'), gone: $('gone'),
            onNews: (following, news) => (window.news = [following, news]) });
        $('empty').hidden = true;";
    page.run(&(modules.join("\n") + create)).await;
}

#[test]
fn one_message_that_cannot_be_shown_is_shown_as_plain_text() {
    run(async {
        let daemon = Daemon::start(UNLIMITED);
        let page = Page::open(daemon.addr).await;
        let mut visitor = daemon.connect();
        // Whatever throws, in any part of a message.
        page.js("[[String.prototype, 'matchAll'], [String.prototype, 'trim']]
                .forEach(([owner, name]) => {
                    const real = owner[name];
                    owner[name] = function (...given) {
                        if (/fail/.test(this)) throw new Error(name);
                        return real.apply(this, given);
                    };
                })")
            .await;
        say(&mut visitor, "ann", "one");
        say(&mut visitor, "ann", "fail <b>here</b>");
        say(&mut visitor, "failing name", "https://example.org");
        say(&mut visitor, "ann", "two");
        page.shows(&["one", "ann: fail <b>here</b>", "failing name: https://example.org", "two"])
            .await;
        // The list goes on after an exception anywhere else.
        page.js("Object.defineProperty(document.getElementById('jump'), 'hidden', {
                configurable: true,
                set() { delete this.hidden; window.thrown = true; throw new Error('once'); },
            })")
            .await;
        say(&mut visitor, "ann", "before the exception");
        page.until("window.thrown").await;
        say(&mut visitor, "ann", "still here");
        page.until("[...document.querySelectorAll('.text')].at(-1).textContent === 'still here'")
            .await;
        replace_list(&page).await;
        page.run(
            "const odd = [{}, { usr: 'ann' }, { usr: 'ann', msg: 'no time' }, { usr: 7, msg: null, tim: 'x' },
                { usr: { toString: 1 }, msg: [], tim: '2026-03-14T12:00:00.000000001Z' }];
             window.list.add(odd.map((message) => ({ message })), 0);
             // What is no message costs no message either.
             window.list.add([{ retract: '\"' }, { message: { usr: 'ann', msg: 'three', tim: '2026-03-14T12:00:00.000000001Z' } }], 0);",
        )
        .await;
        assert_eq!(page.js("document.querySelectorAll('.line').length").await, 12);
        assert_eq!(
            page.js("[...document.querySelectorAll('.text')].at(-1).textContent").await,
            "three"
        );
    });
}

#[test]
fn an_older_browser_shows_links_and_states() {
    run(async {
        let daemon = Daemon::start("");
        let data = "(delete URL.canParse, ['ariaLive', 'ariaLabel', 'role']
            .forEach((name) => delete Element.prototype[name]), {})";
        let page = Page::open_as(daemon.addr, PageOptions { data, ..PageOptions::default() }).await;
        assert_eq!(page.js("URL.canParse").await, json!(null));
        say(&mut daemon.connect(), "ann", "see https://example.org and https://[");
        page.shows(&["see https://example.org and https://["]).await;
        assert_eq!(page.js("document.querySelectorAll('#list a').length").await, 1);
        let label = "document.getElementById('scroller').getAttribute('aria-label')";
        assert_eq!(page.js(label).await, "Messages");
        page.name("wschat").await;
        page.say("hello").await;
        page.until("document.querySelector('.failed [role=alert]')").await;
        page.check_console(&[]).await;
    });
}

#[test]
fn the_list_is_bounded_and_counts_removed_messages() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        replace_list(&page).await;
        page.run(
            "window.row = (n) => ({ message: { usr: `user ${n % 7}`, msg: `message ${n}`, tim: '2026-03-14T12:00:00.000000001Z' } });
             for (let n = 0; n < 10_000; n += 100)
                 window.list.add(Array.from({ length: 100 }, (_, i) => window.row(n + i)), 0);",
        )
        .await;
        let count = page.js("document.querySelectorAll('.line').length").await.as_u64().unwrap();
        assert!((1_900..=2_000).contains(&count), "{count}");
        let left = 10_000 - count;
        let shown = format!("Older messages, no longer here: {},{:03}", left / 1000, left % 1000);
        assert_eq!(page.js("document.getElementById('gone').textContent").await, shown.as_str());
        assert_eq!(
            page.js("document.querySelector('.run:last-child .text').textContent").await,
            "message 9999"
        );
        // The user reads above: the visible messages stay in place, also when the list is
        // cut.
        page.run(
            "const scroller = document.getElementById('scroller');
             scroller.scrollTop = scroller.scrollHeight - 8_000;
             await new Promise((resolve) => scroller.addEventListener('scroll', resolve, { once: true }));
             window.mark = document.elementFromPoint(200, 300).closest('.run');
             window.place = window.mark.getBoundingClientRect().top;
             for (let n = 0; n < 5_000; n += 100)
                 window.list.add(Array.from({ length: 100 }, (_, i) => window.row(n + i)), 0);",
        )
        .await;
        assert_eq!(page.js("window.news").await, json!([false, 5_000]));
        let moved =
            page.js("Math.abs(window.mark.getBoundingClientRect().top - window.place)").await;
        assert!(moved.as_f64().unwrap() < 2.0, "moved by {moved}");
        page.js("window.list.jump()").await;
        page.until("window.news[0] && window.news[1] === 0").await;
    });
}

#[test]
fn a_retracted_message_disappears_and_nothing_moves() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        replace_list(&page).await;
        page.run(
            "const tim = (n) => `2026-03-14T12:00:00.${String(n).padStart(9, 0)}Z`;
             const row = (n, msg) => ({ mention: n === 1, message: { usr: `user ${n % 3}`, msg, tim: tim(n) } });
             window.list.add(Array.from({ length: 100 }, (_, n) => row(n, n === 1 ? 'so long\\n'.repeat(20) : `message ${n}`)), 0);
             const scroller = document.getElementById('scroller');
             scroller.scrollTop = 2_000;
             await new Promise((resolve) => scroller.addEventListener('scroll', resolve, { once: true }));
             const mark = document.elementFromPoint(200, 300).closest('.run');
             const place = mark.getBoundingClientRect().top;
             for (const n of [1, 90, 1, 4_711]) window.list.retract(tim(n));
             window.moved = mark.getBoundingClientRect().top - place;",
        )
        .await;
        let moved = page.js("Math.abs(window.moved)").await;
        assert!(moved.as_f64().unwrap() < 2.0, "moved by {moved}");
        let notes = "[...document.querySelectorAll('em')].map((note) => [note.textContent,
            note.closest('.run').querySelector('.who').textContent, note.parentNode.className])";
        let wanted = json!([
            ["Message retracted", "user 1", "line"],
            ["Message retracted", "user 0", "line"],
        ]);
        assert_eq!(page.js(notes).await, wanted);
        assert_eq!(page.js("/so long|message 90/.test(document.body.textContent)").await, false);
        // At the end, the list stays at its end, and the focus moves on.
        page.run(
            "const tim = (n) => `2026-03-14T12:00:00.${String(n).padStart(9, 0)}Z`;
             window.list.jump();
             window.list.add([{ message: { usr: 'ann', msg: 'https://example.org', tim: tim(101) } }], 0);
             document.querySelector('#list a').focus();
             window.list.retract(tim(101));",
        )
        .await;
        assert_eq!(page.js("document.activeElement.id").await, "scroller");
        page.until(
            "(({ scrollHeight, scrollTop, clientHeight }) => scrollHeight - scrollTop - clientHeight < 2)
                (document.getElementById('scroller'))",
        )
        .await;
    });
}

#[test]
fn new_messages_are_counted_while_the_user_reads_above() {
    run(async {
        let daemon = Daemon::start(UNLIMITED);
        let page = Page::open(daemon.addr).await;
        let mut visitor = daemon.connect();
        for number in 1..=60 {
            say(&mut visitor, "ci", &format!("line {number}"));
        }
        page.until("document.querySelectorAll('.line').length === 60").await;
        let bottom = "(({ scrollHeight, scrollTop, clientHeight }) => scrollHeight - scrollTop - clientHeight < 2)
            (document.getElementById('scroller'))";
        page.until(bottom).await;
        assert_eq!(page.js("document.getElementById('jump').hidden").await, true);
        page.js("document.getElementById('scroller').scrollTop = 100").await;
        page.until("!document.getElementById('jump').hidden").await;
        for number in 1..=3 {
            say(&mut visitor, "bob", &format!("news {number}"));
        }
        page.until("document.getElementById('jump').textContent === 'New messages: 3'").await;
        assert_eq!(page.js("document.getElementById('scroller').scrollTop").await, 100);
        page.picture("reading.png").await;
        page.click("#jump").await;
        page.until(bottom).await;
        page.until("document.getElementById('jump').hidden").await;
        assert_eq!(page.js("document.activeElement.id").await, "msg");
    });
}

#[test]
fn a_flood_is_not_announced() {
    run(async {
        let daemon = Daemon::start("");
        let page = Page::open(daemon.addr).await;
        let live = "document.getElementById('log').getAttribute('aria-live')";
        let mut visitor = daemon.connect();
        say(&mut visitor, "ann", "hello");
        page.shows(&["hello"]).await;
        assert_ne!(page.js(live).await, "off");
        for number in 1..=20 {
            visitor.say("ci", &number.to_string());
        }
        page.until(&format!("{live} === 'off'")).await;
        page.until("/New messages/.test(document.getElementById('spoken').textContent)").await;
        page.until(&format!("{live} === 'polite'")).await;
    });
}

//! Pages of other sites that import wschat.js, or show the page in a frame.

use serde_json::json;

use crate::driver::{Browser, Page, run};
use crate::harness::Daemon;
use crate::network::say;
use crate::other_origin::other_origin;
use crate::token::{SECRET, token};

const BROWSERS: [Browser; 2] = [Browser::Chromium, Browser::Firefox];

/// A room for the pages of `origin`, and its own page. It is known only then which port it has.
fn room_for(origin: &str) -> Daemon {
    let daemon = Daemon::start("");
    daemon.reload(&origins(&daemon, &[origin]));
    daemon
}

fn origins(daemon: &Daemon, others: &[&str]) -> String {
    let own = format!("http://{}", daemon.addr);
    format!("listen.origins = {:?}", [&[own.as_str()], others].concat())
}

#[test]
fn wschat_js_is_imported_by_listed_sites() {
    run(async {
        for browser in BROWSERS {
            let site = format!("http://localhost:{}", other_origin("<p>").port());
            let (open, listed) = (Daemon::start(""), room_for(&site));
            let foreign = Daemon::start("listen.origins = ['https://chat.example']");
            let page = Page::visit(browser, &site).await;
            for (daemon, want) in
                [(&open, json!("hello")), (&listed, json!("hello")), (&foreign, json!("TypeError"))]
            {
                let said = page
                    .run(&format!(
                        "try {{
                            const {{ connect }} = await import('http://{0}/wschat.js');
                            const room = connect('ws://{0}/');
                            await room.opened;
                            const {{ msg }} = await room.send({{ usr: 'ann', msg: 'hello' }});
                            room.close();
                            return msg;
                        }} catch (error) {{
                            return error.name;
                        }}",
                        daemon.addr
                    ))
                    .await;
                assert_eq!(said, want, "{browser:?}");
            }
        }
    });
}

/// Waits until the frame has something, and returns whether that is the page, connected.
async fn frame_is_connected(page: &Page) -> bool {
    page.driver().enter_frame(0).await.unwrap();
    page.until(
        "document.readyState === 'complete' && location.href !== 'about:blank'
            && document.body && document.body.dataset.state !== 'connecting'",
    )
    .await;
    let state = page.js("document.body.dataset.state ?? null").await;
    page.driver().enter_parent_frame().await.unwrap();
    state == "open"
}

#[test]
fn the_page_is_framed_by_listed_sites_alone() {
    run(async {
        for browser in BROWSERS {
            let open = Daemon::start("");
            let other = other_origin(frame(&open));
            let page = Page::visit(browser, &format!("http://localhost:{}", other.port())).await;
            assert!(!frame_is_connected(&page).await, "{browser:?}: no site is listed");
            let foreign = room_for("https://chat.example");
            let other = other_origin(frame(&foreign));
            page.driver().goto(format!("http://localhost:{}", other.port())).await.unwrap();
            assert!(!frame_is_connected(&page).await, "{browser:?}: another site is listed");
        }
    });
}

/// The site's part is this tag.
fn frame(daemon: &Daemon) -> String {
    format!(
        "<input id=own autofocus><iframe src=\"http://{}/\" title=\"Chat\"></iframe>",
        daemon.addr
    )
}

#[test]
fn people_chat_in_a_frame() {
    run(async {
        for browser in BROWSERS {
            let daemon = Daemon::start("");
            let other = other_origin(frame(&daemon));
            let site = format!("http://localhost:{}", other.port());
            daemon.reload(&origins(&daemon, &[&site]));
            let mut visitor = daemon.connect();
            let page = Page::visit(browser, &site).await;
            assert!(frame_is_connected(&page).await, "{browser:?}");
            // The page around it keeps the focus.
            assert_eq!(page.js("document.activeElement.id").await, "own", "{browser:?}");
            page.driver().enter_frame(0).await.unwrap();
            page.name("ann").await;
            page.say("hello").await;
            page.shows(&["hello"]).await;
            assert_eq!(visitor.hear(), "hello");
            say(&mut visitor, "bob", "welcome");
            page.shows(&["hello", "welcome"]).await;
            // When the site is no longer listed, the frame stays empty, whatever is cached.
            daemon.reload(&origins(&daemon, &["https://chat.example"]));
            page.driver().enter_parent_frame().await.unwrap();
            page.driver().refresh().await.unwrap();
            assert!(!frame_is_connected(&page).await, "{browser:?}");
        }
    });
}

/// As in a frame of a browser that blocks the storage of other sites.
#[test]
fn the_page_works_without_storage() {
    run(async {
        let daemon = Daemon::start(&format!("auth.jwt_secret = \"{SECRET}\""));
        let page = Page::open(daemon.addr).await;
        let forbid = "for (const kind of ['localStorage', 'sessionStorage'])
            Object.defineProperty(window, kind, { get() { throw new DOMException('no', 'SecurityError'); } });";
        page.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": forbid })).await;
        page.reload().await;
        page.click("#settings-open").await;
        page.fill("token", &token(&json!({ "sub": "ann" }))).await;
        page.click("#settings-close").await;
        page.until("document.getElementById('usr').value === 'ann'").await;
        page.say("hello").await;
        page.shows(&["hello"]).await;
        page.check_console(&[]).await;
    });
}

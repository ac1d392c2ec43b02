//! Pages that listen with `EventSource` and speak with `fetch`: those of the room's origin and
//! those of another one, in Chromium and in Firefox.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::driver::{Browser, Page, run};
use crate::harness::{Daemon, until};
use crate::manager::Manager;

const BROWSERS: [Browser; 2] = [Browser::Chromium, Browser::Firefox];
const UNLIMITED: &str = "[limits]\nmessages_per_sec = 0\nconnects_per_address_per_sec = 0\n";

/// Serves an empty page at an origin of its own, and returns its address.
fn foreign_page() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            // A browser can open a connection before it needs it.
            thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n\
                      <!doctype html><title>another page</title>",
                );
            });
        }
    });
    address
}

/// Opens an EventSource in the page, which collects what it gets.
async fn listen(page: &Page, daemon: &Daemon) {
    let script = "(
        window.got = [],
        window.source = new EventSource($),
        source.onmessage = ({ lastEventId, data }) => got.push([lastEventId, JSON.parse(data)]),
        null
    )";
    page.js_with(script, json!(format!("http://{}/events", daemon.addr))).await;
}

/// Sends a message by POST, and returns the status and the response.
async fn post(page: &Page, daemon: &Daemon, body: &Value, fields: &str) -> Value {
    page.run(&format!(
        "const response = await fetch('http://{}/', {{
            method: 'POST',
            headers: {{ 'Content-Type': 'application/json', {fields} }},
            body: JSON.stringify({body}),
        }});
        return [response.status, await response.json(), response.headers.get('WWW-Authenticate')];",
        daemon.addr
    ))
    .await
}

async fn say(page: &Page, daemon: &Daemon, msg: &str) -> Value {
    let answer = post(page, daemon, &json!({ "usr": "ann", "msg": msg }), "").await;
    assert_eq!(answer[0], 200, "{answer}");
    answer[1].clone()
}

/// Waits until the page has got this message next, with its id.
async fn gets(page: &Page, message: &Value) {
    page.until("window.got.length").await;
    assert_eq!(page.js("window.got.shift()").await, json!([message["tim"], message]));
}

fn kick_streams(daemon: &Daemon) {
    let out = daemon.command(&["clients", "--json"]).output().unwrap().stdout;
    for line in String::from_utf8(out).unwrap().lines() {
        let client: Value = serde_json::from_str(line).unwrap();
        if client["transport"] == "sse" {
            let id = client["id"].to_string();
            assert!(daemon.command(&["kick", "--id", &id]).output().unwrap().status.success());
        }
    }
}

#[test]
fn an_event_source_of_the_rooms_page_resumes() {
    let manager = Manager::with_config(UNLIMITED);
    let address = manager.listener.local_addr().unwrap();
    resume(&manager, &format!("http://{address}/"));
}

#[test]
fn an_event_source_of_any_page_resumes() {
    resume(&Manager::with_config(UNLIMITED), &format!("http://{}/", foreign_page()));
}

#[test]
fn an_event_source_of_a_page_in_the_list_resumes() {
    let url = format!("http://{}", foreign_page());
    let config = format!("[listen]\norigins = [\"https://a.example\", \"{url}\"]\n{UNLIMITED}");
    resume(&Manager::with_config(&config), &url);
}

/// The stream is kicked; the daemon is restarted with it, is killed, and starts again without
/// its tail.
fn resume(manager: &Manager, url: &str) {
    run(async {
        let mut daemon = manager.start();
        let mut pages = Vec::new();
        for browser in BROWSERS {
            let page = Page::visit(browser, url).await;
            listen(&page, &daemon).await;
            page.until("source.readyState === EventSource.OPEN").await;
            pages.push(page);
        }
        let speaker = &pages[0];
        let message = say(speaker, &daemon, "to all").await;
        for page in &pages {
            gets(page, &message).await;
        }
        kick_streams(&daemon);
        let message = say(speaker, &daemon, "while they are away").await;
        for page in &pages {
            gets(page, &message).await;
            page.until("source.readyState === EventSource.OPEN").await;
        }

        daemon = manager.restart(daemon);
        let message = say(speaker, &daemon, "after a restart").await;
        for page in &pages {
            gets(page, &message).await;
        }

        manager.tail_file(&daemon);
        daemon.signal(Signal::KILL);
        daemon.wait();
        daemon = manager.start();
        let last = say(speaker, &daemon, "after a crash").await;
        for page in &pages {
            gets(page, &last).await;
        }

        daemon.signal(Signal::KILL);
        daemon.wait();
        manager.store().clear();
        daemon = manager.start();
        let message = say(speaker, &daemon, "after a crash without a store").await;
        for page in &pages {
            page.until("window.got.length").await;
            let notice = page.js("window.got.shift()").await;
            // The notice has no id: the last one stays.
            assert_eq!(notice[0], last["tim"]);
            assert_eq!([&notice[1]["err"], &notice[1]["after"]], [&json!("gap"), &last["tim"]]);
            gets(page, &message).await;
            assert_eq!(page.js("window.got.length").await, 0);
        }
    });
}

#[test]
fn a_page_that_is_not_in_the_list_neither_listens_nor_speaks() {
    run(async {
        let daemon = Daemon::start("listen.origins = [\"https://a.example\"]\n");
        let mut listener = daemon.connect();
        let url = format!("http://{}/", foreign_page());
        for browser in BROWSERS {
            let page = Page::visit(browser, &url).await;
            listen(&page, &daemon).await;
            page.until("source.readyState === EventSource.CLOSED").await;
            let attempts = format!(
                "const failed = [];
                for (const type of ['application/json', 'text/plain']) {{
                    const body = '{{\"usr\":\"eve\",\"msg\":\"in\"}}';
                    const request = {{ method: 'POST', headers: {{ 'Content-Type': type }}, body }};
                    await fetch('http://{0}/', request).catch((error) => failed.push(error.name));
                }}
                await fetch('http://{0}/', {{ method: 'POST', mode: 'no-cors', body: '{{}}' }});
                return failed;",
                daemon.addr
            );
            assert_eq!(page.run(&attempts).await, json!(["TypeError", "TypeError"]));
        }
        listener.say("ann", "nothing before this");
        assert_eq!(listener.hear(), "nothing before this");
    });
}

/// A form of another page could send it without asking the server first.
#[test]
fn a_simple_request_of_any_page_sends_nothing() {
    run(async {
        let daemon = Daemon::start("");
        let mut listener = daemon.connect();
        let url = format!("http://{}/", foreign_page());
        for browser in BROWSERS {
            let page = Page::visit(browser, &url).await;
            let attempt = format!(
                "const body = '{{\"usr\":\"eve\",\"msg\":\"in\"}}';
                await fetch('http://{0}/', {{ method: 'POST', mode: 'no-cors', body }});
                const response = await fetch('http://{0}/', {{ method: 'POST', body }});
                return [response.status, (await response.json()).err];",
                daemon.addr
            );
            assert_eq!(page.run(&attempt).await, json!([415, "media-type"]));
        }
        listener.say("ann", "nothing before this");
        assert_eq!(listener.hear(), "nothing before this");
    });
}

#[test]
fn a_page_reads_why_its_message_was_not_sent() {
    run(async {
        let secret = "a secret of thirty-two bytes, yes";
        let daemon = Daemon::start(&format!("auth.jwt_secret = \"{secret}\"\n"));
        let url = format!("http://{}/", foreign_page());
        let body = json!({ "usr": "ann", "msg": "hi" });
        for browser in BROWSERS {
            let page = Page::visit(browser, &url).await;
            let answer = post(&page, &daemon, &body, "").await;
            assert_eq!((&answer[0], &answer[1]["err"]), (&json!(401), &json!("jwt-missing")));
            assert!(answer[2].as_str().unwrap().starts_with("Bearer"), "{answer}");
            let answer = post(&page, &daemon, &body, "'Authorization': 'Bearer x.y.z'").await;
            assert_eq!((&answer[0], &answer[1]["err"]), (&json!(401), &json!("jwt-invalid")));
        }
    });
}

/// A browser gives up after any status but 200; the page must open another EventSource.
#[test]
fn an_event_source_that_is_refused_is_closed() {
    run(async {
        let daemon = Daemon::start("limits.connections_max = 1\n");
        let visitor = daemon.connect();
        let url = format!("http://{}/", foreign_page());
        let mut pages = Vec::new();
        for browser in BROWSERS {
            let page = Page::visit(browser, &url).await;
            listen(&page, &daemon).await;
            page.until("source.readyState === EventSource.CLOSED").await;
            pages.push(page);
        }
        drop(visitor);
        until("there is a place", || {
            let status = daemon.command(&["status", "--json"]).output().unwrap();
            let status: Value = serde_json::from_slice(&status.stdout).unwrap();
            (status["listeners"] == 0).then_some(())
        });
        listen(&pages[1], &daemon).await;
        pages[1].until("source.readyState === EventSource.OPEN").await;
        let message = say(&pages[0], &daemon, "hello").await;
        gets(&pages[1], &message).await;
    });
}

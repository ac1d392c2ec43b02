//! Pages of other origins use the room with POST.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use serde_json::{Value, json};

use crate::driver::{Page, run};
use crate::harness::Daemon;

/// A server of another origin whose page has this content.
pub fn other_origin(content: impl Into<String>) -> SocketAddr {
    let content = content.into();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            // Closing before it is read would reset the connection.
            let _ = stream.read(&mut [0; 4096]);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(format!("{head}<!doctype html>{content}").as_bytes());
        }
    });
    address
}

/// Sends a message from the page. Returns the status, the text or the code, and a header
/// field; or the name of an error if the page cannot read the response.
async fn post(page: &Page, room: SocketAddr, options: &str) -> Value {
    let body = r#"{"usr":"ann","msg":"hi"}"#;
    page.run(&format!(
        "const options = {{ method: 'POST', body: '{body}', ...{options} }};
        try {{
            const response = await fetch('http://{room}/', options);
            const {{ msg, err }} = await response.json();
            return [response.status, err ?? msg, response.headers.get('WWW-Authenticate')];
        }} catch (error) {{
            return error.name;
        }}"
    ))
    .await
}

#[test]
fn a_page_of_another_origin_speaks_if_it_is_listed() {
    run(speak());
}

async fn speak() {
    const JSON: &str =
        "{ headers: { 'Content-Type': 'application/json', Authorization: 'Bearer x' } }";
    let other = other_origin("<p>");
    let open = Daemon::start("");
    let closed = Daemon::start("auth.jwt_secret = 'a secret of thirty-two bytes, yes'");
    let listed = Daemon::start(&format!("listen.origins = ['http://{other}']"));
    let foreign = Daemon::start("listen.origins = ['https://chat.example']");
    let page = Page::open(open.addr).await;
    page.driver().goto(format!("http://{other}/")).await.unwrap();
    assert_eq!(post(&page, open.addr, JSON).await, json!([200, "hi", null]));
    assert_eq!(post(&page, listed.addr, JSON).await, json!([200, "hi", null]));
    let challenge = "Bearer error=\"invalid_token\"";
    assert_eq!(post(&page, closed.addr, JSON).await, json!([401, "jwt-invalid", challenge]));
    assert_eq!(post(&page, foreign.addr, JSON).await, "TypeError");
    // A request that needs no preflight changes nothing.
    for options in ["{}", "{ mode: 'no-cors' }", "{ headers: { 'Content-Type': 'text/plain' } }"] {
        let answer = post(&page, foreign.addr, options).await;
        assert!(answer.is_string(), "{answer}");
    }
    assert_eq!(post(&page, open.addr, "{}").await, json!([415, "media-type", null]));
    let count = |daemon: &Daemon| {
        let status = daemon.command(&["status", "--json"]).output().unwrap().stdout;
        serde_json::from_slice::<Value>(&status).unwrap()["messages"].clone()
    };
    assert_eq!([&open, &listed, &closed, &foreign].map(count), [1, 1, 0, 0].map(Value::from));
}

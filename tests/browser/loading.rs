//! The page while it arrives.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::driver::{BROWSERS, Page, run};
use crate::harness::{Daemon, until};
use crate::network::say;

/// What arrives of the page at once: less than the first flight of TCP.
const FIRST_BYTES: u64 = 4_096;

/// A proxy that holds back the rest of the page until it is told to go on.
fn slow_page(room: SocketAddr) -> (SocketAddr, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (go_on, rest) = channel();
    let rest = Arc::new(Mutex::new(rest));
    thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let rest = rest.clone();
            thread::spawn(move || transfer(&near, room, &rest));
        }
    });
    (address, go_on)
}

fn transfer(near: &TcpStream, room: SocketAddr, rest: &Mutex<Receiver<()>>) {
    let mut head = [0; 4096];
    let length = near.peek(&mut head).unwrap_or(0);
    let head = String::from_utf8_lossy(&head[..length]).into_owned();
    let Ok(far) = TcpStream::connect(room) else { return };
    thread::scope(|scope| {
        scope.spawn(|| copy(near, &far));
        if head.starts_with("GET / ") && !head.contains("Sec-WebSocket-Key") {
            copy((&far).take(FIRST_BYTES), near);
            let _ = rest.lock().unwrap().recv();
        }
        copy(&far, near);
    });
}

fn copy(mut from: impl Read, mut to: &TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

#[test]
fn the_page_connects_before_all_of_it_has_arrived() {
    run(async {
        for browser in BROWSERS {
            let page = Page::visit(browser, "about:blank").await;
            let daemon = Daemon::start("");
            let mut visitor = daemon.connect();
            let (address, go_on) = slow_page(daemon.addr);
            let listens = daemon.command(&["clients", "--json"]);
            let meanwhile = thread::spawn(move || {
                let mut listens = listens;
                until("the page listens", || {
                    let clients = listens.output().unwrap().stdout;
                    (clients.iter().filter(|byte| **byte == b'\n').count() == 2).then_some(())
                });
                say(&mut visitor, "ann", "before the rest of the page");
                go_on.send(()).unwrap();
                // Later pages are not held back.
                drop(go_on);
            });
            page.driver().goto(format!("http://{address}/")).await.unwrap();
            meanwhile.join().unwrap();
            page.shows(&["before the rest of the page"]).await;
            say(&mut daemon.connect(), "ann", "after it");
            page.shows(&["before the rest of the page", "after it"]).await;
        }
    });
}

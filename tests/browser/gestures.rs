//! A reader scrolls up, selects and presses in a room where messages keep coming.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use crate::driver::{BROWSERS, Browser, Page, run};
use crate::harness::{Daemon, UNLIMITED};

/// A user who sends messages at a rate, until this is dropped.
struct Flood {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    fn start(daemon: &Daemon, messages_per_sec: u64) -> Self {
        let mut visitor = daemon.connect();
        let (stop, stopped) = mpsc::channel::<()>();
        let interval = Duration::from_secs(1) / u32::try_from(messages_per_sec).unwrap();
        let thread = thread::spawn(move || {
            for number in 0.. {
                if stopped.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                visitor.say(&format!("user {}", number % 3), &format!("message {number}"));
                visitor.hear();
            }
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A point in the list.
const POINT: (i64, i64) = (300, 300);

fn pointer(kind: &str, actions: &[Value]) -> Value {
    let parameters = json!({ "pointerType": kind });
    json!({ "type": "pointer", "id": kind, "parameters": parameters, "actions": actions })
}

fn move_to((x, y): (i64, i64), duration_ms: u64) -> Value {
    json!({ "type": "pointerMove", "origin": "viewport", "x": x, "y": y, "duration": duration_ms })
}

fn down() -> Value {
    json!({ "type": "pointerDown", "button": 0 })
}

fn up() -> Value {
    json!({ "type": "pointerUp", "button": 0 })
}

/// Moves a pointer that is pressed at `from`, in steps as a hand does: a browser can lose what
/// happens in the same frame as the press.
fn drag(kind: &str, from: (i64, i64), to: (i64, i64)) -> Value {
    let steps = 5;
    let part = |step: i64| {
        let between = |from: i64, to: i64| from + (to - from) * step / steps;
        move_to((between(from.0, to.0), between(from.1, to.1)), 20)
    };
    let mut actions = vec![move_to(from, 0), down()];
    actions.extend((1..=steps).map(part));
    // Without speed at its end, so that a finger does not throw the list.
    actions.extend([json!({ "type": "pause", "duration": 100 }), up()]);
    pointer(kind, &actions)
}

/// Every way to leave the end of the list, each with a small movement.
const GESTURES: [&str; 6] = ["wheel", "finger", "key", "page key", "scroll bar", "selection"];

/// Those that the driver of this browser can perform: that of WebKitGTK has no touch screen.
fn gestures(browser: Browser) -> impl Iterator<Item = &'static str> {
    GESTURES.into_iter().filter(move |gesture| browser != Browser::WebKit || *gesture != "finger")
}

async fn perform(page: &Page, gesture: &str) {
    let (x, y) = POINT;
    match gesture {
        "wheel" => page.wheel(POINT, &[-12, -11, -10]).await,
        "finger" => page.act(drag("touch", POINT, (x, y + 40))).await,
        "key" | "page key" => {
            page.js("document.getElementById('scroller').focus({ preventScroll: true })").await;
            page.press_key(if gesture == "key" { UP } else { PAGE_UP }).await;
        }
        "scroll bar" => {
            let bar = page
                .js("(({ right, bottom }) => [right - 6, bottom - 22].map(Math.round))
                    (document.getElementById('scroller').getBoundingClientRect())")
                .await;
            let (x, y) = (bar[0].as_i64().unwrap(), bar[1].as_i64().unwrap());
            page.act(drag("mouse", (x, y), (x, y - 30))).await;
        }
        "selection" => page.act(drag("mouse", (120, y), (100, y - 40))).await,
        _ => unreachable!("{gesture}"),
    }
}

/// Keys, as WebDriver names them.
const UP: &str = "\u{e013}";
const PAGE_UP: &str = "\u{e00e}";
const END: &str = "\u{e010}";

const FOLLOWS: &str = "document.getElementById('jump').hidden
    && (({ scrollHeight, scrollTop, clientHeight }) => scrollHeight - scrollTop - clientHeight < 2)
        (document.getElementById('scroller'))";

/// Fills the room, and opens the page in it.
async fn open(daemon: &Daemon, browser: Browser) -> Page {
    let page = Page::open_in(browser, daemon.addr).await;
    let mut visitor = daemon.connect();
    for number in 0..60 {
        visitor.say("ann", &format!("line {number}"));
        visitor.hear();
    }
    page.until("document.querySelectorAll('.line').length === 60").await;
    page.until(FOLLOWS).await;
    page
}

/// Waits until the flood has sent so many more messages, and checks that what is in the
/// middle of the list stays there while they come.
async fn nothing_moves(page: &Page, more: u64, what: &str) {
    // A browser scrolls after the events of a gesture, and not always at once.
    let lines = page
        .run(
            "const scroller = document.getElementById('scroller');
             for (let same = 0, last; same < 10; same = last === scroller.scrollTop ? same + 1 : 0) {
                 last = scroller.scrollTop;
                 // WebKitGTK on a display of Xvfb does not always call back for a frame.
                 await Promise.race([requestAnimationFrame, (done) => setTimeout(done, 100)].map((wait) => new Promise(wait)));
             }
             window.mark = document.elementFromPoint(300, 300).closest('.line, .run, .day');
             window.place = window.mark.getBoundingClientRect().top;
             return document.querySelectorAll('.line').length;",
        )
        .await;
    let lines = lines.as_u64().unwrap() + more;
    page.until_with("document.querySelectorAll('.line').length >= $", json!(lines)).await;
    let moved = page.js("window.mark.getBoundingClientRect().top - window.place").await;
    assert!(moved.as_f64().unwrap().abs() < 1.5, "{what}: moved by {moved}");
}

async fn leaves_the_end(browser: Browser) {
    let daemon = Daemon::start(UNLIMITED);
    let page = open(&daemon, browser).await;
    for rate in [1, 10, 50, 200] {
        let flood = Flood::start(&daemon, rate);
        for gesture in gestures(browser) {
            let what = format!("{browser:?}, {rate} messages/s, {gesture}");
            page.until(FOLLOWS).await;
            perform(&page, gesture).await;
            page.until_with(
                &format!("/* {what} */ !document.getElementById('jump').hidden"),
                json!(null),
            )
            .await;
            nothing_moves(&page, 2.max(rate / 10), &what).await;
            let left = page.js("!document.getElementById('jump').hidden").await;
            assert_eq!(left, true, "{what}");
            page.click("#jump").await;
        }
        drop(flood);
    }
}

#[test]
fn every_gesture_leaves_the_end_in_chromium() {
    run(leaves_the_end(Browser::Chromium));
}

#[test]
fn every_gesture_leaves_the_end_in_firefox() {
    run(leaves_the_end(Browser::Firefox));
}

#[test]
fn every_gesture_leaves_the_end_in_webkit() {
    run(leaves_the_end(Browser::WebKit));
}

#[test]
fn only_the_end_the_button_and_a_key_follow_again() {
    run(async {
        for browser in BROWSERS {
            let daemon = Daemon::start(UNLIMITED);
            let page = open(&daemon, browser).await;
            let mut visitor = daemon.connect();
            let left = "!document.getElementById('jump').hidden";
            // What was selected at the end is not selected any more.
            perform(&page, "selection").await;
            page.until(left).await;
            page.act(pointer("mouse", &[move_to(POINT, 0), down(), up()])).await;
            page.until(FOLLOWS).await;
            // Near the end is not at the end.
            page.wheel(POINT, &[-30]).await;
            page.until(left).await;
            nothing_moves(&page, 0, "near the end").await;
            visitor.say("ann", "more");
            page.until("document.getElementById('jump').textContent === 'New messages: 1'").await;
            nothing_moves(&page, 0, "a message below").await;
            page.wheel(POINT, &[500]).await;
            page.until(FOLLOWS).await;
            visitor.say("ann", "even more");
            page.until(
                "[...document.querySelectorAll('.text')].at(-1).textContent === 'even more'",
            )
            .await;
            page.until(FOLLOWS).await;
            page.js("document.getElementById('scroller').focus({ preventScroll: true })").await;
            page.press_key(PAGE_UP).await;
            page.until(left).await;
            nothing_moves(&page, 0, "a page above").await;
            page.press_key(END).await;
            page.until(FOLLOWS).await;
            nothing_moves(&page, 0, "at the end again").await;
            // A list that has nothing to scroll is always at its end.
            page.js("document.getElementById('list').replaceChildren()").await;
            page.wheel(POINT, &[-30]).await;
            page.until(FOLLOWS).await;
        }
    });
}

/// A browser can scroll on its own thread, and scroll to the end once more, as it was told
/// before the gesture.
#[test]
fn a_browser_that_is_late_does_not_undo_a_gesture() {
    run(async {
        let daemon = Daemon::start(UNLIMITED);
        let page = open(&daemon, Browser::Chromium).await;
        let left = "!document.getElementById('jump').hidden";
        // One script, because what is late comes within some frames.
        let turned_and_scrolled = |by: i64| {
            format!(
                "const scroller = document.getElementById('scroller');
                 scroller.dispatchEvent(new WheelEvent('wheel', {{ deltaY: {by} }}));
                 for (const to of [-12, 12]) {{
                     const scrolled = new Promise((done) => scroller.addEventListener('scroll', done, {{ once: true }}));
                     scroller.scrollTop += to;
                     await scrolled;
                 }}"
            )
        };
        page.run(&turned_and_scrolled(-12)).await;
        assert_eq!(page.js(left).await, true);
        // Who has turned back means it.
        page.run(&turned_and_scrolled(12)).await;
        page.until(FOLLOWS).await;
    });
}

#[test]
fn a_text_of_several_lines_does_not_leave_the_end() {
    run(async {
        for browser in BROWSERS {
            let daemon = Daemon::start(UNLIMITED);
            let page = open(&daemon, browser).await;
            page.js("document.getElementById('msg').focus()").await;
            for length in [300, 301, 302] {
                page.fill("msg", &"a".repeat(length)).await;
                page.run("await new Promise((done) => setTimeout(() => requestAnimationFrame(done), 50))").await;
                page.until(FOLLOWS).await;
            }
        }
    });
}

//! Names in the draft: by a click, and by Tab after @.

use thirtyfour::prelude::*;

use crate::driver::{BROWSERS, Page, run};
use crate::harness::{Client, Daemon};
use crate::network::say;

const DRAFT: &str = "document.getElementById('msg').value";

async fn tab(page: &Page) {
    page.driver().action_chain().send_keys(Key::Tab).perform().await.unwrap();
}

/// Opens a room in which these have spoken.
async fn room_of(daemon: &Daemon, names: &[&str], page: &Page) -> Client {
    let mut visitor = daemon.connect();
    for name in names {
        say(&mut visitor, name, "hello");
    }
    page.shows(&vec!["hello"; names.len()]).await;
    visitor
}

#[test]
fn a_click_on_a_name_mentions_it() {
    run(async {
        for browser in BROWSERS {
            let daemon = Daemon::start("");
            let page = Page::open_in(browser, daemon.addr).await;
            let mut visitor = room_of(&daemon, &["bob", "Zoë K."], &page).await;
            page.name("ann").await;
            page.fill("msg", "see").await;
            page.click("#list .run:last-child .who").await;
            assert_eq!(page.js(DRAFT).await, "see @Zoë K. ", "{browser:?}");
            assert_eq!(page.js("document.activeElement.id").await, "msg");
            // At the cursor, instead of what is selected.
            page.js("document.getElementById('msg').setSelectionRange(0, 3)").await;
            page.click("#list .run:first-child .who").await;
            assert_eq!(page.js(DRAFT).await, "@bob  @Zoë K. ", "{browser:?}");
            page.type_into("msg", Key::Enter).await;
            assert_eq!(visitor.hear(), "@bob  @Zoë K. ");
            say(&mut visitor, "bob", "@ann: yes");
            page.until("document.querySelector('.mention')?.textContent.includes('@ann: yes')")
                .await;
        }
    });
}

#[test]
fn tab_completes_a_name_after_an_at_sign_and_nothing_else() {
    run(async {
        for browser in BROWSERS {
            let daemon = Daemon::start("");
            let page = Page::open_in(browser, daemon.addr).await;
            room_of(&daemon, &["Bea", "bob smith", "carl", "ann"], &page).await;
            page.name("ann").await;
            page.type_into("msg", "hi @b").await;
            for draft in ["hi @bob smith ", "hi @Bea "] {
                tab(&page).await;
                assert_eq!(page.js(DRAFT).await, draft, "{browser:?}");
                assert_eq!(page.js("document.activeElement.id").await, "msg");
            }
            let spoken = page.js("document.getElementById('spoken').textContent").await;
            assert_eq!(spoken, "Bea");
            // After the last name, the keyboard is not caught here.
            tab(&page).await;
            assert_eq!(page.js(DRAFT).await, "hi @b", "{browser:?}");
            assert_eq!(page.js("document.activeElement.id").await, "send", "{browser:?}");
            for (draft, left) in [("hi bo", true), ("mail a@b", true), ("@x", true), ("@", false)] {
                page.js("document.getElementById('msg').focus()").await;
                page.fill("msg", draft).await;
                page.js("document.getElementById('msg').setSelectionRange(99, 99)").await;
                tab(&page).await;
                let is_left = page.js("document.activeElement.id === 'send'").await;
                assert_eq!(is_left, left, "{browser:?}, {draft}");
            }
            // The one who spoke last, but not oneself.
            assert_eq!(page.js(DRAFT).await, "@carl ", "{browser:?}");
            // What follows a name ends the completion.
            page.type_into("msg", "!").await;
            tab(&page).await;
            assert_eq!(page.js(DRAFT).await, "@carl !", "{browser:?}");
            assert_eq!(page.js("document.activeElement.id").await, "send", "{browser:?}");
        }
    });
}

//! The page in real browsers, with a real wschat behind it. Needs Chromium and
//! chromedriver, and axe-core at `WSCHAT_AXE`; `tests/run` sees to that. With
//! `WSCHAT_SCREENSHOTS=FOLDER` it leaves pictures of the main states there.

mod access;
mod being_there;
mod civil;
mod driver;
mod files;
#[allow(dead_code, reason = "the tests of the daemon need more of it")]
#[path = "../it/harness.rs"]
mod harness;
mod hostile;
mod network;
mod reading;
mod token;
mod writing;

//! The page in real browsers with a real daemon, and pages of others. The tests need Chromium,
//! chromedriver, Firefox, geckodriver at `WSCHAT_GECKODRIVER`, WebKitWebDriver, Xvfb, and
//! axe-core at `WSCHAT_AXE`; `tests/run` installs them. With `WSCHAT_SCREENSHOTS=FOLDER` they
//! save screenshots of the main states.

mod about;
mod accessibility;
mod connection;
mod driver;
mod embedding;
mod engines;
mod events;
mod files;
mod gestures;
#[allow(dead_code, reason = "the tests of the daemon need more of it")]
#[path = "../it/harness.rs"]
mod harness;
mod hostile;
mod loading;
#[allow(dead_code, reason = "the tests of the daemon need more of it")]
#[path = "../it/manager.rs"]
mod manager;
mod mention;
mod menu;
mod moderation;
mod network;
mod other_origin;
mod place;
mod pressing;
mod reading;
mod token;
mod wall;
mod writing;

//! A page in its own browser: headless Chromium under chromedriver, headless Firefox under
//! geckodriver, or the browser of WebKitGTK under WebKitWebDriver, on a display of Xvfb.

use std::future::Future;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::common::command::Command as DriverCommand;
use thirtyfour::prelude::*;
use thirtyfour::{
    Capabilities, ChromeCapabilities, FirefoxCapabilities, LoggingPrefsLogLevel, TypingData,
};

/// How long a test waits.
const DEADLINE: Duration = Duration::from_secs(30);
/// How often it checks.
const TICK: Duration = Duration::from_millis(15);

/// The window, the language and the settings of a page.
pub struct PageOptions {
    /// In CSS pixels.
    pub width: u32,
    pub height: u32,
    pub phone: bool,
    pub language: &'static str,
    /// Options of the connection, as data attributes of the page's body.
    pub data: &'static str,
}

impl Default for PageOptions {
    fn default() -> Self {
        Self { width: 900, height: 700, phone: false, language: "en", data: "{}" }
    }
}

/// The kind of a browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Browser {
    Chromium,
    Firefox,
    WebKit,
}

/// One of each engine.
pub const BROWSERS: [Browser; 3] = [Browser::Chromium, Browser::Firefox, Browser::WebKit];

/// A browser with one page; both end with the test.
pub struct Page {
    browser: Browser,
    driver: Option<WebDriver>,
    /// The process of the driver, and of a display; the first leads their process group.
    servers: Vec<Child>,
    _profile: TempDir,
}

impl Page {
    /// Opens the page of the server at `address`, and waits until it is connected.
    pub async fn open(address: impl std::fmt::Display) -> Self {
        Self::open_as(address, PageOptions::default()).await
    }

    /// Opens the page with these options.
    pub async fn open_as(address: impl std::fmt::Display, options: PageOptions) -> Self {
        let page = Self::start(&options).await;
        let metrics = json!({
            "width": options.width, "height": options.height, "deviceScaleFactor": 1, "mobile": options.phone,
        });
        page.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        // The document is complete, and its script has not started.
        let source = format!(
            "document.addEventListener('readystatechange', () => Object.assign(document.body.dataset, {}), {{ once: true }})",
            options.data
        );
        page.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": source })).await;
        page.driver().goto(format!("http://{address}/")).await.unwrap();
        page.until("document.body.dataset.state === 'open'").await;
        page
    }

    /// Opens the page in a browser of this kind, and waits until it is connected.
    pub async fn open_in(browser: Browser, address: impl std::fmt::Display) -> Self {
        let page = Self::visit(browser, &format!("http://{address}/")).await;
        page.until("document.body.dataset.state === 'open'").await;
        page
    }

    /// Opens any page in a browser of this kind.
    pub async fn visit(browser: Browser, url: &str) -> Self {
        let page = match browser {
            Browser::Chromium => Self::start(&PageOptions::default()).await,
            Browser::Firefox => Self::start_firefox().await,
            Browser::WebKit => Self::start_webkit().await,
        };
        page.driver().goto(url).await.unwrap();
        page
    }

    async fn start_firefox() -> Self {
        let profile = TempDir::new().unwrap();
        let program = std::env::var("WSCHAT_GECKODRIVER").unwrap_or("geckodriver".to_owned());
        let root = profile.path().display().to_string();
        let words = [&program, "--port=0", "--profile-root", &root];
        let (server, port) = start_server(&words, "Listening on 127.0.0.1:");
        let mut wanted = FirefoxCapabilities::new();
        wanted.add_arg("-headless").unwrap();
        // As with a touch screen and a mouse.
        let preferences = json!({
            "dom.w3c_touch_events.enabled": 1,
            "general.smoothScroll": false,
            "widget.gtk.overlay-scrollbars.enabled": false,
        });
        wanted.set_browser_option("prefs", preferences).unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let driver = WebDriver::new(url, wanted).await.expect("Firefox starts");
        driver.set_script_timeout(DEADLINE).await.unwrap();
        Self::of(Browser::Firefox, driver, vec![server], profile)
    }

    async fn start_webkit() -> Self {
        let profile = TempDir::new().unwrap();
        // Scroll bars that are always there, and scrolling in one step.
        let settings = "[Settings]\ngtk-overlay-scrolling=0\ngtk-enable-animations=0\n";
        let folder = profile.path().join("gtk-3.0");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("settings.ini"), settings).unwrap();
        let words = ["Xvfb", "-displayfd", "1", "-screen", "0", "1000x900x24", "-nolisten", "tcp"];
        let (display, number) = start_server(&words, "");
        let group = i32::try_from(display.id()).unwrap();
        let start = |port: u16| {
            Command::new("WebKitWebDriver")
                .arg(format!("--port={port}"))
                .env("DISPLAY", format!(":{number}"))
                .env("HOME", profile.path())
                .env("XDG_CONFIG_HOME", profile.path())
                .env("LANG", "C.UTF-8")
                .process_group(group)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("WebKitWebDriver starts; on Debian it is in webkit2gtk-driver")
        };
        // It does not say which port it has chosen.
        let (server, port) = loop {
            let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut server = start(free);
            let start = Instant::now();
            while TcpStream::connect(("127.0.0.1", free)).is_err() && start.elapsed() < DEADLINE {
                tokio::time::sleep(TICK).await;
            }
            if server.try_wait().unwrap().is_none() {
                break (server, free);
            }
        };
        let url = format!("http://127.0.0.1:{port}");
        let driver = WebDriver::new(url, Capabilities::new()).await.expect("WebKitGTK starts");
        driver.set_script_timeout(DEADLINE).await.unwrap();
        driver.set_window_rect(0, 0, 900, 800).await.unwrap();
        Self::of(Browser::WebKit, driver, vec![display, server], profile)
    }

    async fn start(options: &PageOptions) -> Self {
        let words = ["chromedriver", "--port=0"];
        let (server, port) = start_server(&words, "started successfully on port ");
        let profile = TempDir::new().unwrap();
        let mut wanted = ChromeCapabilities::new();
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--force-prefers-reduced-motion",
            &format!("--accept-lang={}", options.language),
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        for argument in arguments {
            wanted.add_arg(argument).unwrap();
        }
        wanted.set_browser_log_level(LoggingPrefsLogLevel::All).unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let driver = WebDriver::new(url, wanted).await.expect("Chromium starts");
        driver.set_script_timeout(DEADLINE).await.unwrap();
        Self::of(Browser::Chromium, driver, vec![server], profile)
    }

    fn of(browser: Browser, driver: WebDriver, servers: Vec<Child>, profile: TempDir) -> Self {
        Self { browser, driver: Some(driver), servers, _profile: profile }
    }

    pub fn driver(&self) -> &WebDriver {
        self.driver.as_ref().unwrap()
    }

    /// The value of a JavaScript expression.
    pub async fn js(&self, expression: &str) -> Value {
        self.js_with(expression, json!(null)).await
    }

    /// The value of a JavaScript expression about `$`.
    pub async fn js_with(&self, expression: &str, value: Value) -> Value {
        let script = format!("const $ = arguments[0]; return ({expression});");
        match self.driver().execute(script, vec![value]).await {
            Ok(result) => result.json().clone(),
            Err(error) => panic!("{expression}: {error}"),
        }
    }

    /// Runs the body of an asynchronous function.
    pub async fn run(&self, body: &str) -> Value {
        let script = format!(
            "const done = arguments[0];
             (async () => {{ {body} }})().then(done, (error) => done(`failed: ${{error.stack}}`));"
        );
        let value = self.driver().execute_async(script, vec![]).await.unwrap().json().clone();
        if let Some(text) = value.as_str().filter(|text| text.starts_with("failed: ")) {
            panic!("{text}");
        }
        value
    }

    /// Waits until a JavaScript expression is true.
    pub async fn until(&self, expression: &str) {
        self.until_with(expression, json!(null)).await;
    }

    /// Waits until a JavaScript expression about `$` is true.
    pub async fn until_with(&self, expression: &str, value: Value) {
        let start = Instant::now();
        while self.js_with(&format!("Boolean({expression})"), value.clone()).await != true {
            if start.elapsed() > DEADLINE {
                let shown = self.js("document.body.innerText").await;
                panic!("never: {expression} ({value})\non the page:\n{}", shown.as_str().unwrap());
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// Types into the element with this id.
    pub async fn type_into(&self, id: &str, keys: impl Into<TypingData>) {
        self.element(id).await.send_keys(keys).await.unwrap();
    }

    /// Sets the name in the page.
    pub async fn name(&self, name: &str) {
        self.fill("usr", name).await;
    }

    /// Pastes text into a field, because the driver cannot type all of Unicode.
    pub async fn fill(&self, id: &str, text: &str) {
        let script = "((field) => {
            field.value = $.text;
            field.dispatchEvent(new Event('input', { bubbles: true }));
            field.dispatchEvent(new Event('change', { bubbles: true }));
        })(document.getElementById($.id))";
        self.js_with(script, json!({ "id": id, "text": text })).await;
    }

    /// Types a message and presses Enter.
    pub async fn say(&self, msg: &str) {
        self.fill("msg", msg).await;
        self.type_into("msg", Key::Enter).await;
    }

    /// Clicks on the element of a selector.
    pub async fn click(&self, selector: &str) {
        let found = self.driver().find(By::Css(selector.to_owned())).await;
        found.unwrap().click().await.unwrap();
    }

    /// Waits until the messages in the list are these.
    pub async fn shows(&self, messages: &[&str]) {
        let listed = "JSON.stringify([...document.querySelectorAll('#list .text')]
            .map((text) => text.textContent)) === JSON.stringify($)";
        self.until_with(listed, json!(messages)).await;
    }

    /// Loads the page again.
    pub async fn reload(&self) {
        self.driver().refresh().await.unwrap();
        self.until("document.body.dataset.state === 'open'").await;
    }

    /// Emulates a media feature, such as `prefers-color-scheme: dark`.
    pub async fn media(&self, features: &[(&str, &str)]) {
        let features: Vec<_> =
            features.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Sends a command of the DevTools protocol.
    pub async fn devtools(&self, method: &str, parameters: Value) -> Value {
        self.driver().cdp().send_raw(method, parameters).await.unwrap()
    }

    /// Checks that the console is empty, except for lines with one of these words:
    /// Chromium's own about a server that cannot be reached.
    pub async fn check_console(&self, expected: &[&str]) {
        for entry in self.driver().browser_log().await.unwrap() {
            let known = expected.iter().any(|word| entry.message.contains(word));
            assert!(known, "on the console: {}", entry.message);
        }
    }

    /// Performs actions of WebDriver: what a mouse, a wheel, a finger or a keyboard does.
    pub async fn act(&self, source: Value) {
        let actions = DriverCommand::PerformActions(json!([source]).into());
        self.driver().handle().cmd(actions).await.unwrap();
    }

    /// Turns the wheel at a point in steps, each of so many pixels.
    pub async fn wheel(&self, (x, y): (i64, i64), steps: &[i64]) {
        let mut sum = 0;
        let steps: Vec<Value> = steps
            .iter()
            .map(|by| {
                // WebKitWebDriver turns it by the difference to the step before.
                sum = if self.browser == Browser::WebKit { sum + by } else { *by };
                json!({ "type": "scroll", "origin": "viewport", "x": x, "y": y, "deltaX": 0, "deltaY": sum })
            })
            .collect();
        self.act(json!({ "type": "wheel", "id": "wheel", "actions": steps })).await;
        if self.browser == Browser::WebKit {
            self.driver().handle().cmd(DriverCommand::ReleaseActions).await.unwrap();
        }
    }

    /// Presses and releases a key, as WebDriver names it.
    pub async fn press_key(&self, key: &str) {
        let actions =
            json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        self.act(json!({ "type": "key", "id": "keys", "actions": actions })).await;
    }

    /// Saves a screenshot, if the environment names a folder for them.
    pub async fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("WSCHAT_SCREENSHOTS") else { return };
        std::fs::create_dir_all(&folder).unwrap();
        self.driver().screenshot(&Path::new(&folder).join(name)).await.unwrap();
    }

    async fn element(&self, id: &str) -> WebElement {
        self.driver().find(By::Id(id.to_owned())).await.unwrap()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // The driver and its browser are one process group; a regular end takes longer.
        if let Some(driver) = self.driver.take() {
            let _ = driver.leak();
        }
        let _ = kill_process_group(Pid::from_child(&self.servers[0]), Signal::KILL);
        for server in &mut self.servers {
            let _ = server.wait();
        }
    }
}

/// Starts a driver or a display, and returns the number that it prints behind the words
/// `before_port`: its port.
/// Chromedriver chooses a free port of IPv4, and fails if the same port of IPv6 is in use;
/// then it is started again.
fn start_server(words: &[&str], before_port: &str) -> (Child, u16) {
    let start = Instant::now();
    loop {
        if let Some(found) = try_server(words, before_port) {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "{words:?} finds no port");
        thread::sleep(TICK);
    }
}

fn try_server(words: &[&str], before_port: &str) -> Option<(Child, u16)> {
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "{} does not start ({error}): the tests of the page need browsers. \
                 Install Chromium (on Debian: apt-get install chromium chromium-driver), or let \
                 tests/run install Chromium and Firefox",
                words[0]
            )
        });
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let rest = line.split_once(before_port)?.1;
        rest.trim_end_matches('.').parse().ok()
    });
    let Some(port) = port else {
        child.wait().unwrap();
        return None;
    };
    // Keep reading, so that its writes never block.
    thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    Some((child, port))
}

/// Runs the future of one test on this thread.
pub fn run<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

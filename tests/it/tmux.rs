//! A terminal inside the test: one tmux server for each.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long to wait for a screen.
const DEADLINE: Duration = Duration::from_secs(30);
/// How often to look at it.
const LOOK: Duration = Duration::from_millis(20);

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The shell writes the exit code, because tmux sometimes loses it.
const SHELL: [&str; 4] = ["sh", "-c", "\"$@\"; echo \"ended: $?\"; exec sleep 1000", "sh"];

/// A terminal with one program. The screen stays when the program ends.
pub struct Tmux {
    folder: TempDir,
    name: String,
}

impl Tmux {
    /// Runs a program on a terminal of this size.
    pub fn start(columns: u16, rows: u16, environment: &[(&str, &str)], program: &[&str]) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = TempDir::new().unwrap();
        let tmux = Self { folder, name: format!("wschat-{}-{number}", std::process::id()) };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let mut command = tmux.command();
        command.args(["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &rows]);
        for (name, value) in environment {
            command.args(["-e", &format!("{name}={value}")]);
        }
        command.arg("--").args(SHELL).args(program).args([";", "set", "-g", "status", "off"]);
        let output = command.output().expect("tmux is installed (apt-get install tmux)");
        assert!(output.status.success(), "{output:?}");
        // One row more, because tmux has no status line.
        tmux.resize(columns.parse().unwrap(), rows.parse().unwrap());
        tmux
    }

    /// Types keys by their names in tmux, or text.
    pub fn keys(&self, keys: &[&str]) {
        self.run(&[&["send-keys"], keys].concat());
    }

    /// Types this text.
    pub fn text(&self, text: &str) {
        self.run(&["send-keys", "-l", text]);
    }

    /// Pastes text, marked as a paste if the program asked for that.
    pub fn paste(&self, text: &str) {
        self.run(&["set-buffer", text]);
        self.run(&["paste-buffer", "-p"]);
    }

    /// Changes the terminal's size, and waits until the program can see it: tmux draws at
    /// once, but informs programs later.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.run(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
        let terminal = self.ask("#{pane_tty}");
        let deadline = Instant::now() + DEADLINE;
        loop {
            let output = Command::new("stty").args(["-F", &terminal, "size"]).output().unwrap();
            let size = String::from_utf8(output.stdout).unwrap();
            if size.trim_end() == format!("{rows} {columns}") {
                return;
            }
            assert!(Instant::now() < deadline, "{size} instead of {columns} × {rows}");
            sleep(LOOK);
        }
    }

    /// The rows of the screen, without trailing blanks and without empty rows at the end.
    pub fn screen(&self) -> Vec<String> {
        self.capture(&[])
    }

    /// The rows with the escape sequences for colours.
    pub fn coloured(&self) -> Vec<String> {
        self.capture(&["-e"])
    }

    /// Waits until `good` accepts the screen.
    pub fn wait_for(&self, what: &str, good: impl Fn(&[String]) -> bool) -> Vec<String> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let screen = self.screen();
            if good(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "{what}; the screen:\n{}", screen.join("\n"));
            sleep(LOOK);
        }
    }

    /// Waits for exactly these rows.
    pub fn wait_for_rows(&self, rows: &[&str]) {
        self.wait_for(&format!("not these rows:\n{}", rows.join("\n")), |screen| screen == rows);
    }

    /// The column and row of the cursor, from 0.
    pub fn cursor(&self) -> (u16, u16) {
        let text = self.ask("#{cursor_x} #{cursor_y}");
        let (x, y) = text.split_once(' ').unwrap();
        (x.parse().unwrap(), y.parse().unwrap())
    }

    /// Waits for the end of the program, and returns its exit code.
    pub fn wait_for_end(&self) -> i32 {
        let code = |row: &String| row.strip_prefix("ended: ").map(|code| code.parse().unwrap());
        let screen =
            self.wait_for("the end", |screen| screen.iter().any(|row| code(row).is_some()));
        screen.iter().find_map(code).unwrap()
    }

    fn capture(&self, options: &[&str]) -> Vec<String> {
        let text = self.run(&[&["capture-pane", "-p"], options].concat());
        text.trim_end().lines().map(|row| row.trim_end().to_owned()).collect()
    }

    fn ask(&self, format: &str) -> String {
        self.run(&["display-message", "-p", format]).trim_end().to_owned()
    }

    fn run(&self, args: &[&str]) -> String {
        let output: Output = self.command().args(args).output().unwrap();
        assert!(output.status.success(), "{args:?} {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        // UTF-8 whatever the machine's locale; no other tmux has to do with this one.
        command.args(["-u", "-L", &self.name]);
        command.env("TMUX_TMPDIR", self.folder.path()).env_remove("TMUX").env("LC_ALL", "C.UTF-8");
        command
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = self.command().arg("kill-server").output();
    }
}

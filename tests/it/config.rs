//! Output and exit codes of `wschat check` and `wschat config`.

use std::fs;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::harness::{Client, Setup, until};

/// Runs the program in a folder with `wschat.toml` and without any variable.
struct Run {
    folder: TempDir,
    command: Command,
}

impl Run {
    fn new(toml: &str, args: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("wschat.toml");
        fs::write(&file, toml).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wschat"));
        command.env_clear().current_dir(folder.path()).stdin(Stdio::null()).args(args);
        Self { folder, command }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Checks exit code, standard output and standard error.
    #[track_caller]
    fn check(mut self, code: i32, stdout: &str, stderr: &str) {
        let output = self.command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let got = (output.status.code(), text(&output.stdout), text(&output.stderr));
        assert_eq!(got, (Some(code), stdout.to_owned(), stderr.to_owned()));
        drop(self.folder);
    }
}

const CHECK: &[&str] = &["check", "--config", "wschat.toml"];
const CONFIG: &[&str] = &["config", "--config", "wschat.toml"];

/// Every number that a limit allows is enough for itself, and one more is not.
#[test]
fn the_capacity_of_this_system() {
    let check = |listeners: u64| {
        let listeners = listeners.to_string();
        let args = ["check", "--config", "wschat.toml", "--capacity", &listeners];
        let output = Run::new("limits.connections_max = 100\n", &args).command.output().unwrap();
        let table = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<_> = table.lines().map(str::to_owned).collect();
        (output.status.code(), lines)
    };
    let (code, lines) = check(100);
    assert_eq!(code, Some(0), "{lines:?}");
    assert!(lines[0].ends_with("FOR 100"), "{lines:?}");
    assert!(lines[1..].iter().all(|line| line.ends_with("  ok")), "{lines:?}");
    for name in ["limits.connections_max", "ulimit -Hn", "fs.nr_open", "memory, MiB"] {
        assert!(lines.iter().any(|line| line.starts_with(name)), "{name}: {lines:?}");
    }
    let (code, lines) = check(101);
    assert_eq!(code, Some(78), "{lines:?}");
    assert!(lines[1].ends_with("too low: set it to 101"), "{lines:?}");
    let output = Run::new("", &["check", "--capacity", "0"]).command.output().unwrap();
    assert_eq!(output.status.code(), Some(64));
}

/// A user who chooses the working directory must not choose the secret.
#[test]
fn credentials_are_read_from_absolute_folders_only() {
    for folder in ["", "."] {
        let call = Run::new("", CONFIG);
        fs::write(call.folder.path().join("wschat.jwt_secret"), "s".repeat(32)).unwrap();
        let output = call.env("CREDENTIALS_DIRECTORY", folder).command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.starts_with("auth.jwt_secret = none  # default\n"), "{folder:?}: {text}");
    }
}

#[test]
fn check_prints_nothing_for_a_valid_file() {
    Run::new("", CHECK).check(0, "", "");
    Run::new(include_str!("../../etc/wschat.toml"), CHECK).check(0, "", "");
    Run::new(include_str!("../../etc/wschat.toml.reference"), CHECK).check(0, "", "");
}

#[test]
fn check_prints_all_problems() {
    let toml = "[auth]\nleeway_secs = 900\njwt_secrt = 'hunter2'\n";
    let problems = "wschat.toml:2:15: auth.leeway_secs: 900 is out of range, 0 to 300\n\
        wschat.toml:3:1: auth.jwt_secrt: unknown key; did you mean auth.jwt_secret?\n";
    Run::new(toml, CHECK).check(78, "", problems);
    Run::new(toml, CONFIG).check(78, "", problems);
}

#[test]
fn check_warns() {
    let warning = "wschat.toml:1:19: auth.jwt_secret: warning: \
        the secret is shorter than 32 bytes and may be guessed\n";
    Run::new("auth.jwt_secret = 'hunter2'", CHECK).check(0, "", warning);
}

#[test]
fn a_missing_file_is_an_error_if_it_was_named() {
    let missing = "wschat: other.toml: No such file or directory (os error 2)\n";
    Run::new("", &["check", "--config", "other.toml"]).check(66, "", missing);
    Run::new("", &["config", "--config", "other.toml"]).check(66, "", missing);
}

#[test]
fn config_prints_each_value_with_its_source() {
    let toml = "[auth]\njwt_secret = 'hunter2'\n\n[limits]\nconnections_max = 5\n";
    let lines = r#"auth.jwt_secret = set  # wschat.toml:2
auth.jwt_secret_file = none  # default
auth.algorithms = ["HS256"]  # default
auth.keys = []  # default
auth.required = none  # default
auth.issuer = none  # default
auth.audience = none  # default
auth.check_exp = false  # default
auth.leeway_secs = 30  # default
auth.bind_usr = none  # default
auth.moderator_claim = none  # default
auth.revoked = []  # default
auth.revoked_file = none  # default
listen.addresses = ["127.0.0.1:8080"]  # default
listen.trusted_proxies = []  # default
listen.origins = []  # default
limits.connections_max = 5  # wschat.toml:5
limits.connections_per_address_max = 0  # default
limits.connects_per_address_per_sec = 0  # default
limits.message_bytes_max = 16384  # default
limits.handshake_timeout_secs = 10  # default
limits.ping_interval_secs = 25  # default
limits.idle_timeout_secs = 60  # default
limits.feed_tail_bytes = 4194304  # default
limits.resume_secs = 300  # default
limits.send_buffer_bytes = 65536  # default
limits.messages_per_sec = 20  # default
limits.messages_burst = 60  # default
limits.slow_mode_secs = 0  # default
limits.repeat_secs = 0  # default
room.presence = true  # default
room.title = none  # default
room.notice = none  # default
page.enabled = true  # default
record.dir = none  # default
record.keep_days = 0  # default
log.level = "info"  # default
metrics.address = none  # default
cluster.servers = []  # default
cluster.stream = "wschat"  # default
cluster.credentials_file = none  # default
cluster.tls_ca_file = none  # default
cluster.node = none  # default
server.threads = 0  # default
server.shutdown_timeout_secs = 10  # default
"#;
    Run::new(toml, CONFIG).env("JWT_SECRET", "unused").check(0, lines, "");
}

#[test]
fn the_secret_may_come_from_the_environment() {
    let first = |call: Run| {
        let mut call = call;
        let output = call.command.output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().next().map(str::to_owned)
    };
    let call = || Run::new("", CONFIG).env("JWT_SECRET", "hunter2");
    let variable = "auth.jwt_secret = set  # environment variable JWT_SECRET";
    assert_eq!(first(call()).as_deref(), Some(variable));

    let credentials = TempDir::new().unwrap();
    fs::write(credentials.path().join("wschat.jwt_secret"), "hunter3\n").unwrap();
    let call = call().env("CREDENTIALS_DIRECTORY", credentials.path().to_str().unwrap());
    let credential = "auth.jwt_secret = set  # credential wschat.jwt_secret";
    assert_eq!(first(call).as_deref(), Some(credential));

    let empty = "wschat: environment variable JWT_SECRET: the secret is empty\n";
    Run::new("", CHECK).env("JWT_SECRET", "").check(78, "", empty);
}

#[test]
fn wrong_usage_exits_64() {
    for args in [&["check", "--nonsense"][..], &["nonsense"], &["--threads", "1025"]] {
        let output = Run::new("", args).command.output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn the_daemon_listens_on_ipv4_and_ipv6_of_one_port() {
    for order in [["0.0.0.0", "[::]"], ["[::]", "127.0.0.1"]] {
        // Another process may take the port after the search for a free one.
        let daemon = until("a port that is free for both", || {
            let port = TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port();
            let [one, two] = order.map(|ip| format!("{ip}:{port}"));
            let config = format!("listen.addresses = ['{one}', '{two}']\n");
            let mut daemon = Setup::new(&config).without_listen().spawn();
            let listens = until("its start", || {
                let listens = daemon.log().contains(&format!("listening on {one}, {two}"));
                (listens || daemon.has_ended()).then_some(listens)
            });
            if !listens {
                let (code, log) = daemon.ends_with();
                assert_eq!(code, Some(69), "{log}");
                return None;
            }
            Some((daemon, port))
        });
        for ip in ["127.0.0.1", "::1"] {
            let to = (ip.parse::<IpAddr>().unwrap(), daemon.1);
            let mut client = Client::open(TcpStream::connect(to).unwrap(), "ws://h/");
            client.say("ann", ip);
            assert_eq!(client.hear(), ip);
        }
    }
}

//! Ways to lose the key. None of them opens the room.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Daemon, Setup, until};

const SECRET: &str = "a secret that is longer than 32 bytes";

/// Everything that a service keeps from one start to the next.
struct Service {
    folder: TempDir,
    config: String,
    variables: Vec<(&'static str, String)>,
}

impl Service {
    fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let service = Self { folder, config: config.to_owned(), variables: Vec::new() };
        for name in ["state", "credentials"] {
            fs::create_dir(service.path(name)).unwrap();
        }
        service.write("secret", SECRET);
        service
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn setup(&self) -> Setup {
        let path = |name| self.path(name).display().to_string();
        let config = self.config.replace("FOLDER", &self.folder.path().display().to_string());
        let setup = Setup::new(&config)
            .env("STATE_DIRECTORY", &path("state"))
            .env("CREDENTIALS_DIRECTORY", &path("credentials"));
        self.variables.iter().fold(setup, |setup, (name, value)| setup.env(name, value))
    }

    /// Runs it once with a key, by which a message is sent.
    fn run_with_key(&self) {
        let mut daemon = self.setup().start();
        let mut client = daemon.connect();
        client.send(&with_token("with a token"));
        assert_eq!(client.json()["msg"], "with a token");
        daemon.signal(Signal::TERM);
        daemon.wait();
    }
}

fn with_token(msg: &str) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &json!({}), &key).unwrap();
    json!({ "usr": "ann", "msg": msg, "jwt": token }).to_string()
}

/// Checks that nobody can send messages, and that the operator is told.
fn check_closed(daemon: &Daemon, way: &str) {
    let mut client = daemon.connect();
    client.say("ann", "without a token");
    assert_eq!(client.json()["err"], "jwt-missing", "{way}");
    client.send(&with_token("with a token of before"));
    assert_eq!(client.json()["err"], "jwt-invalid", "{way}");
    daemon.wait_for_log("ERROR no usable key: nobody can send messages");
    let out = daemon.command(&["status"]).output().unwrap();
    let status = String::from_utf8(out.stdout).unwrap();
    assert!(status.contains("nobody can send messages: "), "{way}: {status}");
    assert!(status.contains("\nsenders      nobody"), "{way}: {status}");
}

const FILE: &str = "auth.jwt_secret_file = 'FOLDER/secret'\n";
const KEYS: &str = "auth.keys = [{ alg = 'HS256', secret_file = 'FOLDER/secret' }]\n";

#[test]
fn a_lost_key_closes_the_room() {
    type Loss = fn(&mut Service);
    let ways: [(&str, &str, Loss); 10] = [
        ("the key is removed from the file", FILE, |it| it.config.clear()),
        ("the secret is removed from the file", "auth.jwt_secret = 'SECRET'\n", |it| {
            it.config.clear();
        }),
        ("the secret's file is removed", FILE, |it| fs::remove_file(it.path("secret")).unwrap()),
        ("the secret's file is empty", FILE, |it| it.write("secret", "\n")),
        ("the secret's file is a directory", FILE, |it| {
            fs::remove_file(it.path("secret")).unwrap();
            fs::create_dir(it.path("secret")).unwrap();
        }),
        ("the file of a key is removed", KEYS, |it| fs::remove_file(it.path("secret")).unwrap()),
        ("the list of keys is empty", KEYS, |it| it.config = "auth.keys = []\n".to_owned()),
        ("the credential is gone", "", |it| {
            fs::remove_file(it.path("credentials/wschat.jwt_secret")).unwrap();
        }),
        ("the credential is empty", "", |it| it.write("credentials/wschat.jwt_secret", "")),
        ("the variable is gone", "", |it| it.variables.clear()),
    ];
    for (way, config, lose) in ways {
        let mut service = Service::new(&config.replace("SECRET", SECRET));
        if way.contains("credential") {
            service.write("credentials/wschat.jwt_secret", SECRET);
        } else if way.contains("variable") {
            service.variables.push(("JWT_SECRET", SECRET.to_owned()));
        }
        service.run_with_key();
        lose(&mut service);
        check_closed(&service.setup().start(), way);
        // It is not forgotten by a start without a key.
        check_closed(&service.setup().start(), way);
        if service.config.is_empty() && !way.contains("empty") {
            service.config = "auth.required = false\n".to_owned();
            let daemon = service.setup().start();
            let mut client = daemon.connect();
            client.say("ann", "the operator has opened the room");
            assert!(client.json()["err"].is_null(), "{way}");
        }
    }
}

#[test]
fn a_reload_that_loses_the_key_is_rejected() {
    let service = Service::new(FILE);
    let daemon = service.setup().start();
    for config in ["", "auth.jwt_secret_file = '/nonexistent'\n", "auth.required = true\n"] {
        daemon.configure(config);
        let out = daemon.command(&["reload"]).output().unwrap();
        assert_eq!(out.status.code(), Some(78), "{config}: {out:?}");
        let mut client = daemon.connect();
        client.say("ann", "without a token");
        assert_eq!(client.json()["err"], "jwt-missing", "{config}");
        client.send(&with_token("the old key is in force"));
        assert_eq!(client.json()["msg"], "the old key is in force", "{config}");
    }
    daemon.reload("auth.required = false\n");
    let mut client = daemon.connect();
    client.say("ann", "the operator has opened the room");
    assert!(client.json()["err"].is_null());
}

#[test]
fn a_state_directory_that_is_deleted_does_not_open_the_room() {
    let service = Service::new(FILE);
    let mut daemon = service.setup().start();
    fs::remove_dir_all(service.path("state")).unwrap();
    daemon.configure("");
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("there is no secret and no key any more");
    let mut client = daemon.connect();
    client.say("ann", "without a token");
    assert_eq!(client.json()["err"], "jwt-missing");
    // What was only in the directory is written again at the stop.
    fs::create_dir(service.path("state")).unwrap();
    assert!(daemon.command(&["lock"]).status().unwrap().success());
    let file = service.path("state/moderation.json");
    until("the file", || file.exists().then_some(()));
    for name in ["moderation.json", "speaking-restricted"] {
        let _ = fs::remove_file(service.path("state").join(name));
    }
    daemon.signal(Signal::TERM);
    daemon.wait();
    assert!(service.path("state/speaking-restricted").exists());
    assert!(fs::read_to_string(file).unwrap().contains("\"locked\": true"));
}

#[test]
fn a_rejected_reload_restricts_nothing() {
    let service = Service::new("");
    let daemon = service.setup().start();
    daemon.configure(&format!("auth.jwt_secret = '{SECRET}'\n"));
    let request = b"{\"do\":\"reload\",\"problems\":[\"wschat: the unit: is wrong\"]}\n";
    let mut control = UnixStream::connect(daemon.control()).unwrap();
    control.write_all(request).unwrap();
    let mut reply = String::new();
    BufReader::new(control).read_line(&mut reply).unwrap();
    assert!(reply.contains("config-rejected"), "{reply}");
    assert!(!service.path("state/speaking-restricted").exists());
    daemon.reload("");
}

#[test]
fn a_key_that_comes_back_is_used_after_a_reload() {
    let service = Service::new(FILE);
    service.run_with_key();
    fs::remove_file(service.path("secret")).unwrap();
    let daemon = service.setup().start();
    check_closed(&daemon, "the file is gone");
    service.write("secret", SECRET);
    daemon.reload(&fs::read_to_string(daemon.config_file()).unwrap());
    let mut client = daemon.connect();
    client.send(&with_token("the key is there"));
    assert_eq!(client.json()["msg"], "the key is there");
    let out = daemon.command(&["status"]).output().unwrap();
    assert!(!String::from_utf8(out.stdout).unwrap().contains("nobody can send messages"));
}

#[test]
fn check_finds_a_lost_key() {
    let service = Service::new(FILE);
    service.run_with_key();
    let file = service.path("wschat.toml");
    for (config, code) in [("", 78), ("auth.required = true\n", 78), ("auth.required = false\n", 0)]
    {
        fs::write(&file, config).unwrap();
        let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_wschat"));
        check.env_clear().env("STATE_DIRECTORY", service.path("state"));
        let out = check.args(["check", "--config"]).arg(&file).output().unwrap();
        assert_eq!(out.status.code(), Some(code), "{config}: {out:?}");
    }
}

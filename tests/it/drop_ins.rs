//! Drop-ins beside the configuration file: what commands print of them, and reloads.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{Daemon, until};

const SECRET: &str = "a secret that is longer than 32 bytes";

/// Writes a drop-in of the configuration `file`, in the way that the manual recommends.
fn write(file: &Path, name: &str, text: &str) -> PathBuf {
    let folder = file.with_extension("d");
    let (new, path) = (folder.join("new"), folder.join(name));
    fs::create_dir_all(&folder).unwrap();
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o640)).unwrap();
    fs::rename(new, &path).unwrap();
    path
}

/// Runs `wschat` with `command` in the folder of the file; its exit code and what it prints.
fn run(folder: &Path, command: &str) -> (Option<i32>, String, String) {
    let mut wschat = Command::new(env!("CARGO_BIN_EXE_wschat"));
    wschat.env_clear().current_dir(folder).args([command, "--config", "wschat.toml"]);
    let output = wschat.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn commands_name_the_files() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("wschat.toml");
    fs::write(&file, "limits.messages_burst = 5\n").unwrap();
    write(&file, "20.toml", "limits.messages_burst = 7\n");
    write(&file, "10.toml", "limits.messages_burst = 6\n");
    write(&file, "30.toml.bak", "limits.messages_burst = 8\n");
    let read = "read wschat.toml\nread wschat.d/10.toml\nread wschat.d/20.toml\n";
    assert_eq!(run(folder.path(), "check"), (Some(0), read.to_owned(), String::new()));
    let (_, values, _) = run(folder.path(), "config");
    assert!(values.contains("\nlimits.messages_burst = 7  # wschat.d/20.toml:1\n"), "{values}");

    write(&file, "10.toml", "[auth]\nleeway_secs = 900\n");
    let problem = "wschat.d/10.toml:2:15: auth.leeway_secs: 900 is out of range, 0 to 300\n";
    for command in ["check", "config", "serve"] {
        let (code, out, err) = run(folder.path(), command);
        assert_eq!((code, out.as_str()), (Some(78), ""), "{command}");
        assert!(err.ends_with(problem), "{command}: {err}");
    }
    symlink("nothing", folder.path().join("wschat.d/10b.toml")).unwrap();
    let gone = "wschat: wschat.d/10b.toml: No such file or directory (os error 2)\n";
    let (code, _, err) = run(folder.path(), "check");
    assert_eq!((code, err.as_str()), (Some(66), gone));
}

#[test]
fn a_reload_reads_drop_ins() {
    let daemon = Daemon::start("auth.jwt_secret_file = 'none'\nauth.required = true\n");
    let file = daemon.config_file();
    let rejected = || daemon.log().matches("configuration rejected").count();
    let reload_fails = |why: &str| {
        let before = rejected();
        daemon.signal(Signal::HUP);
        until("the rejection", || (rejected() > before).then_some(()));
        daemon.wait_for_log(why);
    };
    let mut client = daemon.connect();
    client.say("ann", "nobody may");
    assert_eq!(client.json()["err"], "jwt-missing");

    write(&file, "secret", SECRET);
    let key = write(&file, "key.toml", "auth.jwt_secret_file = 'secret'\n");
    daemon.reload("auth.jwt_secret_file = 'none'\nauth.required = true\n");
    let token = jsonwebtoken::encode(
        &jsonwebtoken::Header::default(),
        &serde_json::json!({ "sub": "ann" }),
        &jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes()),
    );
    let with_token = serde_json::json!({ "usr": "ann", "msg": "hello", "jwt": token.unwrap() });
    client.send(&with_token.to_string());
    assert_eq!(client.json()["msg"], "hello");

    // What cannot be read keeps the configuration, and with it the key.
    fs::rename(&key, file.with_file_name("kept")).unwrap();
    mknodat(CWD, &key, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    reload_fails("key.toml: not a regular file");
    fs::remove_file(&key).unwrap();
    reload_fails("auth.jwt_secret_file: the file cannot be read");
    let folder = file.with_extension("d");
    fs::rename(&folder, file.with_file_name("away")).unwrap();
    fs::write(&folder, "").unwrap();
    reload_fails("wschat.d: Not a directory");
    client.send(&with_token.to_string());
    assert_eq!(client.json()["msg"], "hello");
}

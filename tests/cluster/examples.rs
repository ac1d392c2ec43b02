//! The examples for a cluster in `packaging/examples/`, checked by the programs that read them.

use std::fs;
use std::path::Path;
use std::process::Command;

use rcgen::CertifiedKey;
use tempfile::TempDir;

use crate::servers::program;

const NATS: &str = include_str!("../../packaging/examples/nats-server.conf");
const NGINX: &str = include_str!("../../packaging/examples/nginx-cluster.conf");
const HAPROXY: &str = include_str!("../../packaging/examples/haproxy-cluster.cfg");
const DROP_IN: &str = include_str!("../../packaging/examples/wschat-cluster.conf");
const UNIT: &str = include_str!("../../packaging/systemd/wschat.service");
const MANUAL: &str = include_str!("../../man/wschat.toml.5");
const DOCS: &str = include_str!("../../docs/cluster.md");

/// A folder with a certificate `pem`, its key `key`, and both together in `both`.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let names = vec!["chat.example.org".to_owned()];
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).unwrap();
    let (pem, key) = (cert.pem(), signing_key.serialize_pem());
    fs::write(folder.path().join("both"), format!("{pem}{key}")).unwrap();
    fs::write(folder.path().join("pem"), pem).unwrap();
    fs::write(folder.path().join("key"), key).unwrap();
    folder
}

/// Writes `example` into the folder, with the paths of the folder.
fn write(folder: &Path, example: &str, paths: &[(&str, &str)]) -> String {
    let mut text = example.to_owned();
    for (old, new) in paths {
        assert!(text.contains(old), "{old}");
        text = text.replace(old, &folder.join(new).display().to_string());
    }
    let file = folder.join("example");
    fs::write(&file, text).unwrap();
    file.display().to_string()
}

fn check(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn nats() {
    let folder = folder();
    let paths = [
        ("/etc/nats/nats1.pem", "pem"),
        ("/etc/nats/nats1.key", "key"),
        ("/etc/nats/ca.pem", "pem"),
        ("/var/lib/nats", "js"),
    ];
    check(program(), &["-t", "-c", &write(folder.path(), NATS, &paths)]);
}

#[test]
fn the_permissions_are_those_of_the_manual() {
    let words = |text: &str| -> Vec<String> {
        let words = text.split('"').skip(1).step_by(2);
        words.map(str::to_owned).collect()
    };
    let lists = |text: &str| -> Vec<Vec<String>> {
        let lists = text.split("publish: [").skip(1).chain(text.split("subscribe: [").skip(1));
        lists.map(|list| words(list.split(']').next().unwrap())).collect()
    };
    assert_eq!(lists(NATS), lists(MANUAL));
    assert_eq!(lists(NATS).len(), 4);
}

#[test]
fn nginx() {
    let folder = folder();
    let paths =
        [("/etc/ssl/chat.example.org.pem", "pem"), ("/etc/ssl/chat.example.org.key", "key")];
    let site = write(folder.path(), NGINX, &paths);
    let file = folder.path().join("nginx.conf");
    let path = folder.path().display();
    let config = format!("pid {path}/pid;\nevents {{}}\nhttp {{\n    include {site};\n}}\n");
    fs::write(&file, config).unwrap();
    check("/usr/sbin/nginx", &["-t", "-e", "stderr", "-c", file.to_str().unwrap()]);
}

#[test]
fn haproxy() {
    let folder = folder();
    let paths = [("/etc/ssl/chat.example.org.pem", "both")];
    check("/usr/sbin/haproxy", &["-c", "-f", &write(folder.path(), HAPROXY, &paths)]);
}

/// The figures of systemd 252 are in docs/cluster.md; other versions may count differently.
#[test]
fn the_sandbox_with_the_drop_in() {
    let folder = tempfile::tempdir().unwrap();
    let drop_ins = folder.path().join("wschat.service.d");
    fs::create_dir(&drop_ins).unwrap();
    let unit = folder.path().join("wschat.service");
    fs::write(&unit, UNIT).unwrap();
    let exposure = |threshold: &str| {
        let mut command = Command::new("systemd-analyze");
        command.env("SYSTEMD_UNIT_PATH", format!("{}:", folder.path().display()));
        command.args(["security", "--offline=true", "--no-pager", threshold]).arg(&unit);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}");
        let level = text.split("Overall exposure level for wschat.service: ").nth(1).unwrap();
        level.split(' ').next().unwrap().to_owned()
    };
    let single = exposure("--threshold=4");
    fs::write(drop_ins.join("cluster.conf"), DROP_IN).unwrap();
    let cluster = exposure("--threshold=14");
    if !check("systemd-analyze", &["--version"]).starts_with("systemd 252 ") {
        return;
    }
    let sentence = format!("an exposure of {single}; with the drop-in it is {cluster}");
    assert!(DOCS.replace('\n', " ").contains(&sentence), "docs/cluster.md: {sentence}");
}

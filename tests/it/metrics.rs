//! The metrics: valid for the format's own parser, and equal to those of the dashboard
//! and the alert rules.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::harness::{DEADLINE, Daemon};

const DASHBOARD: &str = include_str!("../../packaging/examples/wschat-dashboard.json");
const RULES: &str = include_str!("../../packaging/examples/wschat.rules.yml");

/// Prints the name, the type and the labels of each family.
const PARSE: &str = "
import sys
from prometheus_client.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    assert family.documentation and family.samples, family
    labels = {name for sample in family.samples for name in sample.labels}
    print(family.samples[0].name, family.type, *sorted(labels))
";

/// Those of a node of a cluster, which has some more.
fn metrics() -> String {
    let daemon = Daemon::start("[cluster]\nservers = ['nats://127.0.0.1:1']\n");
    let mut ann = daemon.connect();
    ann.say("mallory", "my address is 127.0.0.1");
    ann.hear();
    let output = daemon.command(&["metrics"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8(output.stdout).unwrap()
}

/// Every name of the daemon's metrics in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("wschat_")).collect()
}

#[test]
fn the_official_parser_accepts_the_metrics() {
    let text = metrics();
    // Debian's Python, for which the package of the parser is.
    let mut parser = Command::new("/usr/bin/python3")
        .args(["-c", PARSE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    parser.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = parser.wait_with_output().unwrap();
    assert!(output.status.success(), "{text}");
    let families = String::from_utf8(output.stdout).unwrap();
    let mut found = BTreeSet::new();
    for family in families.lines() {
        let mut words = family.split(' ');
        let (name, kind) = (words.next().unwrap(), words.next().unwrap());
        assert_eq!(kind == "counter", name.ends_with("_total"), "{family}");
        assert!(
            words.all(|label| ["act", "code", "reason", "version"].contains(&label)),
            "{family}"
        );
        found.insert(name);
    }
    assert_eq!(found, names(&text));
    assert!(!text.contains("mallory") && !text.contains("127.0.0.1"), "{text}");
}

#[test]
fn dashboard_and_rules_use_existing_metrics() {
    let text = metrics();
    let exposed = names(&text);
    serde_json::from_str::<serde_json::Value>(DASHBOARD).unwrap();
    let unknown: Vec<_> = names(RULES).difference(&exposed).copied().collect();
    assert_eq!(unknown, [""; 0], "in the rules");
    assert_eq!(names(DASHBOARD), exposed, "in the dashboard");
}

/// Such connections have ten seconds, and do not use the slots of others.
#[test]
fn silent_connections_do_not_delay_a_probe() {
    let daemon = Daemon::start("metrics.address = '127.0.0.1:0'\n");
    let line = daemon.wait_for_log("metrics at http://");
    let (_, address) = line.split_once("http://").unwrap();
    let address = address.strip_suffix("/metrics").unwrap();
    let silent: Vec<_> = (0..16).map(|_| TcpStream::connect(address).unwrap()).collect();
    let ask = |mut stream: TcpStream| {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    };
    ask(TcpStream::connect(address).unwrap());
    // The last of them still exists: no probe had to wait for its end.
    ask(silent.into_iter().next_back().unwrap());
}

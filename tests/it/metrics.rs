//! The metrics: valid for the format's own parser, and equal to those of the dashboard
//! and the alert rules.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::harness::{DEADLINE, Daemon};

const DASHBOARD: &str = include_str!("../../packaging/examples/wschat-dashboard.json");
const RULES: &str = include_str!("../../packaging/examples/wschat.rules.yml");

const HISTOGRAMS: [&str; 3] =
    ["wschat_sweep_duration_seconds", "wschat_delivery_delay_seconds", "wschat_message_size_bytes"];

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
    words
        .filter(|it| it.starts_with("wschat_") || it.starts_with("process_"))
        .filter(is_metric)
        .collect()
}

/// Not the name of a histogram, of which there are only `_bucket`, `_sum` and `_count`.
fn is_metric(name: &&str) -> bool {
    !HISTOGRAMS.contains(name)
}

/// The linter of Prometheus, which knows its conventions.
#[test]
fn promtool_has_nothing_to_say() {
    let promtool = |words: &[&str], input: &str| {
        let mut command = Command::new("promtool");
        let command = command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.stderr(Stdio::piped()).spawn().expect("promtool is installed");
        process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    assert_eq!(promtool(&["check", "metrics"], &metrics()), "");
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/examples/wschat.rules.yml");
    assert!(promtool(&["check", "rules", rules], "").contains("SUCCESS"));
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
        assert_eq!(kind == "histogram", name.ends_with("_bucket"), "{family}");
        let known = ["act", "code", "le", "reason", "result", "transport", "version"];
        assert!(words.all(|label| known.contains(&label)), "{family}");
        found.insert(name);
        if let Some(name) = name.strip_suffix("_bucket") {
            assert!(["_sum", "_count"].iter().all(|it| text.contains(&format!("\n{name}{it} "))));
        }
    }
    found.extend(
        names(&text).into_iter().filter(|it| it.ends_with("_sum") || it.ends_with("_count")),
    );
    assert_eq!(found, names(&text));
    assert!(!text.contains("mallory") && !text.contains("127.0.0.1"), "{text}");
}

#[test]
fn the_manual_explains_every_metric() {
    let manual = include_str!("../../man/wschat.8");
    let section = manual.split("\n.Sh ").find(|section| section.starts_with("METRICS\n")).unwrap();
    let items = section.lines().filter_map(|line| line.strip_prefix(".It Li "));
    let explained: BTreeSet<_> = items.flat_map(|names| names.split(" , ")).collect();
    let histogram = |name: &str| HISTOGRAMS.into_iter().find(|it| name.starts_with(it));
    let text = metrics();
    let exposed = names(&text).into_iter().map(|name| histogram(name).unwrap_or(name));
    assert_eq!(explained, exposed.collect());
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

//! The status as text.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use indicatif::HumanCount;

use super::units::{bytes, elapsed, rate};
use crate::client::sanitize_name;
use crate::cluster::{ClusterStatus, NodeStatus};
use crate::control::Status;
use crate::record::RecordStats;
use crate::zone::local_time;

/// The status as lines of text.
pub fn describe(status: &Status, now: DateTime<Utc>) -> String {
    let uptime = elapsed(now - status.started);
    let started = local_time(status.started);
    let mut text = format!("wschat {}, running since {started} ({uptime})\n\n", status.version);
    let mut row = |label: &str, value: String| text += &format!("{label:<12} {value}\n");
    row("listening", status.listening.join(", "));
    let memory = status
        .memory_bytes
        .map_or_else(String::new, |count| format!(", {} of memory", bytes(count as f64)));
    row("process", format!("pid {}{memory}", status.pid));
    let [listeners, peak, lagging] =
        [status.listeners, status.listeners_peak, status.lagging].map(|n| HumanCount(n as u64));
    row("listeners", format!("{listeners} now, {peak} at most, {lagging} lagging"));
    if let Some(slowest) = &status.slowest {
        let behind = bytes(slowest.behind_bytes as f64);
        row("slowest", format!("{behind} behind: id {}, {}", slowest.id, slowest.address));
    }
    for (label, value) in status.cluster.iter().flat_map(|cluster| describe_cluster(cluster, now)) {
        row(label, value);
    }
    for (label, count, per_sec) in [
        ("messages", status.messages, status.rates.messages_per_sec),
        ("deliveries", status.deliveries, status.rates.deliveries_per_sec),
    ] {
        row(label, format!("{}, {}/s", HumanCount(count), rate(per_sec)));
    }
    let (sent, per_sec) = (bytes(status.bytes_sent as f64), bytes(status.rates.bytes_sent_per_sec));
    row("sent", format!("{sent}, {per_sec}/s"));
    row("refused", by_reason(&status.refused));
    row("turned away", by_reason(&status.refused_connections));
    let closed =
        [status.closed_too_slow, status.closed_idle, status.closed_protocol, status.kicked];
    let [slow, idle, protocol, kicked] = closed.map(HumanCount);
    let closed = format!("{slow} too slow, {idle} idle, {protocol} protocol, {kicked} kicked");
    row("closed", closed);
    row("senders", senders(status));
    row("feed", bytes(status.feed_bytes as f64));
    let loaded = local_time(status.config.loaded);
    row("config", format!("generation {}, loaded {loaded}", status.config.generation));
    if let Some(rejected) = &status.config.rejected {
        row("", format!("rejected {}: {rejected}", local_time(rejected.at)));
    }
    if let Some(why) = &status.config.no_key {
        row("", format!("nobody can send messages: {why}"));
    }
    if let Some(problem) = &status.config.listen_problem {
        row("", problem.clone());
    }
    if let Some(why) = &status.config.moderation_unsaved {
        row("", format!("mutes, lock and slow mode are not saved: {why}"));
    }
    row("record", describe_record(&status.record));
    if let Some(why) = &status.record.failing {
        row("", format!("failing: {why}"));
    }
    let [restarts, crashes] = [status.restarts_survived, status.crashes_survived].map(HumanCount);
    row("survived", format!("restarts: {restarts}, crashes: {crashes}"));
    text
}

/// Where messages are recorded, and how many were.
fn describe_record(record: &RecordStats) -> String {
    let [recorded, dropped] = [record.recorded, record.dropped].map(HumanCount);
    match &record.dir {
        None if record.recorded + record.dropped == 0 => "off".to_owned(),
        None => format!("off, {recorded} written, {dropped} lost"),
        Some(dir) => format!("{}: {recorded} written, {dropped} lost", dir.display()),
    }
}

/// The rows of a room on several machines.
fn describe_cluster(cluster: &ClusterStatus, now: DateTime<Utc>) -> Vec<(&'static str, String)> {
    let server = sanitize_name(cluster.server.as_deref().unwrap_or("a server"));
    let connection = match &cluster.reason {
        None => format!("connected to {server}"),
        Some(why) => format!("away for {}: {why}", elapsed(now - cluster.since)),
    };
    let [sequence, pending] = [cluster.sequence, cluster.pending].map(HumanCount);
    let mut stream = format!("stream {}, record {sequence}, {pending} pending", cluster.stream);
    for (count, what) in [
        (cluster.holes, "holes"),
        (cluster.divergences, "divergences"),
        (cluster.bad_records, "bad records"),
        (cluster.bad_presence, "bad messages of nodes"),
    ] {
        if count > 0 {
            stream += &format!(", {what}: {}", HumanCount(count));
        }
    }
    let total = HumanCount(cluster.listeners_total());
    let nodes = format!("{}, {total} listeners", cluster.nodes.len());
    let mut rows = vec![("cluster", connection), ("", stream), ("nodes", nodes)];
    rows.extend(cluster.nodes.iter().map(|node| ("", describe_node(node, &cluster.node))));
    rows
}

/// A node, seen from the node with the name `here`.
fn describe_node(node: &NodeStatus, here: &str) -> String {
    let age = node.age_secs.round();
    let mut text = format!("{}: {}, {age} s ago", node.name, HumanCount(node.listeners));
    if node.name == here {
        text += ", this node";
    }
    if node.has_twin {
        text += "; several nodes have this name";
    }
    text
}

/// The total and, for each reason that occurred, its count.
fn by_reason(counts: &BTreeMap<String, u64>) -> String {
    let total = HumanCount(counts.values().sum());
    let occurred = counts.iter().filter(|(_, count)| **count > 0);
    let each: Vec<_> = occurred.map(|(why, n)| format!("{why} {}", HumanCount(*n))).collect();
    if each.is_empty() { "0".into() } else { format!("{total}: {}", each.join(", ")) }
}

/// Who can send messages, and how often.
fn senders(status: &Status) -> String {
    if status.config.no_key.is_some() {
        return "nobody".to_owned();
    }
    let mut text = match (status.policy.locked, status.policy.keys) {
        (true, _) => "moderators only".to_owned(),
        (false, 0) => "every client".to_owned(),
        (false, 1) => "with a token, 1 key".to_owned(),
        (false, keys) => format!("with a token, {keys} keys"),
    };
    let mut add = |number: u64, before: &str, after: &str| {
        if number > 0 {
            text += &format!(", {before}{}{after}", HumanCount(number));
        }
    };
    add(status.policy.revocations as u64, "", " revoked");
    add(status.policy.mutes as u64, "", " muted");
    add(status.policy.slow_mode_secs, "one message in ", " s");
    add(status.messages_per_sec_max.into(), "", "/s at most");
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::control::{ConfigStatus, PolicyStats, Rates, RejectedConfig};
    use crate::server::SlowestListener;

    /// A moment of the tests.
    fn at(secs: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + secs, 0).unwrap()
    }

    /// A status with most figures.
    pub(in crate::cli) fn status() -> Status {
        let refused = [("bad-json", 2), ("binary", 0), ("jwt-invalid", 12_000)];
        Status {
            version: "0.3.0".into(),
            started: at(0),
            pid: 4711,
            memory_bytes: Some(9 << 20),
            listening: vec!["127.0.0.1:8080".into(), "[::1]:8080".into()],
            listeners: 412,
            listeners_peak: 1033,
            messages: 120_334,
            deliveries: 45_344_221,
            bytes_sent: 4 << 30,
            rates: Rates {
                messages_per_sec: 0.3,
                deliveries_per_sec: 14_420.0,
                bytes_sent_per_sec: 1_500_000.0,
            },
            refused: refused.into_iter().map(|(code, n)| (code.to_owned(), n)).collect(),
            refused_connections: [("full".to_owned(), 1), ("late".to_owned(), 0)].into(),
            lagging: 3,
            slowest: Some(SlowestListener {
                id: 17,
                address: "192.0.2.7:4711".parse().unwrap(),
                behind_bytes: 3 << 19,
            }),
            closed_too_slow: 2,
            closed_idle: 1200,
            closed_protocol: 5,
            feed_bytes: 100,
            config: ConfigStatus {
                generation: 3,
                loaded: at(60),
                rejected: None,
                no_key: None,
                listen_problem: None,
                moderation_unsaved: None,
            },
            record: RecordStats::default(),
            restarts_survived: 2,
            crashes_survived: 1,
            policy: PolicyStats {
                keys: 2,
                revocations: 1,
                mutes: 3,
                locked: false,
                slow_mode_secs: 30,
            },
            messages_per_sec_max: 20,
            kicked: 4,
            cluster: None,
            listeners_total: None,
        }
    }

    #[test]
    fn descriptions() {
        let mut status = status();
        let want = format!(
            "wschat 0.3.0, running since {} (1 h 1 min)

listening    127.0.0.1:8080, [::1]:8080
process      pid 4711, 9.0 MiB of memory
listeners    412 now, 1,033 at most, 3 lagging
slowest      1.5 MiB behind: id 17, 192.0.2.7:4711
messages     120,334, 0.3/s
deliveries   45,344,221, 14,420/s
sent         4.0 GiB, 1.4 MiB/s
refused      12,002: bad-json 2, jwt-invalid 12,000
turned away  1: full 1
closed       2 too slow, 1,200 idle, 5 protocol, 4 kicked
senders      with a token, 2 keys, 1 revoked, 3 muted, one message in 30 s, 20/s at most
feed         100 B
config       generation 3, loaded {}
record       off
survived     restarts: 2, crashes: 1
",
            local_time(at(0)),
            local_time(at(60))
        );
        assert_eq!(describe(&status, at(3665)), want);

        let why = "wschat.toml:1:1: x: unknown key".to_owned();
        status.config.rejected = Some(RejectedConfig { at: at(90), why, others: 2 });
        status.policy.keys = 0;
        status.config.no_key = Some("wschat.toml:2:1: auth.jwt_secret_file: gone".to_owned());
        status.refused.clear();
        let failing = Some("No space left on device (os error 28)".to_owned());
        let dir = Some("/var/log/wschat".into());
        status.record = RecordStats { recorded: 1000, dropped: 2, failing, dir };
        (status.slowest, status.memory_bytes) = (None, None);
        let text = describe(&status, at(59));
        assert!(text.contains("\nrefused      0\n"), "{text}");
        assert!(
            text.contains(": wschat.toml:1:1: x: unknown key (and 2 more, see the log)\n"),
            "{text}"
        );
        let no_key =
            "\n             nobody can send messages: wschat.toml:2:1: auth.jwt_secret_file";
        assert!(text.contains(no_key), "{text}");
        assert!(text.contains("\nsenders      nobody\n"), "{text}");
        let record = "\nrecord       /var/log/wschat: 1,000 written, 2 lost\n             failing: No space left";
        assert!(text.contains(record), "{text}");
    }

    #[test]
    fn the_rows_of_a_cluster() {
        let node = |name: &str, listeners, has_twin| NodeStatus {
            name: name.to_owned(),
            listeners,
            age_secs: 2.4,
            has_twin,
        };
        let mut cluster = ClusterStatus {
            node: "web1".into(),
            stream: "wschat".into(),
            connected: true,
            since: at(0),
            server: Some("nats1".into()),
            reason: None,
            sequence: 120_334,
            pending: 3,
            holes: 0,
            divergences: 0,
            bad_records: 0,
            bad_presence: 0,
            nodes: vec![node("web1", 412, false), node("web2", 1000, true)],
        };
        let text = |cluster: &ClusterStatus| {
            let rows = describe_cluster(cluster, at(75)).into_iter();
            rows.map(|(label, value)| format!("{label}|{value}\n")).collect::<String>()
        };
        let want = "cluster|connected to nats1
|stream wschat, record 120,334, 3 pending
nodes|2, 1,412 listeners
|web1: 412, 2 s ago, this node
|web2: 1,000, 2 s ago; several nodes have this name
";
        assert_eq!(text(&cluster), want);
        cluster.reason = Some("no server answers".into());
        (cluster.connected, cluster.holes, cluster.bad_records) = (false, 1, 2000);
        cluster.nodes.truncate(1);
        let want = "cluster|away for 1 min 15 s: no server answers
|stream wschat, record 120,334, 3 pending, holes: 1, bad records: 2,000
nodes|1, 412 listeners
|web1: 412, 2 s ago, this node
";
        assert_eq!(text(&cluster), want);
    }
}

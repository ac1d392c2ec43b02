//! `wschat status`.

use std::collections::BTreeMap;
use std::io::{IsTerminal, stdout};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use indicatif::HumanCount;

use super::args::ControlArgs;
use super::failure::{CommandResult, Exit, Failure};
use super::output::{json_line, local_time, print, print_while_open};
use crate::client::sanitize_name;
use crate::cluster::{ClusterStatus, NodeStatus};
use crate::control::{ControlClient, ControlRequest, RequestError, Status};
use crate::record::RecordStats;

/// The interval of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = "\
The exit code is 0 if the daemon is running and 3 if it is not. Rates are averages
of the last ten seconds.")]
pub struct StatusArgs {
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    /// Repeat every second until interrupted
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    control: ControlArgs,
}

/// Prints the status once or repeatedly.
pub fn run(args: &StatusArgs) -> CommandResult {
    if args.watch {
        return watch(args);
    }
    match args.control.try_ask(&ControlRequest::Status {}) {
        Ok(status) => print(&format_status(&status, args.json)?),
        Err(error @ RequestError::NotRunning) => {
            eprintln!("{}", args.control.failure(error));
            Ok(ExitCode::from(Exit::NotRunning as u8))
        }
        Err(error) => Err(args.control.failure(error)),
    }
}

/// Prints the status until standard output is closed, even while the daemon is not
/// running.
fn watch(args: &StatusArgs) -> CommandResult {
    let redraws = stdout().is_terminal() && !args.json;
    let mut call = None;
    loop {
        let text = match ask(&mut call, &args.control) {
            Ok(status) => format_status(&status, args.json)?,
            Err(RequestError::NotRunning | RequestError::Connection(_)) if args.json => {
                String::new()
            }
            Err(RequestError::NotRunning | RequestError::Connection(_)) => {
                "wschat is not running\n".into()
            }
            Err(error) => return Err(args.control.failure(error)),
        };
        if !print_while_open(&if redraws { redraw(&text) } else { text })? {
            return Ok(ExitCode::SUCCESS);
        }
        sleep(WATCH_INTERVAL);
    }
}

/// Uses one connection until it breaks.
fn ask(call: &mut Option<ControlClient>, control: &ControlArgs) -> Result<Status, RequestError> {
    let mut open = match call.take() {
        Some(open) => open,
        None => ControlClient::connect(&control.control)?,
    };
    let status = open.ask(&ControlRequest::Status {})?;
    *call = Some(open);
    Ok(status)
}

/// Overwrites the screen line by line, so that it does not flicker.
fn redraw(text: &str) -> String {
    let lines = text.replace('\n', "\x1b[K\n");
    format!("\x1b[H{lines}\x1b[J")
}

fn format_status(status: &Status, json: bool) -> Result<String, Failure> {
    if json { json_line(status) } else { Ok(describe(status, Utc::now())) }
}

fn describe(status: &Status, now: DateTime<Utc>) -> String {
    let uptime = elapsed(now - status.started);
    let started = local_time(status.started);
    let mut text = format!("wschat {}, running since {started} ({uptime})\n\n", status.version);
    let mut row = |label: &str, value: String| text += &format!("{label:<12} {value}\n");
    let [listeners, peak, lagging] =
        [status.listeners, status.listeners_peak, status.lagging].map(|n| HumanCount(n as u64));
    row("listeners", format!("{listeners} now, {peak} at most, {lagging} lagging"));
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
    let [slow, kicked] = [status.closed_too_slow, status.kicked].map(HumanCount);
    row("closed", format!("{slow} too slow, {kicked} kicked"));
    row("senders", senders(status));
    row("feed", bytes(status.feed_bytes as f64));
    let loaded = local_time(status.config.loaded);
    row("config", format!("generation {}, loaded {loaded}", status.config.generation));
    if let Some(rejected) = &status.config.rejected {
        row("", format!("rejected {}: {}", local_time(rejected.at), rejected.why));
    }
    if let Some(why) = &status.config.no_key {
        row("", format!("nobody can send messages: {why}"));
    }
    if let Some(problem) = &status.config.listen_problem {
        row("", problem.clone());
    }
    let record = &status.record;
    if *record != RecordStats::default() {
        let [recorded, dropped] = [record.recorded, record.dropped].map(HumanCount);
        row("record", format!("{recorded} written, {dropped} lost"));
    }
    if let Some(why) = &record.failing {
        row("", format!("failing: {why}"));
    }
    row("restarts", format!("{} survived", HumanCount(status.restarts_survived)));
    text
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

/// A rate, with one decimal place if it is small.
fn rate(per_sec: f64) -> String {
    match per_sec < 10.0 && per_sec.fract() != 0.0 {
        true => format!("{per_sec:.1}"),
        false => HumanCount(per_sec.round() as u64).to_string(),
    }
}

/// A number of bytes in the largest unit that fits.
fn bytes(count: f64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024.0 {
        return format!("{count:.0} B");
    }
    let power = ((count.log2() / 10.0) as usize).min(UNITS.len());
    format!("{:.1} {}", count / 1024_f64.powi(power as i32), UNITS[power - 1])
}

/// A duration in its two largest units.
fn elapsed(time: TimeDelta) -> String {
    let secs = time.num_seconds().max(0);
    let (days, hours, minutes) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs} s"),
        (0, 0, _) => format!("{minutes} min {} s", secs % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{ConfigStatus, PolicyStats, Rates, RejectedConfig};

    #[test]
    fn descriptions() {
        let at = |secs: i64| DateTime::from_timestamp(1_700_000_000 + secs, 0).unwrap();
        let refused = [("bad-json", 2), ("binary", 0), ("jwt-invalid", 12_000)];
        let mut status = Status {
            version: "0.3.0".into(),
            started: at(0),
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
            closed_too_slow: 2,
            feed_bytes: 100,
            config: ConfigStatus {
                generation: 3,
                loaded: at(60),
                rejected: None,
                no_key: None,
                listen_problem: None,
            },
            record: RecordStats::default(),
            restarts_survived: 2,
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
        };
        let want = format!(
            "wschat 0.3.0, running since {} (1 h 1 min)

listeners    412 now, 1,033 at most, 3 lagging
messages     120,334, 0.3/s
deliveries   45,344,221, 14,420/s
sent         4.0 GiB, 1.4 MiB/s
refused      12,002: bad-json 2, jwt-invalid 12,000
turned away  1: full 1
closed       2 too slow, 4 kicked
senders      with a token, 2 keys, 1 revoked, 3 muted, one message in 30 s, 20/s at most
feed         100 B
config       generation 3, loaded {}
restarts     2 survived
",
            local_time(at(0)),
            local_time(at(60))
        );
        assert_eq!(describe(&status, at(3665)), want);

        let why = "wschat.toml:1:1: x: unknown key".to_owned();
        status.config.rejected = Some(RejectedConfig { at: at(90), why });
        status.config.no_key = Some("wschat.toml:2:1: auth.jwt_secret_file: gone".to_owned());
        status.refused.clear();
        let failing = Some("No space left on device (os error 28)".to_owned());
        status.record = RecordStats { recorded: 1000, dropped: 2, failing };
        let text = describe(&status, at(59));
        assert!(text.contains("\nrefused      0\n"), "{text}");
        assert!(text.contains(": wschat.toml:1:1: x: unknown key\n"), "{text}");
        let no_key =
            "\n             nobody can send messages: wschat.toml:2:1: auth.jwt_secret_file";
        assert!(text.contains(no_key), "{text}");
        let record = "\nrecord       1,000 written, 2 lost\n             failing: No space left";
        assert!(text.contains(record), "{text}");
    }

    #[test]
    fn the_rows_of_a_cluster() {
        let at = |secs: i64| DateTime::from_timestamp(1_700_000_000 + secs, 0).unwrap();
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

    #[test]
    fn numbers_and_times() {
        let check = |got: String, want| assert_eq!(got, want);
        check(rate(0.0), "0");
        check(rate(9.9), "9.9");
        check(rate(10.4), "10");
        check(bytes(1023.0), "1023 B");
        check(bytes(1024.0), "1.0 KiB");
        check(bytes(f64::from(1 << 20) * 2048.0), "2.0 GiB");
        check(bytes(2.0_f64.powi(60)), "1024.0 PiB");
        check(elapsed(TimeDelta::seconds(-5)), "0 s");
        check(elapsed(TimeDelta::seconds(61)), "1 min 1 s");
        check(elapsed(TimeDelta::seconds(90_000)), "1 d 1 h");
    }
}

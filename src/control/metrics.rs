//! The metrics in the Prometheus text format. No label comes from a client: no name, no
//! address, no message.

use std::fmt::{Display, Write};

use crate::cluster::ClusterStatus;
use crate::control::process::ProcessStats;
use crate::control::replies::{ConfigStatus, PolicyStats};
use crate::record::RecordStats;
use crate::server::{Counter, Histogram, HistogramKind, Totals};

/// The media type of [`text`].
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The values of all metrics.
#[derive(Clone, Debug)]
pub struct MetricsSnapshot {
    pub totals: Totals,
    pub connections_max: usize,
    pub config: ConfigStatus,
    pub record: RecordStats,
    pub policy: PolicyStats,
    pub cluster: Option<ClusterStatus>,
    /// What the process uses, if that is known.
    pub process: Option<ProcessStats>,
}

/// The metrics in the Prometheus text format 0.0.4.
pub fn text(snapshot: &MetricsSnapshot) -> String {
    let MetricsSnapshot { totals, connections_max, config, record, policy, cluster, process } =
        snapshot;
    let mut out = MetricsText(String::new());

    let version = [(env!("CARGO_PKG_VERSION"), 1)];
    out.add_each("build_info", "1, labelled with the version.", "version", version);
    out.add("opened_timestamp_seconds", "When the room was opened.", totals.started_secs);
    out.add(
        "restarts_survived_total",
        "Restarts that the connections have survived.",
        totals.restarts_survived,
    );

    out.add("listeners", "Open WebSockets and event streams.", totals.listeners as u64);
    out.add(
        "listeners_peak",
        "The highest number of open WebSockets and event streams.",
        totals.listeners_peak as u64,
    );
    out.add(
        "connections_max",
        "The limit of open WebSockets and event streams.",
        *connections_max as u64,
    );
    out.add("lagging_listeners", "Listeners whose socket would block.", totals.lagging as u64);
    let help = "Bytes that the lagging listener that is furthest behind lacks.";
    let behind_bytes = totals.slowest.map_or(0, |slowest| slowest.behind_bytes);
    out.add("furthest_behind_bytes", help, behind_bytes);
    out.add("feed_bytes", "Bytes of the feed in memory.", totals.feed_bytes);

    for counters in totals.counters.all().chunk_by(|a, b| a.metric == b.metric) {
        let Some(Counter { metric, help, label, value, .. }) = counters.first() else { continue };
        match label {
            None => out.add(metric, help, *value),
            Some((label, _)) => {
                let values = counters.iter().filter_map(|it| Some((it.label?.1, it.value)));
                out.add_each(metric, help, label, values);
            }
        }
    }

    for (kind, histogram) in totals.counters.histograms.all() {
        out.add_histogram(&kind, histogram);
    }

    out.add("mutes", "Muted names and addresses.", policy.mutes as u64);
    out.add("locked", "1 while only moderators can send messages, else 0.", policy.locked.into());
    let help = "1 while mutes, lock and slow mode cannot be saved, else 0.";
    out.add("moderation_failing", help, config.moderation_unsaved.is_some().into());
    let help = "Seconds between two messages of a speaker.";
    out.add("slow_mode_seconds", help, policy.slow_mode_secs);
    out.add("speakers", "Speakers with a rate limit account.", totals.speakers as u64);
    out.add("token_keys", "Keys that verify tokens.", policy.keys as u64);
    out.add("revocations", "Revoked tokens and speakers.", policy.revocations as u64);

    out.add("recorded_messages_total", "Messages written to the record.", record.recorded);
    let help = "Messages that are missing in the record.";
    out.add("unrecorded_messages_total", help, record.dropped);
    let help = "1 while the record cannot be written, else 0.";
    out.add("record_failing", help, record.failing.is_some().into());

    out.add("config_generation", "Configurations that this process has loaded.", config.generation);
    let help = "When the configuration in force was loaded.";
    let loaded_secs = u64::try_from(config.loaded.timestamp()).unwrap_or_default();
    out.add("config_loaded_timestamp_seconds", help, loaded_secs);
    let help = "1 if the last reload was rejected, else 0.";
    out.add("config_rejected", help, config.rejected.is_some().into());
    if let Some(cluster) = cluster {
        out.add_cluster(cluster);
    }
    if let Some(process) = process {
        out.add_process(process);
    }
    out.0
}

/// The text, line by line.
struct MetricsText(String);

impl MetricsText {
    /// Adds a metric without labels.
    fn add(&mut self, name: &str, help: &str, value: u64) {
        self.add_value(&format!("wschat_{name}"), help, value);
    }

    /// The same for a metric with this whole name.
    fn add_value(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, help, kind(name));
        self.line(format_args!("{name} {value}"));
    }

    fn add_histogram(&mut self, kind: &HistogramKind, histogram: &Histogram) {
        let name = format!("wschat_{}", kind.metric);
        self.head(&name, kind.help, "histogram");
        let counts = histogram.cumulative();
        let in_units = |value: u64| value as f64 / f64::from(kind.per_unit);
        for (bound, count) in kind.bounds.iter().zip(counts) {
            let bound = in_units(*bound);
            self.line(format_args!("{name}_bucket{{le=\"{bound}\"}} {count}"));
        }
        let count = counts.last().copied().unwrap_or_default();
        self.line(format_args!("{name}_bucket{{le=\"+Inf\"}} {count}"));
        self.line(format_args!("{name}_sum {}", in_units(histogram.sum())));
        self.line(format_args!("{name}_count {count}"));
    }

    /// Adds what the process uses.
    fn add_process(&mut self, process: &ProcessStats) {
        let help = "Total user and system CPU time spent in seconds.";
        self.add_value("process_cpu_seconds_total", help, process.cpu_secs);
        let help = "Resident memory size in bytes.";
        self.add_value("process_resident_memory_bytes", help, process.resident_bytes);
        let help = "Virtual memory size in bytes.";
        self.add_value("process_virtual_memory_bytes", help, process.virtual_bytes);
        self.add_value("process_open_fds", "Number of open file descriptors.", process.open_fds);
        if let Some(max) = process.max_fds {
            self.add_value("process_max_fds", "Maximum number of open file descriptors.", max);
        }
        let help = "Start time of the process since unix epoch in seconds.";
        self.add_value("process_start_time_seconds", help, process.start_secs);
    }

    /// Adds a metric with one label, and its value for each value of the label.
    fn add_each<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        let name = format!("wschat_{name}");
        self.head(&name, help, kind(&name));
        for (of, value) in values {
            self.line(format_args!("{name}{{{label}=\"{of}\"}} {value}"));
        }
    }

    /// Adds the metrics of a room on several machines.
    fn add_cluster(&mut self, cluster: &ClusterStatus) {
        let help = "1 while the messages of the cluster can be ordered, else 0.";
        self.add("cluster_connected", help, cluster.connected.into());
        self.add("cluster_sequence", "The record of the stream read last.", cluster.sequence);
        let help = "Records of this node whose fate is not known yet.";
        self.add("cluster_pending", help, cluster.pending);
        let help = "Places of the stream where records were lost before this node read them.";
        self.add("cluster_holes_total", help, cluster.holes);
        let help = "Records for which the node that published them had another tim.";
        self.add("cluster_divergences_total", help, cluster.divergences);
        let help = "Records of the stream that are not valid.";
        self.add("cluster_bad_records_total", help, cluster.bad_records);
        let help = "Messages between nodes that are not valid.";
        self.add("cluster_bad_presence_total", help, cluster.bad_presence);
        let help = "Nodes that are known to run, with this one.";
        self.add("cluster_nodes", help, cluster.nodes.len() as u64);
        let help = "Open WebSockets and event streams of all nodes.";
        self.add("cluster_listeners", help, cluster.listeners_total());
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{line}");
    }
}

/// Every name of a counter ends with `_total`, and no other name does.
fn kind(name: &str) -> &'static str {
    if name.ends_with("_total") { "counter" } else { "gauge" }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::chat::Refusal;
    use crate::cluster::{ClusterState, Presence, StreamName};
    use crate::server::Rejection;

    #[test]
    fn values_and_labels() {
        let mut totals = Totals { listeners: 412, restarts_survived: 1, ..Totals::default() };
        totals.counters.messages = 7;
        totals.counters.refused[Refusal::JwtInvalid as usize] = 3;
        totals.counters.histograms.sweep_us(400, 2);
        totals.counters.histograms.sweep_us(3_000_000, 1);
        totals.counters.rejected[Rejection::AddressFull as usize] = 5;
        let loaded = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let text = text(&MetricsSnapshot {
            totals,
            connections_max: 1000,
            config: ConfigStatus {
                generation: 2,
                loaded,
                rejected: None,
                no_key: None,
                listen_problem: None,
                moderation_unsaved: None,
            },
            record: RecordStats::default(),
            policy: PolicyStats { mutes: 3, ..PolicyStats::default() },
            cluster: None,
            process: None,
        });
        assert!(!text.contains("cluster"), "a room on one machine has no such metrics");
        for line in [
            "# HELP wschat_listeners Open WebSockets and event streams.",
            "# TYPE wschat_listeners gauge",
            "wschat_listeners 412",
            "# TYPE wschat_messages_total counter",
            "wschat_messages_total 7",
            r#"wschat_refused_messages_total{code="jwt-invalid"} 3"#,
            r#"wschat_refused_messages_total{code="binary"} 0"#,
            r#"wschat_refused_connections_total{reason="address-full"} 5"#,
            r#"wschat_closed_connections_total{reason="too-slow"} 0"#,
            "wschat_config_loaded_timestamp_seconds 1700000000",
            "wschat_config_rejected 0",
            "wschat_restarts_survived_total 1",
            r#"wschat_moderation_acts_total{act="mute"} 0"#,
            "wschat_mutes 3",
            "# TYPE wschat_sweep_duration_seconds histogram",
            r#"wschat_sweep_duration_seconds_bucket{le="0.00025"} 0"#,
            r#"wschat_sweep_duration_seconds_bucket{le="0.0005"} 2"#,
            r#"wschat_sweep_duration_seconds_bucket{le="2.5"} 2"#,
            r#"wschat_sweep_duration_seconds_bucket{le="+Inf"} 3"#,
            "wschat_sweep_duration_seconds_sum 3.0008",
            "wschat_sweep_duration_seconds_count 3",
            r#"wschat_message_size_bytes_bucket{le="1048576"} 0"#,
            "wschat_message_size_bytes_sum 0",
            r#"wschat_accepted_connections_total{transport="sse"} 0"#,
            r#"wschat_reloads_total{result="rejected"} 0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn values_of_a_cluster() {
        let state = ClusterState::new(&StreamName::default(), &"a".parse().unwrap(), 1);
        let process = state.process().clone();
        state.note_presence(Presence { process, number: 1, listeners: 7, stops: false });
        state.connected("n1");
        state.progress(5, 2);
        state.count_hole();
        let mut out = MetricsText(String::new());
        out.add_cluster(&state.status());
        let text = out.0;
        for line in [
            "# TYPE wschat_cluster_connected gauge",
            "wschat_cluster_connected 1",
            "wschat_cluster_sequence 5",
            "wschat_cluster_pending 2",
            "# TYPE wschat_cluster_holes_total counter",
            "wschat_cluster_holes_total 1",
            "wschat_cluster_divergences_total 0",
            "wschat_cluster_bad_records_total 0",
            "wschat_cluster_bad_presence_total 0",
            "wschat_cluster_nodes 1",
            "wschat_cluster_listeners 7",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}

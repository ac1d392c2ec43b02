//! The room's figures in the Prometheus text format. No label is anything that
//! came from a client: not a name, not an address, not a message.

use chrono::{DateTime, Utc};
use prometheus::core::Collector;
use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder};

use crate::chat::ModAction;
use crate::control::service::Configured;
use crate::record::Stats;
use crate::server::{Counter, Totals};

/// The media type of [`text`].
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All that the metrics tell.
#[derive(Clone, Debug)]
pub struct MetricsSnapshot {
    /// Of the room.
    pub totals: Totals,
    /// The bound in force.
    pub connections_max: usize,
    /// Of the configuration.
    pub configured: Configured,
    /// Of the record of messages.
    pub record: Stats,
    /// Of who may speak.
    pub decided: PolicyStats,
}

/// Who may speak, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyStats {
    /// Keys that tokens are verified with.
    pub keys: usize,
    /// Revoked tokens and speakers.
    pub revocations: usize,
    /// Names and addresses that are muted.
    pub mutes: usize,
    /// Whether only moderators speak.
    pub locked: bool,
    /// Seconds between two messages of a speaker; 0 is no slow mode.
    pub slow_mode_secs: u64,
}

/// The metrics, in the Prometheus text format 0.0.4.
///
/// # Errors
///
/// The library's, if a name is not what the format allows; none depends on what
/// happens in the room.
pub fn text(figures: &MetricsSnapshot) -> prometheus::Result<String> {
    let MetricsSnapshot { totals, connections_max, configured, record, decided } = figures;
    let page = Page(Registry::new());

    let version = [(env!("CARGO_PKG_VERSION"), 1)];
    page.gauges("build_info", "1, labelled with the version.", "version", version)?;
    page.gauge("opened_timestamp_seconds", "When the room was opened.", totals.started_secs)?;
    page.count(
        "restarts_survived_total",
        "Restarts that the connections have survived.",
        totals.restarts_survived,
    )?;

    page.gauge("listeners", "Open WebSockets.", totals.listeners as u64)?;
    page.gauge("listeners_peak", "The most that there were.", totals.listeners_peak as u64)?;
    page.gauge("connections_max", "The most that there may be.", *connections_max as u64)?;
    page.gauge(
        "lagging_listeners",
        "Listeners whose socket takes nothing at the moment.",
        totals.lagging as u64,
    )?;
    page.gauge("feed_bytes", "Bytes of the feed in memory.", totals.feed_bytes)?;

    for counters in totals.counters.all().chunk_by(|a, b| a.metric == b.metric) {
        let Some(Counter { metric, help, label, value, .. }) = counters.first() else { continue };
        match label {
            None => page.count(metric, help, *value)?,
            Some((label, _)) => {
                let values = counters.iter().filter_map(|it| Some((it.label?.1, it.value)));
                page.counts(metric, help, label, values)?;
            }
        }
    }

    page.counts(
        "moderation_acts_total",
        "Acts of moderators and operators since the daemon started, by their verb.",
        "act",
        ModAction::VERBS
            .iter()
            .map(|verb| (*verb, totals.acts.get(verb).copied().unwrap_or_default())),
    )?;
    page.gauge("mutes", "Names and addresses that are muted.", decided.mutes as u64)?;
    page.gauge("locked", "1 while only moderators speak, else 0.", decided.locked.into())?;
    page.gauge(
        "slow_mode_seconds",
        "Seconds between two messages of a speaker.",
        decided.slow_mode_secs,
    )?;
    page.gauge("speakers", "Speakers whose budgets are known.", totals.speakers as u64)?;
    page.gauge("token_keys", "Keys that tokens are verified with.", decided.keys as u64)?;
    page.gauge("revocations", "Revoked tokens and speakers.", decided.revocations as u64)?;

    page.count("recorded_messages_total", "Messages written to the record.", record.recorded)?;
    page.count(
        "unrecorded_messages_total",
        "Messages that should be in the record and never will.",
        record.dropped,
    )?;
    page.gauge(
        "record_failing",
        "1 while the record cannot be written, else 0.",
        record.failing.is_some().into(),
    )?;

    page.gauge("config_generation", "How many configurations were loaded.", configured.generation)?;
    page.time(
        "config_loaded_timestamp_seconds",
        "When the configuration in force was loaded.",
        configured.loaded,
    )?;
    page.gauge(
        "config_rejected",
        "1 if a newer configuration was rejected, else 0.",
        configured.rejected.is_some().into(),
    )?;
    page.encode()
}

/// Metrics that are given their values once, and then encoded.
struct Page(Registry);

impl Page {
    fn count(&self, name: &str, help: &str, value: u64) -> prometheus::Result<()> {
        let counter = IntCounter::with_opts(opts(name, help))?;
        counter.inc_by(value);
        self.add(counter)
    }

    fn counts<'a>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) -> prometheus::Result<()> {
        let counters = IntCounterVec::new(opts(name, help), &[label])?;
        for (of, value) in values {
            counters.with_label_values(&[of]).inc_by(value);
        }
        self.add(counters)
    }

    fn gauge(&self, name: &str, help: &str, value: u64) -> prometheus::Result<()> {
        let gauge = Gauge::with_opts(opts(name, help))?;
        gauge.set(value as f64);
        self.add(gauge)
    }

    fn gauges<'a>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) -> prometheus::Result<()> {
        let gauges = GaugeVec::new(opts(name, help), &[label])?;
        for (of, value) in values {
            gauges.with_label_values(&[of]).set(value as f64);
        }
        self.add(gauges)
    }

    fn time(&self, name: &str, help: &str, time: DateTime<Utc>) -> prometheus::Result<()> {
        self.gauge(name, help, u64::try_from(time.timestamp()).unwrap_or_default())
    }

    fn add(&self, collector: impl Collector + 'static) -> prometheus::Result<()> {
        self.0.register(Box::new(collector))
    }

    fn encode(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.0.gather())
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("wschat_{name}"), help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Refusal;
    use crate::server::Rejection;

    #[test]
    fn every_figure_is_there_and_no_other_label() {
        let mut totals = Totals { listeners: 412, restarts_survived: 1, ..Totals::default() };
        totals.counters.messages = 7;
        totals.counters.refused[Refusal::JwtInvalid as usize] = 3;
        totals.counters.rejected[Rejection::AddressFull as usize] = 5;
        let loaded = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let configured = Configured { generation: 2, loaded, rejected: None };
        let (record, decided) =
            (Stats::default(), PolicyStats { mutes: 3, ..PolicyStats::default() });
        let figures =
            MetricsSnapshot { totals, connections_max: 1000, configured, record, decided };
        let text = text(&figures).unwrap();
        for line in [
            "# HELP wschat_listeners Open WebSockets.",
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
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        let labels = text.lines().filter_map(|line| line.split_once('{')?.1.split_once('='));
        let mut labels: Vec<_> = labels.map(|(label, _)| label).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels, ["act", "code", "reason", "version"]);
    }
}

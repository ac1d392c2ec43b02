//! The results of a run.

use hdrhistogram::Histogram;

use super::options::Mode;
use super::tracker::StreamErrors;

/// The results. `None` is what was not measured: the server's process is unknown
/// without `--pid`.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Report {
    /// Messages that reached a listener, per second.
    pub deliveries_per_sec: f64,
    /// CPU time of the server for each of them.
    pub cpu_ns_per_delivery: Option<f64>,
    /// From the time at which a message was sent, or due, until a listener had it.
    pub latency_p50_us: Option<f64>,
    pub latency_p99_us: Option<f64>,
    pub latency_p999_us: Option<f64>,
    pub latency_max_us: Option<f64>,
    #[serde(flatten)]
    pub errors: StreamErrors,
    /// Connections that the server closed, without slow ones.
    pub closed: u64,
    /// Resident memory of the server for each connection, without the first few.
    pub rss_bytes_per_connection: Option<f64>,
    /// Connections opened per second; in mode storm those of the storm.
    pub connects_per_sec: f64,
    /// CPU time of the server for each of them.
    pub cpu_us_per_connection: Option<f64>,
    /// Listeners that never read and that the server closed.
    pub slow_closed: u64,
    /// In mode resume: the p99 before the cut, and while the cut listeners were away.
    pub before_latency_p99_us: Option<f64>,
    pub away_latency_p99_us: Option<f64>,
    /// From the return of the cut listeners until each had all that it had missed.
    pub resume_ms: Option<f64>,
    /// By how much the peak of the server's resident memory grew after the cut.
    pub rss_growth_bytes: Option<u64>,
}

impl Report {
    /// Sets the quantiles of latencies in nanoseconds.
    pub fn set_latencies(&mut self, latencies: &Histogram<u64>) {
        if latencies.is_empty() {
            return;
        }
        let us = |ns: u64| Some(rounded(ns as f64 / 1e3));
        self.latency_p50_us = us(latencies.value_at_quantile(0.5));
        self.latency_p99_us = us(latencies.value_at_quantile(0.99));
        self.latency_p999_us = us(latencies.value_at_quantile(0.999));
        self.latency_max_us = us(latencies.max());
    }

    /// What went wrong; `None` if every listener that reads received every message once
    /// and in order.
    pub fn failure(&self) -> Option<String> {
        let StreamErrors { lost, repeated, reordered } = self.errors;
        (lost + repeated + reordered + self.closed > 0).then(|| {
            format!(
                "{lost} messages lost, {repeated} repeated, {reordered} reordered, \
                 {} connections closed",
                self.closed
            )
        })
    }

    /// The results that matter for this mode, for people.
    pub fn describe(&self, mode: Mode) -> String {
        let show = |value: Option<f64>, show: &dyn Fn(f64) -> String| {
            value.map_or_else(|| "unknown".into(), show)
        };
        let ms = |us| show(us, &|us| format!("{:.2} ms", us / 1e3));
        let mut lines = Vec::new();
        if mode != Mode::Idle {
            let StreamErrors { lost, repeated, reordered } = self.errors;
            lines.extend([
                ("deliveries", format!("{:.0} a second", self.deliveries_per_sec)),
                ("latency, median", ms(self.latency_p50_us)),
                ("latency, p99", ms(self.latency_p99_us)),
                ("latency, p99.9", ms(self.latency_p999_us)),
                ("latency, max", ms(self.latency_max_us)),
                (
                    "server CPU per delivery",
                    show(self.cpu_ns_per_delivery, &|ns| format!("{ns:.0} ns")),
                ),
                ("stream", format!("{lost} lost, {repeated} repeated, {reordered} reordered")),
            ]);
        }
        lines.extend([
            ("connections", format!("{:.0} a second", self.connects_per_sec)),
            (
                "server CPU per connection",
                show(self.cpu_us_per_connection, &|us| format!("{us:.1} µs")),
            ),
            (
                "server memory per connection",
                show(self.rss_bytes_per_connection, &|bytes| format!("{bytes:.0} bytes")),
            ),
            ("closed by the server", self.closed.to_string()),
        ]);
        if mode == Mode::Slow {
            lines.push(("slow ones closed", self.slow_closed.to_string()));
        }
        if mode == Mode::Resume {
            lines.extend([
                ("latency before the cut, p99", ms(self.before_latency_p99_us)),
                ("latency after the cut, p99", ms(self.away_latency_p99_us)),
                ("all resumed after", show(self.resume_ms, &|ms| format!("{ms:.0} ms"))),
                (
                    "server memory grew by",
                    self.rss_growth_bytes
                        .map_or_else(|| "unknown".into(), |bytes| format!("{} KiB", bytes / 1024)),
                ),
            ]);
        }
        lines.iter().map(|(name, value)| format!("{name:<29}{value}\n")).collect()
    }
}

/// The p99 of latencies in nanoseconds; `None` if there are none.
pub fn p99_us(latencies: &Histogram<u64>) -> Option<f64> {
    (!latencies.is_empty()).then(|| rounded(latencies.value_at_quantile(0.99) as f64 / 1e3))
}

/// `count` per second; 0 in no time.
pub fn per_sec(count: u64, time_ns: u64) -> f64 {
    per_each(count as f64 * 1e9, time_ns).unwrap_or(0.0)
}

/// `total` divided by `count`; `None` for none.
pub fn per_each(total: f64, count: u64) -> Option<f64> {
    (count > 0).then(|| rounded(total / count as f64))
}

/// To a tenth: more digits are noise.
pub fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_text() {
        let mut latencies = Histogram::<u64>::new(3).expect("three digits");
        (1..=1000).for_each(|us| latencies.record(us * 1000).expect("in range"));
        let mut report = Report::default();
        report.set_latencies(&latencies);
        let value = serde_json::to_value(&report).expect("JSON");
        let mut keys: Vec<_> = value.as_object().expect("an object").keys().cloned().collect();
        keys.sort();
        assert_eq!(
            keys.join(" "),
            "away_latency_p99_us before_latency_p99_us closed connects_per_sec cpu_ns_per_delivery cpu_us_per_connection deliveries_per_sec \
             latency_max_us latency_p50_us latency_p999_us latency_p99_us lost reordered repeated \
             resume_ms rss_bytes_per_connection rss_growth_bytes slow_closed"
        );
        let p50 = value["latency_p50_us"].as_f64().expect("a median");
        assert!((p50 - 500.0).abs() < 1.0, "{p50}");
        assert!(report.describe(Mode::Latency).contains("server CPU per delivery      unknown\n"));
        assert!(!report.describe(Mode::Idle).contains("latency"));
    }
}

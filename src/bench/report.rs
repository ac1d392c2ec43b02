//! The figures of a run.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::Mode;
use super::ledger::Faults;

/// What a run found. `None` is what it did not measure: without `--pid`
/// nothing is known about the server's process.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Report {
    /// Messages that reached a listener, a second.
    pub deliveries_per_sec: f64,
    /// CPU time of the server for each of them, in nanoseconds.
    pub cpu_ns_per_delivery: Option<f64>,
    /// From the time a message was sent (or due) until a listener had it: the median, in microseconds.
    pub latency_p50_us: Option<f64>,
    /// The same: 99 of 100 were not later.
    pub latency_p99_us: Option<f64>,
    /// The same: 999 of 1,000 were not later.
    pub latency_p999_us: Option<f64>,
    /// The same: the latest of all.
    pub latency_max_us: Option<f64>,
    /// Messages that a listener did not get.
    pub lost: u64,
    /// Messages that a listener got again.
    pub repeated: u64,
    /// Messages that a listener got after a later one.
    pub reordered: u64,
    /// Healthy connections that the server closed.
    pub closed: u64,
    /// Resident memory that connections added to the server, over their number,
    /// after a few first ones.
    pub rss_bytes_per_connection: Option<f64>,
    /// Connections opened a second; in mode storm those of the storm.
    pub connects_per_sec: f64,
    /// CPU time of the server for each of them, in microseconds.
    pub cpu_us_per_connection: Option<f64>,
    /// Listeners that never read and that the server closed.
    pub slow_closed: u64,
}

impl Report {
    /// Takes over the quantiles of latencies in nanoseconds.
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

    /// Takes over what was wrong with the order.
    pub fn set_faults(&mut self, faults: Faults) {
        (self.lost, self.repeated, self.reordered) =
            (faults.lost, faults.repeated, faults.reordered);
    }

    /// Whether every healthy listener got every message, once, in order.
    pub fn is_sound(&self) -> bool {
        self.lost + self.repeated + self.reordered + self.closed == 0
    }

    /// The report for people: the figures that the mode is about.
    pub fn describe(&self, mode: Mode) -> String {
        let mut lines = Vec::new();
        let mut line = |what: &str, value: String| lines.push(format!("{what:<28}{value}"));
        if mode != Mode::Idle {
            line("deliveries", format!("{:.0} a second", self.deliveries_per_sec));
            let latencies = [
                ("latency, median", self.latency_p50_us),
                ("latency, p99", self.latency_p99_us),
                ("latency, p99.9", self.latency_p999_us),
                ("latency, max", self.latency_max_us),
            ];
            for (what, us) in latencies {
                line(what, or_unknown(us, |us| format!("{:.2} ms", us / 1e3)));
            }
            let cpu = or_unknown(self.cpu_ns_per_delivery, |ns| format!("{ns:.0} ns"));
            line("server CPU per delivery", cpu);
            line(
                "stream",
                format!(
                    "{} lost, {} repeated, {} reordered",
                    self.lost, self.repeated, self.reordered
                ),
            );
        }
        line("connections", format!("{:.0} a second", self.connects_per_sec));
        let cpu = or_unknown(self.cpu_us_per_connection, |us| format!("{us:.1} µs"));
        line("server CPU per connection", cpu);
        let rss = or_unknown(self.rss_bytes_per_connection, |bytes| format!("{bytes:.0} bytes"));
        line("server memory per connection", format!(" {rss}"));
        line("closed by the server", self.closed.to_string());
        if mode == Mode::Slow {
            line("slow ones closed", self.slow_closed.to_string());
        }
        lines.join("\n")
    }
}

impl fmt::Display for Report {
    /// One line of JSON.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// `count` a second, over `time`.
pub fn per_sec(count: u64, time: Duration) -> f64 {
    let secs = time.as_secs_f64();
    if secs > 0.0 { rounded(count as f64 / secs) } else { 0.0 }
}

/// `total` for each of `count`; nothing for none.
pub fn per_each(total: f64, count: u64) -> Option<f64> {
    (count > 0).then(|| rounded(total / count as f64))
}

/// To a tenth: more digits than that are noise.
fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn or_unknown(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "unknown".into(), show)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_the_json() {
        let value: serde_json::Value =
            serde_json::from_str(&Report::default().to_string()).expect("JSON");
        let mut keys: Vec<_> = value.as_object().expect("an object").keys().cloned().collect();
        keys.sort();
        assert_eq!(
            keys.join(" "),
            "closed connects_per_sec cpu_ns_per_delivery cpu_us_per_connection deliveries_per_sec \
             latency_max_us latency_p50_us latency_p999_us latency_p99_us lost reordered repeated \
             rss_bytes_per_connection slow_closed"
        );
    }

    #[test]
    fn what_was_not_measured_is_said_to_be_unknown() {
        assert!(Report::default().describe(Mode::Latency).contains("unknown"));
        assert!(!Report::default().describe(Mode::Idle).contains("latency"));
    }

    #[test]
    fn quantiles() {
        let mut latencies = Histogram::new(3).expect("three digits");
        for us in 1..=1000_u64 {
            latencies.record(us * 1000).expect("in range");
        }
        let mut report = Report::default();
        report.set_latencies(&latencies);
        let p50 = report.latency_p50_us.expect("a median");
        assert!((p50 - 500.0).abs() < 1.0, "{p50}");
    }
}

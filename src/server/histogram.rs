//! Histograms with fixed bounds, as Prometheus has them.

/// How many bounds a histogram has.
pub const BOUNDS: usize = 14;

/// The bounds of durations, in microseconds.
const DURATIONS_US: [u64; BOUNDS] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000,
];
/// The bounds of the size of a message, in bytes.
const SIZES: [u64; BOUNDS] = [
    64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072, 262_144, 1_048_576,
];

/// What a histogram measures.
#[derive(Debug)]
pub struct HistogramKind {
    /// Its name in a handover, which must never change.
    pub name: &'static str,
    /// The metric without the prefix `wschat_`.
    pub metric: &'static str,
    /// The help text of the metric.
    pub help: &'static str,
    /// The highest value of each bucket but the last, ascending.
    pub bounds: [u64; BOUNDS],
    /// How many units of a value are one unit of the metric.
    pub per_unit: u32,
}

/// How many values are in each bucket, and their sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// The last bucket is for values above all bounds.
    buckets: [u64; BOUNDS + 1],
    sum: u64,
}

/// Makes the struct from a row for each histogram.
macro_rules! histograms {
    ($($field:ident: $metric:literal, $bounds:expr, $per_unit:literal, $help:literal;)*) => {
        /// All histograms of a shard or of the room.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Histograms { $(#[doc = $help] pub $field: Histogram,)* }

        impl Histograms {
            /// Every histogram, with what it measures.
            pub fn all(&self) -> Vec<(HistogramKind, &Histogram)> {
                vec![$((
                    HistogramKind {
                        name: stringify!($field),
                        metric: $metric,
                        help: $help,
                        bounds: $bounds,
                        per_unit: $per_unit,
                    },
                    &self.$field,
                ),)*]
            }

            fn all_mut(&mut self) -> Vec<(&'static str, [u64; BOUNDS], &mut Histogram)> {
                vec![$((stringify!($field), $bounds, &mut self.$field),)*]
            }

            $(
                /// Adds `count` values that are the same.
                pub fn $field(&mut self, value: u64, count: u64) {
                    self.$field.observe(&$bounds, value, count);
                }
            )*
        }
    };
}

histograms! {
    sweep_us: "sweep_duration_seconds", DURATIONS_US, 1_000_000,
        "How long a shard takes to send new messages to all of its listeners that keep up.";
    delivery_us: "delivery_delay_seconds", DURATIONS_US, 1_000_000,
        "Time from the tim of a message until the last listener of a shard that keeps up was sent it.";
    message_bytes: "message_size_bytes", SIZES, 1,
        "Size of the messages of clients, as they are sent to the room.";
}

impl Histogram {
    fn observe(&mut self, bounds: &[u64; BOUNDS], value: u64, count: u64) {
        let bucket = bounds.partition_point(|bound| *bound < value);
        self.buckets[bucket] += count;
        self.sum = self.sum.saturating_add(value.saturating_mul(count));
    }

    /// The number of values up to each bound, and of all values.
    pub fn cumulative(&self) -> [u64; BOUNDS + 1] {
        let mut total = 0;
        self.buckets.map(|count| {
            total += count;
            total
        })
    }

    /// The sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    fn cells_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        self.buckets.iter_mut().chain([&mut self.sum])
    }
}

impl Histograms {
    /// Every number with its name in a handover. The name has the bound: a later version may
    /// have others.
    pub fn stored(&self) -> Vec<(String, u64)> {
        let mut stored = Vec::new();
        for (kind, histogram) in self.all() {
            let values = histogram.buckets.iter().chain([&histogram.sum]);
            stored.extend(cell_names(kind.name, &kind.bounds).zip(values.copied()));
        }
        stored
    }

    /// Adds to the number of this name. A name that is not known is ignored.
    pub fn add(&mut self, name: &str, count: u64) {
        for (own, bounds, histogram) in self.all_mut() {
            let cell = cell_names(own, &bounds).zip(histogram.cells_mut());
            for (_, value) in cell.filter(|(known, _)| known == name) {
                *value += count;
            }
        }
    }

    /// Adds all values of `other`.
    pub fn merge(&mut self, other: &Self) {
        for ((_, _, to), (_, from)) in self.all_mut().into_iter().zip(other.all()) {
            let values = from.buckets.iter().chain([&from.sum]);
            to.cells_mut().zip(values).for_each(|(to, more)| *to += more);
        }
    }
}

/// The names of the cells of a histogram: its buckets and its sum.
fn cell_names(name: &str, bounds: &[u64; BOUNDS]) -> impl Iterator<Item = String> {
    let bounds = bounds.map(|bound| format!("{name}_le_{bound}"));
    bounds.into_iter().chain([format!("{name}_above"), format!("{name}_sum")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_at_a_bound_is_below_it() {
        let mut histograms = Histograms::default();
        for (value, count) in [(0, 1), (100, 1), (101, 3), (2_500_000, 1), (9_000_000, 2)] {
            histograms.sweep_us(value, count);
        }
        let sweep = &histograms.sweep_us;
        assert_eq!(sweep.cumulative(), [2, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 6, 8]);
        assert_eq!(sweep.sum(), 100 + 303 + 2_500_000 + 18_000_000);
    }

    #[test]
    fn a_handover_keeps_every_number() {
        let mut before = Histograms::default();
        before.delivery_us(70, 2);
        before.message_bytes(5_000_000, 1);
        let mut after = Histograms::default();
        let stored = before.stored();
        stored.iter().for_each(|(name, count)| after.add(name, *count));
        after.add("sweep_us_le_7", 1);
        assert_eq!(after, before);
        after.merge(&before);
        assert_eq!(after.delivery_us.cumulative()[0], 4);
        let names: std::collections::BTreeSet<_> = stored.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), 3 * (BOUNDS + 2));
    }
}

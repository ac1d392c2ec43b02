//! What the daemon counts: histograms, and one table from which the struct, the names in a handover
//! and the metrics follow.

use std::slice;

use crate::chat::{ModAction, Refusal};
use crate::server::admission::rejection::Rejection;
use crate::server::histogram::Histograms;

/// One number of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Its name in a handover, which must never change.
    pub name: &'static str,
    /// The metric without the prefix `wschat_`.
    pub metric: &'static str,
    /// The help text of the metric.
    pub help: &'static str,
    /// The label of the metric and its value, if the metric has several counters.
    pub label: Option<(&'static str, &'static str)>,
    /// The number.
    pub value: u64,
}

/// Makes the struct and its two views of a row for each field:
///
/// ```text
/// field: type, metric, label of the metric or "", [name and value of the label, …], help
/// ```
///
/// The help text of a metric is that of its first row.
macro_rules! counters {
    ($($field:ident: $type:ty, $metric:literal, $label:literal, $names:expr, $help:literal;)*) => {
        /// The events of a shard or of the room, counted.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $(#[doc = $help] pub $field: $type,)*
            /// The histograms.
            pub histograms: Histograms,
        }

        impl Counters {
            /// Every counter.
            pub fn all(&self) -> Vec<Counter> {
                let mut all = Vec::new();
                $(
                    let (metric, help) = ($metric, $help);
                    for ((name, label), value) in $names.into_iter().zip(self.$field.cells()) {
                        let label = (!$label.is_empty()).then_some(($label, label));
                        all.push(Counter { name, metric, help, label, value: *value });
                    }
                )*
                all
            }

            /// Every number with its name in a handover.
            pub fn stored(&self) -> Vec<(String, u64)> {
                let counters = self.all().into_iter().map(|it| (it.name.to_owned(), it.value));
                counters.chain(self.histograms.stored()).collect()
            }

            /// Adds to the number of this name. A name that is not known is ignored.
            pub fn add(&mut self, name: &str, count: u64) {
                self.histograms.add(name, count);
                $(
                    for ((known, _), value) in $names.into_iter().zip(self.$field.cells_mut()) {
                        *value += if known == name { count } else { 0 };
                    }
                )*
            }

            /// Adds all counters of `other`.
            pub fn merge(&mut self, other: &Self) {
                self.histograms.merge(&other.histograms);
                $(
                    let pairs = self.$field.cells_mut().iter_mut().zip(other.$field.cells());
                    pairs.for_each(|(to, more)| *to += more);
                )*
            }
        }
    };
}

counters! {
    messages: u64, "messages_total", "", [("messages", "")],
        "Messages sent to the room.";
    deliveries: u64, "deliveries_total", "", [("deliveries", "")],
        "Messages written to a socket.";
    bytes_sent: u64, "sent_bytes_total", "", [("bytes_sent", "")],
        "Bytes of messages written to sockets.";
    refused: [u64; Refusal::ALL.len()], "refused_messages_total", "code",
        Refusal::ALL.map(|refusal| (name_of(refusal), refusal.code())),
        "Messages that were not sent, by the code of their notice.";
    notices_dropped: u64, "dropped_notices_total", "", [("notices_dropped", "")],
        "Notices that were not sent, because there were too many.";
    accepted: [u64; 2], "accepted_connections_total", "transport",
        [("accepted_ws", "ws"), ("accepted_sse", "sse")],
        "Connections that became listeners, by transport.";
    probes: u64, "probes_total", "", [("probes", "")],
        "Empty messages, which pages send to test their connection.";
    rejected: [u64; Rejection::ALL.len()], "refused_connections_total", "reason",
        Rejection::ALL.map(|rejection| (rejection.name(), rejection.name())),
        "Rejected connections, by reason.";
    too_slow: u64, "closed_connections_total", "reason", [("too_slow", "too-slow")],
        "Connections that the daemon closed, by reason.";
    idle: u64, "closed_connections_total", "reason", [("idle", "idle")],
        "Connections closed because the client sent or acknowledged nothing for too long.";
    violations: u64, "closed_connections_total", "reason", [("violations", "protocol")],
        "Connections closed because the client violated RFC 6455.";
    kicked: u64, "closed_connections_total", "reason", [("kicked", "kicked")],
        "Connections closed by a moderator or an operator.";
    acts: [u64; ModAction::VERBS.len()], "moderation_acts_total", "act",
        ModAction::VERBS.map(|verb| (verb, verb)),
        "Actions of moderators and operators, by act.";
    reloads: [u64; 2], "reloads_total", "result",
        [("reloads_applied", "applied"), ("reloads_rejected", "rejected")],
        "Reloads of the configuration, by result.";
}

/// The name of a refusal in a handover. A rejected connection has the name of its code too.
fn name_of(refusal: Refusal) -> &'static str {
    if refusal == Refusal::Origin { "message-origin" } else { refusal.code() }
}

/// A field with one number or several.
trait Cells {
    fn cells(&self) -> &[u64];
    fn cells_mut(&mut self) -> &mut [u64];
}

impl Cells for u64 {
    fn cells(&self) -> &[u64] {
        slice::from_ref(self)
    }

    fn cells_mut(&mut self) -> &mut [u64] {
        slice::from_mut(self)
    }
}

impl<const N: usize> Cells for [u64; N] {
    fn cells(&self) -> &[u64] {
        self
    }

    fn cells_mut(&mut self) -> &mut [u64] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_a_name_of_its_own() {
        let mut counters = Counters::default();
        for counter in Counters::default().all() {
            counters.add(counter.name, 1);
        }
        counters.add("a counter of an older version", 1);
        assert!(counters.all().iter().all(|counter| counter.value == 1), "{counters:?}");
        counters.merge(&counters.clone());
        assert!(counters.all().iter().all(|counter| counter.value == 2), "{counters:?}");
    }
}

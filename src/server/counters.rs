//! What happened, in numbers.

use crate::chat::Refusal;
use crate::server::admission::rejection::Rejection;

/// What happened, counted since the table was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages that were sent to the room.
    pub messages: u64,
    /// Messages that were written to a socket to their end.
    pub deliveries: u64,
    /// Bytes of the feed that were written.
    pub bytes_sent: u64,
    /// Messages that were not sent, in the order of [`Refusal::ALL`].
    pub refused: [u64; Refusal::ALL.len()],
    /// Notices that were not sent either, because there were too many.
    pub notices_dropped: u64,
    /// Empty texts, with which a page asks whether its connection still lives.
    pub probes: u64,
    /// Connections closed by an act of moderation.
    pub kicked: u64,
    /// Connections closed because the tail passed their cursor.
    pub too_slow: u64,
    /// Connections closed because nothing came from them.
    pub idle: u64,
    /// Connections closed because they broke a rule of RFC 6455.
    pub violations: u64,
    /// Connections that ended at the door, in the order of [`Rejection::ALL`].
    pub rejected: [u64; Rejection::ALL.len()],
}

impl Counters {
    /// Every figure with a name that never changes.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let refused = Refusal::ALL.iter().map(|refusal| refusal.code()).zip(self.refused);
        let rejected = Rejection::ALL.iter().map(|why| why.name()).zip(self.rejected);
        let Self { messages, deliveries, bytes_sent, notices_dropped, .. } = *self;
        let Self { probes, kicked, too_slow, idle, violations, .. } = *self;
        [
            ("messages", messages),
            ("deliveries", deliveries),
            ("bytes_sent", bytes_sent),
            ("notices_dropped", notices_dropped),
            ("probes", probes),
            ("kicked", kicked),
            ("too_slow", too_slow),
            ("idle", idle),
            ("violations", violations),
        ]
        .into_iter()
        .chain(refused)
        .chain(rejected)
    }

    /// Adds to the figure of this name; one that is not known is not counted.
    pub fn add(&mut self, name: &str, count: u64) {
        let figure = match name {
            "messages" => &mut self.messages,
            "deliveries" => &mut self.deliveries,
            "bytes_sent" => &mut self.bytes_sent,
            "notices_dropped" => &mut self.notices_dropped,
            "probes" => &mut self.probes,
            "kicked" => &mut self.kicked,
            "too_slow" => &mut self.too_slow,
            "idle" => &mut self.idle,
            "violations" => &mut self.violations,
            other => {
                let code = Refusal::ALL.iter().position(|refusal| refusal.code() == other);
                let why = Rejection::ALL.iter().position(|why| why.name() == other);
                match (code, why) {
                    (Some(at), _) => &mut self.refused[at],
                    (None, Some(at)) => &mut self.rejected[at],
                    (None, None) => return,
                }
            }
        };
        *figure += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_a_name_of_its_own() {
        let mut counters = Counters::default();
        for (name, _) in Counters::default().named() {
            counters.add(name, 1);
        }
        counters.add("what an older version counted", 1);
        assert!(counters.named().all(|(_, count)| count == 1), "{counters:?}");
        assert_eq!((counters.refused, counters.rejected), ([1; _], [1; _]));
    }
}

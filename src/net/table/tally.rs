//! What happened, in numbers.

use crate::chat::Refusal;

/// What happened, counted since the table was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
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
    /// Connections closed because the tail passed their cursor.
    pub too_slow: u64,
    /// Connections closed because nothing came from them.
    pub idle: u64,
    /// Connections closed because they broke a rule of RFC 6455.
    pub violations: u64,
}

impl Tally {
    /// Every figure with a name that never changes.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let refused = Refusal::ALL.iter().map(|refusal| refusal.code()).zip(self.refused);
        let Self { messages, deliveries, bytes_sent, notices_dropped, .. } = *self;
        let Self { too_slow, idle, violations, .. } = *self;
        [
            ("messages", messages),
            ("deliveries", deliveries),
            ("bytes_sent", bytes_sent),
            ("notices_dropped", notices_dropped),
            ("too_slow", too_slow),
            ("idle", idle),
            ("violations", violations),
        ]
        .into_iter()
        .chain(refused)
    }

    /// Adds to the figure of this name; one that is not known is not counted.
    pub fn add(&mut self, name: &str, count: u64) {
        let figure = match name {
            "messages" => &mut self.messages,
            "deliveries" => &mut self.deliveries,
            "bytes_sent" => &mut self.bytes_sent,
            "notices_dropped" => &mut self.notices_dropped,
            "too_slow" => &mut self.too_slow,
            "idle" => &mut self.idle,
            "violations" => &mut self.violations,
            code => match Refusal::ALL.iter().position(|refusal| refusal.code() == code) {
                Some(at) => &mut self.refused[at],
                None => return,
            },
        };
        *figure += count;
    }
}

//! Says in the log and in the state of the cluster whether messages can be sent.

use std::sync::Arc;

use tracing::{info, warn};

use super::engine::{AwayReason, Connection};
use super::state::ClusterState;

/// Tells of each change.
pub(super) struct Availability {
    state: Arc<ClusterState>,
    lines: Lines,
}

/// Which changes have a line in the log: one when the cluster is away, one when it is back, and
/// one for each thing that somebody has to repair meanwhile. The other reasons follow from the
/// first, or end by themselves.
#[derive(Debug, Default)]
struct Lines {
    /// The reason in the last line, if the cluster is away.
    away: Option<AwayReason>,
    is_connected: bool,
}

impl Availability {
    pub const fn new(state: Arc<ClusterState>) -> Self {
        Self { state, lines: Lines { away: None, is_connected: false } }
    }

    /// Messages can be sent from now on, or not.
    pub fn changed(&mut self, availability: &Result<Connection, AwayReason>) {
        match availability {
            Ok(Connection { server, .. }) => {
                if self.lines.connected() {
                    info!(server, "the cluster is connected: {server}");
                }
                self.state.connected(server);
            }
            Err(reason) => {
                if self.lines.away(reason) {
                    warn!(%reason, "the cluster is away, messages are refused: {reason}");
                }
                self.state.away(&reason.to_string());
            }
        }
    }
}

impl Lines {
    fn connected(&mut self) -> bool {
        self.away = None;
        !std::mem::replace(&mut self.is_connected, true)
    }

    fn away(&mut self, reason: &AwayReason) -> bool {
        let has_line = match (&self.away, reason) {
            (None, AwayReason::Reading(_)) => self.is_connected,
            (None, _) => true,
            (Some(logged), AwayReason::Unusable(_)) => logged != reason,
            (Some(_), AwayReason::Unreachable(_) | AwayReason::Reading(_)) => false,
        };
        self.is_connected = false;
        if has_line {
            self.away = Some(reason.clone());
        }
        has_line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(why: &str) -> AwayReason {
        AwayReason::Unreachable(why.into())
    }

    fn wrong(why: &str) -> AwayReason {
        AwayReason::Unusable(why.into())
    }

    fn reading() -> AwayReason {
        AwayReason::Reading("being read".into())
    }

    /// Which of these changes have a line; `None` is connected.
    #[track_caller]
    fn check(changes: &[(Option<AwayReason>, bool)]) {
        let mut lines = Lines::default();
        for (number, (change, has_line)) in changes.iter().enumerate() {
            let line = match change {
                None => lines.connected(),
                Some(why) => lines.away(why),
            };
            assert_eq!(line, *has_line, "{number}: {change:?}");
        }
    }

    #[test]
    fn one_line_at_each_change() {
        check(&[
            (Some(reading()), false),
            (None, true),
            (None, false),
            (Some(lost("the connection was lost")), true),
            (Some(lost("cannot reach it")), false),
            (Some(reading()), false),
            (None, true),
            (Some(lost("the connection was lost")), true),
            (None, true),
        ]);
    }

    #[test]
    fn what_somebody_has_to_repair_has_a_line_too() {
        check(&[
            (Some(lost("cannot reach it")), true),
            (Some(wrong("too old")), true),
            (Some(wrong("too old")), false),
            (Some(lost("cannot reach it")), false),
            (Some(wrong("too old")), false),
            (Some(wrong("no stream")), true),
            (None, true),
            (Some(wrong("no stream")), true),
        ]);
    }

    #[test]
    fn a_node_that_reads_a_new_stream_is_away() {
        check(&[(None, true), (Some(reading()), true), (None, true)]);
    }
}

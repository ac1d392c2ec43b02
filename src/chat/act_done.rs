//! What became of a moderation action, and how that is told.

use super::mod_action::{ModAction, Target};
use super::retracted::Retracted;

/// What became of a moderation action that is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActDone {
    /// Whether it has changed anything.
    pub changed: bool,
    /// How many connections it has closed, or how many messages it has retracted that the room
    /// still has; `None` for other actions.
    pub met: Option<u64>,
    /// How many nodes of the cluster have not told in time what it has met there.
    pub silent_nodes: usize,
}

impl ActDone {
    /// Of an action that meets neither connections nor messages.
    pub const fn changed(changed: bool) -> Self {
        Self { changed, met: None, silent_nodes: 0 }
    }

    /// Of an action that changes nothing unless it meets something.
    pub const fn met(count: u64) -> Self {
        Self { changed: count > 0, met: Some(count), silent_nodes: 0 }
    }

    /// Whether it has met nothing although that is its purpose, so that it was not done.
    pub fn met_nothing(&self) -> bool {
        !self.changed && self.met == Some(0)
    }

    /// What was done, for people, without the numbers.
    pub fn text(&self, action: &ModAction) -> String {
        match action {
            ModAction::Kick { target } if !self.changed => format!("{target} is not connected"),
            ModAction::Retract(Retracted::Tim(tim)) if self.met == Some(0) => {
                format!("retracted {tim}, which the room no longer has in memory")
            }
            ModAction::Retract(Retracted::Name(name)) if !self.changed => {
                format!("the room has no message of {name:?} in memory that is not retracted")
            }
            action if !self.changed => action.unchanged().to_owned(),
            action => action.to_string(),
        }
    }

    /// The numbers that follow [`text`](Self::text).
    pub fn numbers(&self, action: &ModAction) -> String {
        let mut text = String::new();
        match (action, self.met) {
            (_, None | Some(0)) => {}
            (ModAction::Kick { target: Target::Connection(_) }, _) => {}
            (ModAction::Kick { .. }, Some(met)) => text = format!(", connections: {met}"),
            (ModAction::Retract(Retracted::Tim(_)), _) => {}
            (_, Some(met)) => text = format!(", messages: {met}"),
        }
        if self.silent_nodes > 0 {
            text += &format!(", nodes that did not answer: {}", self.silent_nodes);
        }
        text
    }
}

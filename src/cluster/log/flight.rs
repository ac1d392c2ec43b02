//! The records of this node that are on their way: published, and their fate not known.

use std::collections::VecDeque;

use crate::chat::Tim;
use crate::feed::Position;

/// A published record whose fate is not known.
#[derive(Debug)]
pub(super) struct Flight<T> {
    pub number: u64,
    /// The stream time after which nobody sends it any more.
    pub by: Tim,
    /// When it was published, in milliseconds of the monotonic clock.
    pub at_ms: u64,
    /// Where the stream has stored it, if the server has said so.
    pub stored: Option<u64>,
    /// Whether it can be among records that this node lacks.
    pub is_in_hole: bool,
    /// Who waits for it.
    pub tickets: Vec<T>,
}

/// All records that are on their way, in the order of their numbers.
#[derive(Debug)]
pub(super) struct Flights<T> {
    list: VecDeque<Flight<T>>,
    /// How many of them somebody waits for.
    awaited: usize,
    /// The greatest number that was acknowledged, or that nobody acknowledges any more.
    acknowledged: u64,
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self { list: VecDeque::new(), awaited: 0, acknowledged: 0 }
    }
}

impl<T> Flights<T> {
    pub fn push(&mut self, flight: Flight<T>) {
        self.awaited += usize::from(!flight.tickets.is_empty());
        self.list.push_back(flight);
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many of them somebody waits for.
    pub const fn awaited(&self) -> usize {
        self.awaited
    }

    /// When the oldest was published that somebody waits for.
    pub fn oldest_awaited_ms(&self) -> Option<u64> {
        self.list.iter().find(|flight| !flight.tickets.is_empty()).map(|flight| flight.at_ms)
    }

    /// When the oldest was published that neither it nor a later one was acknowledged.
    pub fn oldest_unacknowledged_ms(&self) -> Option<u64> {
        let mut flights = self.list.iter();
        flights.find(|flight| flight.number > self.acknowledged).map(|flight| flight.at_ms)
    }

    /// The server has answered for this record, or does not answer any more.
    pub fn acknowledge(&mut self, number: u64) {
        self.acknowledged = self.acknowledged.max(number);
    }

    /// The newest record of the stream is this one. Who has stored a record behind it has lost it.
    pub fn mark_lost(&mut self, newest: Position) {
        for flight in &mut self.list {
            flight.is_in_hole |= flight.stored.is_some_and(|at| at > newest.sequence);
        }
    }

    pub fn get_mut(&mut self, number: u64) -> Option<&mut Flight<T>> {
        let at = self.find(number)?;
        self.list.get_mut(at)
    }

    pub fn remove(&mut self, number: u64) -> Option<Flight<T>> {
        let flight = self.list.remove(self.find(number)?)?;
        self.awaited -= usize::from(!flight.tickets.is_empty());
        Some(flight)
    }

    /// Removes those whose fate is decided by `is_decided`.
    pub fn remove_if(&mut self, is_decided: impl Fn(&Flight<T>) -> bool) -> Vec<Flight<T>> {
        if !self.list.iter().any(&is_decided) {
            return Vec::new();
        }
        let (removed, kept): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.list).into_iter().partition(is_decided);
        self.list = kept;
        self.awaited -= removed.iter().filter(|flight| !flight.tickets.is_empty()).count();
        removed.into()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Flight<T>> {
        self.list.iter_mut()
    }

    fn find(&self, number: u64) -> Option<usize> {
        self.list.binary_search_by_key(&number, |flight| flight.number).ok()
    }
}

//! The sweep: a pass over the connections in which each gets all that it lacks in one write.

use std::ops::Range;

use crate::feed::{Encoding, Piece, Pieces, Progress, Slices};
use crate::server::shard::connection::{FeedState, Stream};
use crate::server::shard::table::{ROWS_PER_TURN, Table, Turn};
use crate::server::snapshot::DETACHED;

/// What a connection with this cursor lacks.
struct Missing<'a> {
    cursor: u64,
    slices: Slices<'a>,
    messages: u64,
}

impl Default for Missing<'_> {
    fn default() -> Self {
        Self { cursor: DETACHED, slices: Slices::default(), messages: 0 }
    }
}

impl<'a> Missing<'a> {
    fn new(view: &'a Pieces, encoding: Encoding, cursor: u64) -> Self {
        let end = view.end().unwrap_or(cursor);
        let messages = view.messages_before(end).saturating_sub(view.messages_before(cursor));
        // Between two sweeps a connection has whole messages only.
        let slices = view.slices(encoding, Progress { cursor, event_bytes: 0 });
        Self { cursor, slices, messages }
    }
}

impl<S: Stream> Table<S> {
    /// Fetches the new part of the feed, closes the connections that the tail has passed,
    /// and starts a sweep if there is something to send.
    pub(crate) fn fetch_feed(&mut self, turn: &mut Turn<'_>) {
        let floor = turn.room.fetch(self.shard, &mut self.view);
        self.close_passed(floor, turn);
        turn.room.gate().retain_from(self.shard, floor);
        if self.sweep_end.is_none() {
            self.start_sweep(turn);
        }
    }

    /// The position up to which this shard has fetched the feed.
    pub(crate) fn view_end(&self) -> u64 {
        self.view.end().unwrap_or(self.swept)
    }

    /// Visits the next connections.
    pub(crate) fn sweep(&mut self, turn: &mut Turn<'_>) {
        let Some(sweep_end) = self.sweep_end else { return };
        let (mut gone, mut short) = (Vec::new(), Vec::new());
        let view_end = self.view_end();
        // Neighbours usually have the same cursor, and so lack the same bytes.
        let mut missing = [Missing::default(), Missing::default()];
        let start = self.sweep_row;
        let end = self.connections.len().min(start + ROWS_PER_TURN);
        for (row, connection) in self.connections.iter_mut().enumerate().take(end).skip(start) {
            if connection.state != FeedState::Swept {
                continue;
            }
            let missing = &mut missing[connection.encoding as usize];
            if connection.cursor != missing.cursor {
                *missing = Missing::new(&self.view, connection.encoding, connection.cursor);
            }
            let Missing { cursor, slices, messages } = &*missing;
            if slices.bytes == 0 {
                continue;
            }
            match connection.write_slices(slices, &self.view) {
                Ok(written) if written == slices.bytes && connection.cursor == view_end => {
                    self.counters.deliveries += messages;
                    self.counters.bytes_sent += slices.bytes as u64;
                }
                Ok(written) => {
                    let complete = self.view.messages_before(connection.cursor)
                        - self.view.messages_before(*cursor);
                    self.counters.deliveries += complete;
                    self.counters.bytes_sent += written as u64;
                    connection.state = FeedState::Lagging;
                    self.cold[row].start_lagging(self.ms);
                    let id = self.cold[row].id;
                    self.lagging.insert((connection.cursor, id));
                    short.push(id);
                }
                Err(error) => {
                    gone.push((self.cold[row].id, error));
                    continue;
                }
            }
            let is_complete = connection.cursor == view_end;
            assert!(is_complete || connection.state != FeedState::Swept, "a sweep leaves no gap");
        }
        self.sweep_row = end;
        for (id, error) in gone {
            if let Some(&row) = self.rows.get(&id) {
                self.count_loss(row, &error);
                self.disconnect(row);
            }
        }
        // The socket would block, or one write could not hold all: the latter goes on here.
        for id in short {
            self.write_missing(id, turn);
        }
        if self.close_reason.is_some() {
            self.close_complete(start..self.sweep_row, turn);
        }
        if self.sweep_row < self.connections.len() {
            return;
        }
        if sweep_end > self.swept {
            self.swept_ms = self.ms;
            self.measure(sweep_end, turn);
        }
        self.swept = sweep_end;
        self.view.forget_before(sweep_end);
        self.sweep_end = None;
        self.start_sweep(turn);
    }

    /// Closes those of the rows that have the whole feed.
    fn close_complete(&mut self, rows: Range<usize>, turn: &mut Turn<'_>) {
        let is_complete = |row: &usize| {
            matches!(self.connections[*row].state, FeedState::Swept | FeedState::Early)
        };
        let ids: Vec<u64> = rows.filter(is_complete).map(|row| self.cold[row].id).collect();
        for id in ids {
            self.write_missing(id, turn);
        }
    }

    /// Starts a sweep if the view holds something that was not swept yet.
    fn start_sweep(&mut self, turn: &Turn<'_>) {
        if self.view_end() > self.swept {
            self.sweep_row = 0;
            self.sweep_end = Some(self.view_end());
            self.sweep_began_us = (turn.clock_us)();
        }
    }

    /// Measures the sweep that has just ended.
    fn measure(&mut self, sweep_end: u64, turn: &Turn<'_>) {
        if self.connections.is_empty() {
            return;
        }
        let sweep_us = (turn.clock_us)().saturating_sub(self.sweep_began_us);
        self.counters.histograms.sweep_us(sweep_us, 1);
        let now_ns = (turn.time_of_day)().nanos();
        let swept = self.swept;
        let is_new = |piece: &&Piece| piece.start >= swept && piece.end() <= sweep_end;
        for piece in self.view.iter().filter(is_new) {
            // The messages of a piece were stamped together.
            let delay_us = now_ns.saturating_sub(piece.last_tim.nanos()) / 1000;
            self.counters.histograms.delivery_us(delay_us, piece.messages.into());
        }
    }
}

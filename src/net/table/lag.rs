//! Connections outside the sweep: own frames, lagging listeners, lost places.

use super::super::connection::{
    AfterClose, Closing, DETACHED, State, Stream, Wrote, messages_before,
};
use super::{READING_MS, Table, Turn};
use crate::feed::Pieces;
use crate::wire::close::Close;

/// How much a lagging connection is given at once.
const CATCH_UP_BYTES: usize = 256 * 1024;

impl<S: Stream> Table<S> {
    /// Writes all that a connection outside the sweep lacks, until its socket
    /// would block; then it is lagging. Whoever has everything joins the sweep.
    pub(super) fn serve(&mut self, id: u64, turn: &mut Turn<'_>) {
        while let Some(&row) = self.rows.get(&id) {
            let connection = &mut self.connections[row];
            let before = connection.cursor;
            let end = turn.room.end();
            // What is in the sweep is at a frame boundary, and speaks for itself.
            let outside = connection.state != State::Swept && before < end;
            let pieces = match outside {
                true => turn.room.missed(before, CATCH_UP_BYTES),
                false => Pieces::default(),
            };
            if outside && pieces.is_empty() {
                self.lose_place(row, &pieces, turn);
                continue;
            }
            let Ok((wrote, messages)) = connection.write(&pieces) else {
                return self.remove(row);
            };
            self.tally.deliveries += messages;
            self.tally.bytes_sent += connection.cursor - before;
            self.lagging.remove(&(before, id));
            self.reading.remove(&(before, id));
            if wrote == Wrote::Blocked {
                if connection.state == State::Swept {
                    connection.state = State::Lagging;
                }
                let (cursor, details) = (connection.cursor, &mut self.details[row]);
                if cursor != DETACHED {
                    self.lagging.insert((cursor, id));
                }
                if connection.state == State::Lagging {
                    if cursor > before && turn.room.is_far_behind(before) {
                        details.read_ms = turn.now.ms;
                    }
                    if details.read_ms + READING_MS > turn.now.ms {
                        self.reading.insert((cursor, id));
                    }
                }
                return;
            }
            match connection.closing() {
                Some(Closing { then: AfterClose::Drop, .. }) => return self.remove(row),
                Some(_) => return,
                None if connection.cursor < end && outside => {}
                None => {
                    connection.state = State::Swept;
                    match self.farewell.clone().flatten() {
                        Some(close) => self.close(row, &close, AfterClose::AwaitClose, turn.now),
                        None => return,
                    }
                }
            }
        }
    }

    /// Writes the own frames of a connection, unless its socket would block.
    pub(super) fn speak(&mut self, id: u64, turn: &mut Turn<'_>) {
        let Some(&row) = self.rows.get(&id) else { return };
        let connection = &self.connections[row];
        let silent = !connection.has_to_say() && connection.closing().is_none();
        if !silent && connection.state != State::Lagging {
            self.serve(id, turn);
        }
    }

    /// Closes the lagging connections whose cursor is before `floor`.
    pub(super) fn pass(&mut self, floor: u64, turn: &mut Turn<'_>) {
        while let Some(&(cursor, id)) = self.lagging.first().filter(|first| first.0 < floor) {
            let Some(&row) = self.rows.get(&id) else { return };
            let pieces = turn.room.missed(cursor, 1);
            self.lose_place(row, &pieces, turn);
            self.serve(id, turn);
        }
    }

    /// The tail has passed a connection: it gets the rest of the frame that it
    /// has begun, which is in `pieces`, and a close frame.
    pub(super) fn lose_place(&mut self, row: usize, pieces: &Pieces, turn: &mut Turn<'_>) {
        let (connection, id) = (&mut self.connections[row], self.details[row].id);
        self.reading.remove(&(connection.cursor, id));
        let behind = turn.room.messages() - messages_before(pieces, connection.cursor);
        self.lagging.remove(&(connection.cursor, id));
        connection.detach(pieces);
        if connection.closing().is_none() {
            self.tally.too_slow += 1;
            self.close(row, &Close::too_slow(behind), AfterClose::AwaitClose, turn.now);
        }
    }
}

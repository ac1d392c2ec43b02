//! The commands of a shard.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::chat::{ActDone, AddressBlock, ModAction, ModActionError};
use crate::room::{Outcome, TrafficRates, TrafficTotals};
use crate::server::admission::connection_counts::ConnectionPermit;
use crate::server::client_list::ClientChunk;
use crate::server::kick::Kick;
use crate::server::shard::cold_state::NewConnection;
use crate::server::shard::post::Post;
use crate::server::snapshot::ConnectionSnapshot;
use crate::server::socket::Socket;
use crate::ws::close::Close;

/// Dropped when the command is carried out; nothing is ever sent.
pub(crate) type Done = mpsc::Sender<()>;

/// A command for a shard.
pub(crate) enum ShardCommand {
    /// Adopts a connection, with the bytes that followed its handshake.
    Adopt { socket: Socket, connection: NewConnection, received: Vec<u8> },
    /// Continues a connection of an earlier process.
    Resume { socket: Socket, snapshot: ConnectionSnapshot, permit: ConnectionPermit },
    /// Handles and answers a message that was sent by POST.
    Post(Post),
    /// Removes a message that was sent by POST, and withdrawn.
    RemovePost(u64),
    /// Tells the sender of a message what became of it.
    Settle(u64, Outcome),
    /// Tells a moderator what became of an action.
    ActDone { id: u64, action: ModAction, done: Result<ActDone, ModActionError> },
    /// Uses the newest settings.
    ReloadSettings(Done),
    /// Handles no more messages.
    StopReading(Done),
    /// Closes each connection as soon as it has the whole feed. Done when all are gone.
    CloseAll(Close, Done),
    /// Handles all that has arrived, and then only waits for more commands.
    Pause(Done),
    /// Gives all connections away, and ends the shard.
    HandOver(mpsc::UnboundedSender<Vec<(ConnectionSnapshot, Socket)>>),
    /// Barrier: the shard drops the sender when it handles this.
    Barrier(Done),
    /// Closes connections in the rows before `before`.
    Kick { kick: Arc<Kick>, before: usize },
    /// Lists some of the connections in the rows before `before`.
    List { before: usize, answer: oneshot::Sender<ClientChunk> },
    /// Reports what the addresses send.
    Traffic(oneshot::Sender<Vec<(AddressBlock, TrafficTotals, TrafficRates)>>),
}

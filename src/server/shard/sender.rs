//! Who has sent a message, and what becomes of it.

use crate::chat::{Actor, Admission, ChatRequest, Now, Refusal, Refused, notice};
use crate::room::{Account, MessageSender, Participant};
use crate::server::client_log::ClientEvent;
use crate::server::shard::cold_state::ColdState;
use crate::server::shard::connection::{Connection, Stream};
use crate::server::shard::post::{PendingPost, Posts};
use crate::server::shard::table::{PendingAction, Turn};
use crate::server::shard::tally::{Tally, add_refused};
use crate::server::socket::Peer;
use crate::ws::frame::Opcode;

/// A connection whose message is handled.
pub(super) struct Sender<'a, S> {
    pub connection: &'a mut Connection<S>,
    pub cold: &'a mut ColdState,
    pub tally: Tally<'a>,
}

/// The sender of a held message.
pub(super) enum HeldSender<'a, S> {
    Connection(Sender<'a, S>),
    /// The message came by POST and has this id.
    Post(u64, &'a mut Posts, Tally<'a>),
}

impl ColdState {
    /// The account that its next message counts for, as far as it is known.
    pub(super) fn account(&mut self, turn: &Turn<'_>) -> &Account {
        let peer = self.peer();
        account(&mut self.participant, peer, turn)
    }
}

impl PendingPost {
    /// The account that its message counts for, as far as it is known.
    pub(super) fn account(&mut self, turn: &Turn<'_>) -> &Account {
        account(&mut self.participant, self.peer, turn)
    }
}

impl<S: Stream> Sender<'_, S> {
    /// Handles a message whose bytes are reserved at the gate. Returns whether a token
    /// was verified. A connection is proven while its messages are sent without that,
    /// and no bad token came since.
    pub fn handle(&mut self, text: &str, turn: &mut Turn<'_>) -> bool {
        let Self { connection, cold, .. } = self;
        let peer = cold.peer();
        let (request, token_verified) = check(text, None, &mut cold.participant, peer, turn);
        let is_message = matches!(request, Ok(ChatRequest::Say(_)));
        connection.proven = !token_verified && (connection.proven || is_message);
        match request {
            Ok(ChatRequest::Say(message)) => {
                let speaker = cold.participant.speaker().id(message.usr(), peer.block());
                let sender = MessageSender { id: cold.id, wants_text: false, speaker };
                let bytes = turn.batch.push(sender, |out| message.encode(out));
                self.tally.counters.histograms.message_bytes(bytes as u64, 1);
                if !turn.batch.is_remote() {
                    self.count_sent(turn.now);
                }
            }
            Ok(ChatRequest::Moderate(action)) => {
                let actor = moderator(&cold.participant);
                turn.pending.push(PendingAction { id: cold.id, action, actor });
            }
            Err(refused) => self.refuse(refused, turn),
        }
        token_verified
    }

    /// Counts a message that is sent.
    pub fn count_sent(&mut self, now: Now) {
        self.cold.participant.traffic_mut().add_message(now.ms);
        self.tally.sent(self.cold.peer().block(), now.ms);
    }

    /// Counts and logs a message that is not sent, and tells the client why.
    pub fn refuse(&mut self, refused: Refused, turn: &Turn<'_>) {
        let (peer, id) = (self.cold.peer(), self.cold.id);
        add_refused(&mut self.cold.participant, refused, turn.now.ms);
        self.tally.refused(refused, peer.block(), turn.now.ms);
        turn.client_log.note(ClientEvent::Refused(refused.refusal), peer, Some(id), turn.now.ms);
        self.notify(refused, turn.now);
    }

    /// Sends a notice to the client unless it has got too many. What became of a message that
    /// is not at fault is always told: as much as was on its way waits for a client that does
    /// not read.
    pub fn notify(&mut self, refused: Refused, now: Now) {
        let mut text = Vec::new();
        if matches!(refused.refusal, Refusal::Unavailable | Refusal::Unknown) {
            notice(refused, now.tim, &mut text);
            self.connection.queue_answer(&text);
            return;
        }
        // Before the text is made, so that a flood of bad messages costs no text.
        let may = self.cold.participant.speaker_mut().take_notice(now.ms);
        if may {
            notice(refused, now.tim, &mut text);
        }
        if !may || !self.connection.queue_frame(Opcode::Text, &text) {
            self.tally.counters.notices_dropped += 1;
        }
    }
}

impl<S: Stream> HeldSender<'_, S> {
    /// The account that the next message counts for. `None` if the message was withdrawn.
    pub fn account(&mut self, turn: &Turn<'_>) -> Option<&Account> {
        match self {
            Self::Connection(sender) => Some(sender.cold.account(turn)),
            Self::Post(id, posts, _) => posts.get_mut(*id).map(|post| post.account(turn)),
        }
    }

    /// Whether its own frames should be written before a message is handled.
    pub fn owes_frames(&self) -> bool {
        match self {
            Self::Connection(sender) => sender.connection.owes_frames(),
            Self::Post(..) => false,
        }
    }

    /// Whether its messages need no verification.
    pub fn is_proven(&self) -> bool {
        match self {
            Self::Connection(sender) => sender.connection.proven,
            Self::Post(..) => false,
        }
    }

    /// Whether the next message has to be handled; from then on it cannot be withdrawn.
    pub fn claim(&mut self) -> bool {
        match self {
            Self::Connection(_) => true,
            Self::Post(id, posts, _) => posts.get_mut(*id).is_some_and(|post| post.claim.take()),
        }
    }

    /// As [`Sender::handle`].
    pub fn handle(&mut self, text: &str, turn: &mut Turn<'_>) -> bool {
        match self {
            Self::Connection(sender) => sender.handle(text, turn),
            Self::Post(id, posts, tally) => handle_post(text, *id, posts, tally, turn),
        }
    }
}

/// Handles a message that came by POST. Every refusal is answered, without a budget: the
/// client has sent a request for each.
fn handle_post(
    text: &str,
    id: u64,
    posts: &mut Posts,
    tally: &mut Tally<'_>,
    turn: &mut Turn<'_>,
) -> bool {
    let Some(post) = posts.get_mut(id) else { return false };
    let PendingPost { peer, participant, bearer, .. } = post;
    let address = peer.block();
    tally.addresses.of(address, turn.now.ms).add_received(text.len() as u64, turn.now.ms);
    let (request, token_verified) = check(text, bearer.as_deref(), participant, *peer, turn);
    match request {
        Ok(ChatRequest::Say(message)) => {
            let speaker = participant.speaker().id(message.usr(), address);
            let sender = MessageSender { id, wants_text: true, speaker };
            let bytes = turn.batch.push(sender, |out| message.encode(out));
            tally.counters.histograms.message_bytes(bytes as u64, 1);
            posts.await_outcome(id);
        }
        Ok(ChatRequest::Moderate(action)) => {
            let actor = moderator(participant);
            turn.pending.push(PendingAction { id, action, actor });
            posts.await_outcome(id);
        }
        Err(refused) => {
            let answer = tally.refused_post(refused, *peer, turn.client_log, turn.now);
            post.answer(answer);
        }
    }
    token_verified
}

/// The request in a text, or why it is refused, and whether a token was verified.
fn check<'t>(
    text: &'t str,
    bearer: Option<&str>,
    participant: &mut Participant,
    peer: Peer,
    turn: &Turn<'_>,
) -> (Result<ChatRequest<'t>, Refused>, bool) {
    let (address, limit) = (peer.block(), turn.rules.rate_limit());
    let speaker = participant.speaker_mut();
    let Admission { request, token_verified } =
        turn.rules.admit(text, bearer, speaker, turn.now.tim);
    let request = request.map_err(Refused::from).and_then(|request| {
        turn.room.check_now(&request, participant, address, limit, turn.now)?;
        Ok(request)
    });
    (request, token_verified)
}

fn account<'a>(participant: &'a mut Participant, peer: Peer, turn: &Turn<'_>) -> &'a Account {
    turn.room.account(participant, peer.block(), turn.rules.rate_limit(), turn.now.ms)
}

/// The moderator that requests an action.
fn moderator(participant: &Participant) -> Actor {
    let speaker = participant.speaker();
    Actor::Moderator { usr: speaker.name().to_owned(), sub: speaker.sub().map(str::to_owned) }
}

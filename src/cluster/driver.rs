//! The driver: joins a node with the engine and with the room. One task, which waits for
//! nothing but its queues.

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use super::availability::Availability;
use super::engine::{AwayReason, Connection, EngineEvent};
use super::kicks::Kicks;
use super::log::{Action, LoggedAct, Node, Report};
use super::moderation_sync::PlacedAct;
use super::names::NodeName;
use super::nats::{Engine, KeeperEvent};
use super::room_feed::RoomFeed;
use super::room_moderation::{Progress, RoomModeration};
use super::state::ClusterState;
use crate::chat::{Actor, ModAction, ModActionError, Refusal, Refused, Tim};
use crate::feed::StreamMark;
use crate::log_limit::LogLimit;
use crate::room::{ActReply, OrderState, Outcome, RemoteOrder, Submission, Ticket};
use crate::server::ShardPool;

/// How long messages wait after the start until it is known whether they can be ordered.
const DECIDE_MS: u64 = 3_000;
/// How long a stop waits for the outcomes of the messages that are on their way.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);
/// The most events that are handled before the feed is appended to.
const EVENTS_PER_ROUND: usize = 64;
/// The time between two log lines about the same kind of problem in the stream.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// The way of a room to its driver.
#[derive(Debug)]
pub struct OrderQueue(mpsc::UnboundedSender<Request>);

/// The other end of an [`OrderQueue`].
pub struct Requests(mpsc::UnboundedReceiver<Request>);

/// What a room wants ordered.
enum Request {
    Messages(Vec<Submission>),
    Act(LoggedAct, ActReply),
}

/// Who waits for an outcome.
enum Waiter {
    Sender(Ticket),
    Act(ActReply),
}

impl fmt::Debug for Waiter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sender(ticket) => write!(out, "{ticket:?}"),
            Self::Act(_) => out.write_str("Act"),
        }
    }
}

impl OrderQueue {
    /// A queue and its other end. The gate bounds what waits in it.
    pub fn new() -> (Arc<Self>, Requests) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Arc::new(Self(sender)), Requests(receiver))
    }
}

impl RemoteOrder for OrderQueue {
    fn submit(&self, messages: Vec<Submission>) {
        // Without a driver the process is ending.
        let _ = self.0.send(Request::Messages(messages));
    }

    fn submit_act(&self, action: ModAction, actor: Actor, reply: ActReply) {
        let request = Request::Act(LoggedAct { action, actor }, reply);
        if let Err(mpsc::error::SendError(Request::Act(_, reply))) = self.0.send(request) {
            reply(Err(ModActionError::Unavailable));
        }
    }
}

/// A running driver.
pub struct Driver {
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

/// The task.
struct Task {
    node: Node<Waiter>,
    engine: Engine,
    requests: mpsc::UnboundedReceiver<Request>,
    feed: RoomFeed,
    pool: ShardPool,
    availability: Availability,
    state: Arc<ClusterState>,
    moderation: RoomModeration,
    kicks: Arc<Kicks>,
    started: Instant,
    order: OrderState,
    /// Takes no more messages.
    is_stopping: bool,
    /// Told when it is known whether messages can be ordered. Until then they wait.
    decide: Option<oneshot::Sender<()>>,
    bad_records: LogLimit,
    divergences: LogLimit,
}

impl Driver {
    /// Starts the driver on the runtime of the caller. The receiver is told when it is known
    /// whether messages can be ordered.
    pub fn start(
        name: NodeName,
        engine: Engine,
        Requests(requests): Requests,
        pool: ShardPool,
        state: Arc<ClusterState>,
        moderation: RoomModeration,
        kicks: Arc<Kicks>,
    ) -> (Self, oneshot::Receiver<()>) {
        let (decide, decided) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let room = pool.room();
        let start = room.stream_mark();
        let mut node = Node::new(name, state.process().incarnation, start);
        let last = room.last_tim();
        if start.is_none() && last > Tim::default() {
            node.joins_after(last);
        }
        let task = Task {
            node,
            engine,
            requests,
            feed: RoomFeed::new(pool.clone()),
            pool,
            availability: Availability::new(Arc::clone(&state)),
            state,
            moderation,
            kicks,
            started: Instant::now(),
            order: OrderState::Full,
            is_stopping: false,
            decide: Some(decide),
            bad_records: LogLimit::new(REPORT_INTERVAL),
            divergences: LogLimit::new(REPORT_INTERVAL),
        };
        tokio::spawn(async move {
            task.run(stopped).await;
            drop(end);
        });
        (Self { stop, ended }, decided)
    }

    /// Takes no more messages, and returns as soon as the outcome of each message is known or
    /// has been waited for long enough. Nothing is appended to the feed after that.
    pub async fn finish(self) {
        // The task may have ended: nothing is left to do then.
        let _ = self.stop.send(());
        let _ = self.ended.await;
    }
}

impl Task {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let (mut finish_by, started) = (None, self.started);
        let after = |ms| started + Duration::from_millis(ms);
        loop {
            self.drain();
            if finish_by.is_some_and(|by| self.node.pending() == 0 || Instant::now() >= by) {
                break;
            }
            let may_append = self.pool.room().gate().may_append_or_wait();
            tokio::select! {
                request = self.requests.recv(), if self.decide.is_none() && self.node.has_room() => match request {
                    Some(request) => self.submit(request),
                    None => break,
                },
                Some(event) = self.moderation.next_event() => self.found(event),
                event = self.engine.next_event(!may_append), if !self.node.is_full() => match event {
                    Some(event) => self.handle(event, may_append),
                    None => break,
                },
                () = self.pool.may_append(), if !may_append => {}
                () = due_at(self.node.due_ms().map(after)) => {
                    let now_ms = self.now_ms();
                    self.node.tick(now_ms);
                }
                () = due_at(finish_by) => {}
                () = due_at(self.decide.as_ref().map(|_| after(DECIDE_MS))) => self.decided(OrderState::Away),
                _ = &mut stopped, if finish_by.is_none() => {
                    // From now on messages wait; a handover passes them on.
                    self.set_order(OrderState::Full);
                    self.is_stopping = true;
                    finish_by = Some(Instant::now() + FINISH_TIMEOUT);
                }
            }
        }
        self.node.abandon();
        self.drain();
        self.requests.close();
        while let Ok(request) = self.requests.try_recv() {
            refuse(&self.pool, request);
        }
    }

    fn submit(&mut self, request: Request) {
        let now_ms = self.now_ms();
        match request {
            Request::Act(act, reply) if !self.moderation.has_place(&act.action) => {
                reply(Err(ModActionError::TooMany));
            }
            Request::Messages(messages) => {
                let waiting = messages.into_iter();
                let messages = waiting.map(|it| (it.message, Waiter::Sender(it.ticket)));
                self.node.submit(messages.collect(), now_ms);
            }
            Request::Act(act, reply) => self.node.submit_act(&act, Waiter::Act(reply), now_ms),
        }
    }

    /// Handles an event and some of those that wait, if the feed may grow: it grows by more
    /// than one record at a time then.
    fn handle(&mut self, event: EngineEvent, may_append: bool) {
        let now_ms = self.now_ms();
        self.pass_on(event, now_ms);
        let more = if may_append { EVENTS_PER_ROUND - 1 } else { 0 };
        for _ in 0..more {
            if self.node.is_full() {
                break;
            }
            let Some(event) = self.engine.try_next_event() else { break };
            self.pass_on(event, now_ms);
        }
    }

    /// Nothing is read before it is known who is muted.
    fn pass_on(&mut self, event: EngineEvent, now_ms: u64) {
        if let EngineEvent::Connected(connection) = &event
            && self.moderation.connected(connection)
        {
            self.node.hold(None);
        }
        self.node.event(event, now_ms);
    }

    /// Takes what the key-value bucket has.
    fn found(&mut self, event: KeeperEvent) {
        let position = self.node.mark().map(|mark| mark.position);
        match self.moderation.handle(event, position) {
            Progress::Known(unjudged) => self.node.release(unjudged),
            Progress::Failed(why) => self.node.hold(Some(why)),
            Progress::Nothing => {}
        }
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Does what the node wants done.
    fn drain(&mut self) {
        let room = self.pool.room();
        while let Some(action) =
            self.node.pop(&|speaker, tim| room.moderation().check(speaker, tim))
        {
            self.carry_out(action);
        }
        self.feed.flush();
        if self.order != OrderState::Away && self.decide.is_none() {
            let has_room = self.node.has_room();
            self.set_order(if has_room { OrderState::Ready } else { OrderState::Full });
        }
        let sequence = self.node.mark().map_or(0, |mark| mark.position.sequence);
        self.state.progress(sequence, self.node.pending() as u64);
    }

    fn carry_out(&mut self, action: Action<Waiter>) {
        match action {
            Action::Publish(publish) => {
                // The queue has a place for each record that may be on its way. A record that
                // finds none is never published, so its time passes.
                let _ = self.engine.publish(publish);
            }
            Action::CompleteSince(tim) => {
                let is_whole = self.node.mark().is_none_or(|mark| mark.position.sequence == 0);
                self.feed.complete_since(tim, is_whole);
            }
            Action::Append { messages, mark, is_backlog } => {
                self.feed.append(&messages, mark, is_backlog);
                self.moderation.read_up_to(mark.position);
            }
            Action::Act { act, tim, mark, ticket, is_backlog } => {
                self.act(act, tim, mark, ticket, is_backlog);
            }
            Action::Gap { after, before } => self.feed.gap(after, before),
            Action::Settle(waiter, outcome) => self.settle(waiter, outcome),
            Action::Availability(availability) => self.availability(&availability),
            Action::Report(report) => {
                if let Report::Hole(position) = report {
                    // A mute can have been among what is lost.
                    self.moderation.look_for(position);
                    self.node.hold(None);
                }
                self.report(&report);
            }
        }
    }
}

impl Task {
    fn act(
        &mut self,
        act: LoggedAct,
        tim: Tim,
        mark: StreamMark,
        ticket: Option<Waiter>,
        is_backlog: bool,
    ) {
        let position = mark.position;
        let ticket = ticket.and_then(|waiter| match waiter {
            Waiter::Act(reply) => Some(reply),
            Waiter::Sender(_) => None,
        });
        if let ModAction::Kick { target } = &act.action
            && !is_backlog
        {
            let kicked = self.pool.kicked_from_now(target.clone());
            let (process, nodes) = (self.state.process().clone(), self.state.processes());
            let reply = self.kicks.reply(position, process, nodes, kicked, ticket);
            self.feed.kick(target.clone(), act.actor, mark, reply);
            return self.moderation.read_up_to(position);
        }
        let is_new = self.moderation.is_new(position);
        let done = self.feed.act(&act.action, &act.actor, mark, is_backlog, is_new);
        if act.action.is_lasting() && is_new && done.is_ok() {
            self.moderation.carried_out(PlacedAct { position, act, tim });
        }
        self.moderation.read_up_to(position);
        if let Some(reply) = ticket {
            reply(done);
        }
    }

    fn settle(&mut self, waiter: Waiter, outcome: Result<Bytes, Refused>) {
        match waiter {
            Waiter::Sender(ticket) => {
                self.feed.settle(ticket, outcome.map_or_else(Outcome::Refused, Outcome::Sent));
            }
            Waiter::Act(reply) => reply(Err(match outcome {
                Err(Refused { refusal: Refusal::Unknown, .. }) | Ok(_) => ModActionError::Unknown,
                Err(_) => ModActionError::Unavailable,
            })),
        }
    }

    fn availability(&mut self, availability: &Result<Connection, AwayReason>) {
        self.availability.changed(availability);
        match availability {
            Ok(_) => self.decided(OrderState::Ready),
            // It ends soon.
            Err(AwayReason::Reading(_)) if self.decide.is_some() => {}
            Err(_) => self.decided(OrderState::Away),
        }
    }

    fn decided(&mut self, order: OrderState) {
        self.set_order(order);
        // Nobody may wait for it.
        let _ = self.decide.take().map(|decide| decide.send(()));
    }

    fn set_order(&mut self, order: OrderState) {
        if self.order != order && !self.is_stopping {
            self.order = order;
            self.pool.set_order_state(order);
        }
    }

    fn report(&self, report: &Report) {
        let now = Instant::now().into_std();
        match report {
            Report::Bad(position, why) => {
                self.state.count_bad_record();
                if self.bad_records.problem(now) {
                    let sequence = position.sequence;
                    warn!(sequence, %why, "skipped message {sequence} of the stream: {why}");
                }
            }
            Report::Divergence(divergence) => {
                self.state.count_divergence();
                if self.divergences.problem(now) {
                    error!(?divergence, "another node has other times: {divergence:?}");
                }
            }
            Report::Hole(position) => {
                self.state.count_hole();
                let sequence = position.sequence;
                error!(sequence, "messages before {sequence} in the stream are lost");
            }
            Report::Alone(position) => {
                let sequence = position.sequence;
                info!(sequence, "no other node knows the times at {sequence} in the stream");
            }
        }
    }
}

/// Refuses what was not submitted.
fn refuse(pool: &ShardPool, request: Request) {
    match request {
        Request::Messages(messages) => {
            let outcome = || Outcome::Refused(Refused::unavailable());
            pool.settle(messages.into_iter().map(|it| (it.ticket, outcome())));
        }
        Request::Act(_, reply) => reply(Err(ModActionError::Unavailable)),
    }
}

/// Returns at this time; without a time never.
async fn due_at(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

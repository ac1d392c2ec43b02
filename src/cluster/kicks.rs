//! Kicks, until the nodes have told how many connections they have met.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::kick_answers::{KickAnswer, KickAnswers, KickTotal};
use super::presence_table::NodeProcess;
use crate::chat::{ActDone, ModActionError};
use crate::feed::Position;
use crate::mutex::lock;
use crate::room::ActReply;
use crate::server::KickedSpeaker;

/// How long a kick waits for the answers of other nodes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Kicked speakers of other nodes that wait to be remembered.
const LEARNED_MAX: usize = 256;
/// Answers of this process that wait to be published.
const OUTGOING_MAX: usize = 256;

/// The answers to kicks, those of others and those of this process.
///
/// # Examples
///
/// ```
/// use wschat::cluster::{KickAnswer, Kicks, NodeProcess};
/// use wschat::feed::Position;
/// let (kicks, _outgoing) = Kicks::new();
/// let process = NodeProcess { node: "web1".into(), incarnation: 7 };
/// let (position, kicked) = (Position { created: 1, sequence: 5 }, Vec::new());
/// kicks.answer(KickAnswer { position, process: process.clone(), closed: 3, kicked });
/// let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
/// assert_eq!(runtime.block_on(kicks.total(position, &[process])).closed, 3);
/// ```
#[derive(Debug)]
pub struct Kicks {
    answers: Mutex<KickAnswers>,
    changed: watch::Sender<()>,
    outgoing: mpsc::Sender<KickAnswer>,
    /// Who wants to know whom other nodes have kicked.
    learner: OnceLock<mpsc::Sender<KickedSpeaker>>,
}

impl Kicks {
    /// The receiver gets the answers of this process, to publish them.
    pub fn new() -> (Self, mpsc::Receiver<KickAnswer>) {
        let (outgoing, answers) = mpsc::channel(OUTGOING_MAX);
        let kicks = Self {
            answers: Mutex::default(),
            changed: watch::Sender::new(()),
            outgoing,
            learner: OnceLock::new(),
        };
        (kicks, answers)
    }

    /// Notes and publishes the answer of this process.
    pub fn answer(&self, answer: KickAnswer) {
        // Who waits for it does so for a moment only, so an answer without a place is lost.
        let _ = self.outgoing.try_send(answer.clone());
        lock(&self.answers).note(answer);
        self.changed.send_replace(());
    }

    /// What is to be told how many connections the kick at `position` has closed on this node: it
    /// passes that on to the others, with those whom it has `kicked`, and if somebody waits, adds
    /// up what all `nodes` tell.
    ///
    /// # Panics
    ///
    /// Without a runtime.
    pub fn reply(
        self: &Arc<Self>,
        position: Position,
        process: NodeProcess,
        nodes: Vec<NodeProcess>,
        kicked: impl FnOnce() -> Vec<KickedSpeaker> + Send + 'static,
        waiter: Option<ActReply>,
    ) -> ActReply {
        let kicks = Arc::clone(self);
        let (sender, here) = oneshot::channel::<Result<ActDone, ModActionError>>();
        tokio::spawn(async move {
            // Without an answer the process is ending.
            let Ok(Ok(done)) = here.await else { return };
            let closed = done.met.unwrap_or(0);
            kicks.answer(KickAnswer { position, process, closed, kicked: kicked() });
            if let Some(reply) = waiter {
                let KickTotal { closed, silent } = kicks.total(position, &nodes).await;
                reply(Ok(ActDone { silent_nodes: silent, ..ActDone::met(closed) }));
            }
        });
        Box::new(move |done| {
            // The task ends only with the process.
            let _ = sender.send(done);
        })
    }

    /// Reads an answer. Returns whether it is valid.
    pub fn read(&self, message: &[u8]) -> bool {
        let answer = lock(&self.answers).read(message);
        self.changed.send_replace(());
        let is_valid = answer.is_some();
        if let (Some(answer), Some(learner)) = (answer, self.learner.get()) {
            // Without a place it is forgotten: a second kick does not find one who is back.
            answer.kicked.into_iter().for_each(|it| drop(learner.try_send(it)));
        }
        is_valid
    }

    /// Those whom other nodes kick from now on. Only the first call gets some.
    pub fn learn(&self) -> mpsc::Receiver<KickedSpeaker> {
        let (learner, learned) = mpsc::channel(LEARNED_MAX);
        // A second one is dropped.
        let _ = self.learner.set(learner);
        learned
    }

    /// Waits until all of `nodes` have answered to the kick at `position`, but not for long.
    pub async fn total(&self, position: Position, nodes: &[NodeProcess]) -> KickTotal {
        let mut changed = self.changed.subscribe();
        let total = || lock(&self.answers).total(position, nodes);
        // The sender lives as long as this borrow.
        let all = async { while total().silent > 0 && changed.changed().await.is_ok() {} };
        // Who has not answered until then is silent.
        let _ = timeout(ANSWER_TIMEOUT, all).await;
        total()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    fn process(node: &str) -> NodeProcess {
        NodeProcess { node: node.into(), incarnation: 1 }
    }

    const fn at(sequence: u64) -> Position {
        Position { created: 1, sequence }
    }

    fn answer(sequence: u64, node: &str, closed: u64) -> KickAnswer {
        KickAnswer { position: at(sequence), process: process(node), closed, kicked: Vec::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_kick_waits_for_all_nodes_or_for_two_seconds() {
        let (kicks, mut outgoing) = Kicks::new();
        let nodes = ["a", "b"].map(process);
        let start = Instant::now();
        // The other node is quicker.
        assert!(kicks.read(&serde_json::to_vec(&answer(5, "b", 2)).unwrap()));
        assert!(!kicks.read(b"nonsense"));
        let (total, ()) = tokio::join!(kicks.total(at(5), &nodes), async {
            sleep(Duration::from_millis(300)).await;
            kicks.answer(answer(5, "a", 1));
        });
        assert_eq!(total, KickTotal { closed: 3, silent: 0 });
        assert_eq!(start.elapsed(), Duration::from_millis(300));
        assert_eq!(outgoing.recv().await, Some(answer(5, "a", 1)));

        kicks.answer(answer(6, "a", 1));
        assert_eq!(kicks.total(at(6), &nodes).await, KickTotal { closed: 1, silent: 1 });
        assert_eq!(start.elapsed(), Duration::from_millis(2300));

        (0..2 * OUTGOING_MAX).for_each(|_| kicks.answer(answer(7, "a", 1)));
        assert_eq!(outgoing.len(), OUTGOING_MAX);
    }
}

//! The kicks of this process, until the other nodes have told how many connections they have met.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::kick_answers::{KickAnswer, KickAnswers, KickTotal};
use super::presence_table::NodeProcess;
use crate::mutex::lock;

/// How long a kick waits for the answers of other nodes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Answers of this process that wait to be published.
const OUTGOING_MAX: usize = 256;

/// The answers to kicks, those of others and those of this process.
///
/// # Examples
///
/// ```
/// use wschat::cluster::{KickAnswer, Kicks, NodeProcess};
/// let process = NodeProcess { node: "web1".into(), incarnation: 7 };
/// let (kicks, _outgoing) = Kicks::new(process.clone());
/// kicks.open(1);
/// kicks.answer(KickAnswer { origin: process.clone(), number: 1, process: process.clone(), closed: 3 });
/// let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
/// assert_eq!(runtime.block_on(kicks.total(1, &[process])).closed, 3);
/// ```
#[derive(Debug)]
pub struct Kicks {
    answers: Mutex<KickAnswers>,
    changed: watch::Sender<()>,
    outgoing: mpsc::Sender<KickAnswer>,
}

impl Kicks {
    /// The kicks of `process`. The receiver gets the answers to publish for other nodes.
    pub fn new(process: NodeProcess) -> (Self, mpsc::Receiver<KickAnswer>) {
        let (outgoing, answers_out) = mpsc::channel(OUTGOING_MAX);
        let answers = Mutex::new(KickAnswers::new(process));
        (Self { answers, changed: watch::Sender::new(()), outgoing }, answers_out)
    }

    /// Collects the answers to the kick with this number, until [`Self::total`] returns. Comes
    /// before the kick is published, because another node may be quicker than this one.
    pub fn open(&self, number: u64) {
        lock(&self.answers).open(number);
    }

    /// Ends what [`Self::open`] began, if the kick was not published.
    pub fn close(&self, number: u64) {
        lock(&self.answers).close(number);
    }

    /// Notes the answer of this process: to a kick of its own, or to that of another node.
    pub fn answer(&self, answer: KickAnswer) {
        if answer.origin == answer.process {
            lock(&self.answers).note(answer);
            self.changed.send_replace(());
        } else {
            // Its origin waits for a moment only, so an answer that finds no place is lost.
            let _ = self.outgoing.try_send(answer);
        }
    }

    /// Reads the answer of another node.
    pub fn read(&self, message: &[u8]) {
        lock(&self.answers).read(message);
        self.changed.send_replace(());
    }

    /// Waits until all of `nodes` have answered to the kick with this number, but not for long,
    /// and ends it.
    pub async fn total(&self, number: u64, nodes: &[NodeProcess]) -> KickTotal {
        let mut changed = self.changed.subscribe();
        let total = || lock(&self.answers).total(number, nodes);
        let all = async {
            // The sender lives as long as this borrow.
            while total().silent > 0 && changed.changed().await.is_ok() {}
        };
        // Who has not answered until then is counted as silent.
        let _ = timeout(ANSWER_TIMEOUT, all).await;
        let total = total();
        self.close(number);
        total
    }

    /// Answers that were ignored because they are not valid.
    pub fn ignored(&self) -> u64 {
        lock(&self.answers).ignored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn process(node: &str) -> NodeProcess {
        NodeProcess { node: node.into(), incarnation: 1 }
    }

    fn answer(node: &str, closed: u64) -> KickAnswer {
        KickAnswer { origin: process("a"), number: 5, process: process(node), closed }
    }

    #[tokio::test(start_paused = true)]
    async fn a_kick_waits_for_all_nodes_or_for_two_seconds() {
        let (kicks, mut outgoing) = Kicks::new(process("a"));
        let nodes = ["a", "b"].map(process);
        let start = Instant::now();
        kicks.open(5);
        // The other node is quicker.
        kicks.read(&serde_json::to_vec(&answer("b", 2)).unwrap());
        let (total, ()) = tokio::join!(kicks.total(5, &nodes), async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            kicks.answer(answer("a", 1));
        });
        assert_eq!(total, KickTotal { closed: 3, silent: 0 });
        assert_eq!(start.elapsed(), Duration::from_millis(300));

        kicks.open(5);
        kicks.answer(answer("a", 1));
        assert_eq!(kicks.total(5, &nodes).await, KickTotal { closed: 1, silent: 1 });
        assert_eq!(start.elapsed(), Duration::from_millis(2300));
        assert!(outgoing.try_recv().is_err(), "an answer to itself is not published");

        let theirs = KickAnswer { origin: process("b"), ..answer("a", 4) };
        (0..2 * OUTGOING_MAX).for_each(|_| kicks.answer(theirs.clone()));
        assert_eq!(outgoing.len(), OUTGOING_MAX);
        assert_eq!(outgoing.recv().await, Some(theirs));
    }
}

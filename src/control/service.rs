//! The desk: knows how the room is, and has requests carried out.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::chat::{Actor, ModActionError, Moderation, Mute, Refusal, Tim};
use crate::control::meter::{Counts, INTERVAL, Meter};
use crate::control::metrics::{MetricsSnapshot, PolicyStats, text};
use crate::control::moderate::{Decisions, Moderated, Muted};
use crate::control::protocol::{
    Clients, Code, ControlError, RecordStatus, Rejected, Reloaded, Request, Status, ok, sorry,
};
use crate::record::Recorder;
use crate::server::{EpollWatches, Page, Rejection, Settings, ShardPool, Totals};
use crate::worker::on_thread;

/// How long a request may take; a list of a huge room is the longest.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a shard may take for a turn and still be well.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// What only the daemon's own loop can do.
#[derive(Debug)]
pub enum LoopRequest {
    /// Read the configuration again, and say what came of it.
    Reload(oneshot::Sender<Result<Reloaded, ControlError>>),
}

/// What an operator wants to know about the configuration.
#[derive(Clone, Debug)]
pub struct Configured {
    /// 1 at the start, and one more for every other in force.
    pub generation: u64,
    /// When the one in force was loaded.
    pub loaded: DateTime<Utc>,
    /// The newer one that was rejected, if that was the last to be tried.
    pub rejected: Option<Rejected>,
}

/// Answers requests.
pub struct Service {
    hub: ShardPool,
    recorder: Arc<Recorder>,
    settings: watch::Receiver<Arc<Settings>>,
    configured: watch::Receiver<Configured>,
    orders: mpsc::Sender<LoopRequest>,
    meter: Mutex<Meter>,
    /// A list of a huge room takes memory: one at a time.
    lists: Semaphore,
}

impl Service {
    /// A desk for the room behind `hub`; whoever has the other end of `orders`
    /// carries them out.
    pub fn new(
        hub: ShardPool,
        recorder: Arc<Recorder>,
        settings: watch::Receiver<Arc<Settings>>,
        configured: watch::Receiver<Configured>,
        orders: mpsc::Sender<LoopRequest>,
    ) -> Arc<Self> {
        let (meter, lists) = (Mutex::default(), Semaphore::new(1));
        Arc::new(Self { hub, recorder, settings, configured, orders, meter, lists })
    }

    /// The watches of this process.
    pub fn watches(&self) -> &EpollWatches {
        self.hub.watches()
    }

    /// Measures the room for as long as this is polled.
    pub async fn measure(self: Arc<Self>) {
        let mut tick = interval(INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = tick.tick().await.into_std();
            self.meter().sample(now, counts(&self.hub.totals()));
        }
    }

    /// The line, newline included, that answers a `request` of the user `uid`.
    pub async fn answer(&self, request: Request, uid: u32) -> String {
        let answer = timeout(ANSWER_TIMEOUT, self.carry_out(request, uid)).await;
        let late = || Err(ControlError::new(Code::Unavailable, "the room does not answer in time"));
        answer.unwrap_or_else(|_| late()).unwrap_or_else(|fault| sorry(&fault))
    }

    /// The metrics in the Prometheus text format.
    ///
    /// # Errors
    ///
    /// As [`text`].
    pub fn metrics(&self) -> prometheus::Result<String> {
        text(&MetricsSnapshot {
            totals: self.hub.totals(),
            connections_max: self.settings.borrow().limits.connections_max,
            configured: self.configured.borrow().clone(),
            record: self.recorder.stats(),
            decided: self.decided(),
        })
    }

    /// Whether every shard turns.
    pub async fn is_well(&self) -> bool {
        timeout(TURN_TIMEOUT, self.hub.barrier()).await.is_ok()
    }

    async fn carry_out(&self, request: Request, uid: u32) -> Result<String, ControlError> {
        match request {
            Request::Status {} => Ok(ok(&self.status())),
            Request::Reload {} => self.order(LoopRequest::Reload).await.map(|done| ok(&done)),
            Request::Clients { sort, reverse, offset, limit } => {
                // The semaphore is never closed.
                let _list = self.lists.acquire().await;
                let page = Page { key: sort, reverse, offset, limit };
                let (total, mut clients) = self.hub.clients(page).await;
                let (moderation, now) = (self.hub.moderation().clone(), self.hub.now());
                // Where nobody waits for it: ten thousand take milliseconds.
                let page = move || {
                    clients.iter_mut().for_each(|client| client.set_muted(&moderation, now));
                    ok(&Clients { total, clients })
                };
                let no_thread = |error: io::Error| {
                    ControlError::new(Code::Unavailable, format!("no thread for the list: {error}"))
                };
                let page = on_thread("clients", page).map_err(no_thread)?;
                let broken = |_| ControlError::new(Code::Unavailable, "the list cannot be made");
                page.await.map_err(broken)
            }
            Request::Moderate { act } => {
                let moderated = self.hub.moderate(&act, &Actor::Operator { uid }).await;
                let not_done =
                    |error: ModActionError| ControlError::new(Code::NotDone, error.to_string());
                let connections = moderated.map_err(not_done)?;
                Ok(ok(&Moderated { done: act.to_string(), connections }))
            }
            Request::Mutes {} => {
                let moderation = self.hub.moderation().clone();
                Ok(ok(&decisions(&moderation, self.hub.now())))
            }
            Request::Metrics {} => match self.metrics() {
                Ok(text) => Ok(ok(&text)),
                Err(_) => Err(ControlError::new(Code::Unavailable, "the metrics cannot be made")),
            },
        }
    }

    /// Has the daemon's loop carry out an order.
    async fn order<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<T, ControlError>>) -> LoopRequest,
    ) -> Result<T, ControlError> {
        let ending = || ControlError::new(Code::Unavailable, "wschat is stopping");
        let (answer, verdict) = oneshot::channel();
        self.orders.send(order(answer)).await.map_err(|_| ending())?;
        verdict.await.map_err(|_| ending())?
    }

    fn status(&self) -> Status {
        let totals = self.hub.totals();
        let rates = self.meter().rates(Instant::now(), counts(&totals));
        let configured = self.configured.borrow().clone();
        let (counters, record) = (totals.counters, self.recorder.stats());
        let refused = Refusal::ALL.iter().zip(counters.refused);
        let rejected = Rejection::ALL.iter().zip(counters.rejected);
        let decided = self.decided();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: date(totals.started_secs),
            listeners: totals.listeners,
            listeners_peak: totals.listeners_peak,
            messages: counters.messages,
            deliveries: counters.deliveries,
            bytes_sent: counters.bytes_sent,
            messages_per_sec: rates.messages,
            deliveries_per_sec: rates.deliveries,
            bytes_sent_per_sec: rates.bytes_sent,
            refused: refused.map(|(refusal, count)| (refusal.code().to_owned(), count)).collect(),
            refused_connections: rejected.map(|(why, n)| (why.name().to_owned(), n)).collect(),
            lagging: totals.lagging,
            closed_too_slow: counters.too_slow,
            feed_bytes: totals.feed_bytes,
            config_generation: configured.generation,
            config_loaded: configured.loaded,
            config_rejected: configured.rejected,
            record: RecordStatus {
                recorded: record.recorded,
                dropped: record.dropped,
                failing: record.failing,
            },
            restarts_survived: totals.restarts_survived,
            keys: decided.keys,
            revocations: decided.revocations,
            mutes: decided.mutes,
            locked: decided.locked,
            slow_mode_secs: decided.slow_mode_secs,
            messages_per_sec_max: self.settings.borrow().rules.rate_limit().per_sec,
            kicked: counters.kicked,
        }
    }

    fn decided(&self) -> PolicyStats {
        let (settings, moderation) = (self.settings.borrow().clone(), self.hub.moderation());
        let (keys, revocations) = settings.rules.counts();
        let configured_secs = settings.rules.rate_limit().slow_ms.div_ceil(1000);
        PolicyStats {
            keys,
            revocations,
            mutes: moderation.mutes(self.hub.now()).count(),
            locked: moderation.is_locked(),
            slow_mode_secs: moderation.slow_secs().map_or(configured_secs, u64::from),
        }
    }

    fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn counts(totals: &Totals) -> Counts<u64> {
    let counters = &totals.counters;
    Counts {
        messages: counters.messages,
        deliveries: counters.deliveries,
        bytes_sent: counters.bytes_sent,
    }
}

fn date(secs: u64) -> DateTime<Utc> {
    let secs = i64::try_from(secs).unwrap_or_default();
    DateTime::from_timestamp(secs, 0).unwrap_or_default()
}

fn decisions(moderation: &Moderation, now: Tim) -> Decisions {
    let muted = |mute: &Mute| Muted {
        whom: mute.target.to_string(),
        since: date(mute.since_secs),
        until: mute.until_secs.map(date),
        by: mute.by.clone(),
    };
    let mut mutes: Vec<_> = moderation.mutes(now).map(muted).collect();
    mutes.sort_by_key(|muted| muted.since);
    Decisions { locked: moderation.is_locked(), slow_mode_secs: moderation.slow_secs(), mutes }
}

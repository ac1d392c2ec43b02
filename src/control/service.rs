//! Carries out control requests, and reads the state of the room for status and metrics.

use std::io;
use std::process;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::chat::{Actor, ModAction, ModActionError, Moderation, Mute, Refusal, Tim};
use crate::cluster::{ClusterState, ClusterStatus};
use crate::control::error::{ControlError, ErrorCode};
use crate::control::metrics::{self, MetricsSnapshot};
use crate::control::process::{ProcessStats, resident_bytes};
use crate::control::protocol::{ControlRequest, error_reply, ok_reply};
use crate::control::rates::{RateMeter, SAMPLE_INTERVAL, SAMPLES_MAX};
use crate::control::replies::{
    Clients, ConfigStatus, ModerateReply, ModerationStatus, Muted, PolicyStats, ReloadReport,
    Status, Top,
};
use crate::control::user_names::UserNames;
use crate::mutex::lock;
use crate::record::Recorder;
use crate::server::{ClientRow, EpollWatches, Page, Rejection, ShardPool, TopKey};
use crate::worker::on_thread;

/// How long a request may take; a list of a huge room takes longest.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a shard may take to answer a health check.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// A reload that was asked for here, for the daemon's main loop.
pub struct ReloadRequest {
    /// What the caller knows against the new configuration.
    pub problems: Vec<String>,
    /// Where the result is sent.
    pub reply: oneshot::Sender<Result<ReloadReport, ControlError>>,
}

/// Carries out requests.
pub struct Service {
    pool: ShardPool,
    recorder: Arc<Recorder>,
    config: watch::Receiver<ConfigStatus>,
    reloads: mpsc::Sender<ReloadRequest>,
    cluster: Option<Arc<ClusterState>>,
    listening: Vec<String>,
    meter: Mutex<RateMeter>,
    /// A list of a huge room takes much memory, so there is one at a time.
    lists: Semaphore,
    user_names: UserNames,
}

impl Service {
    /// A service for the room of `pool`, which is one of `cluster` if it is on several machines,
    /// and which is `listening` on these addresses.
    /// The receiver of `reloads` reloads the configuration.
    pub fn new(
        pool: ShardPool,
        recorder: Arc<Recorder>,
        config: watch::Receiver<ConfigStatus>,
        reloads: mpsc::Sender<ReloadRequest>,
        cluster: Option<Arc<ClusterState>>,
        listening: Vec<String>,
    ) -> Arc<Self> {
        let (meter, lists) = (Mutex::new(RateMeter::new(SAMPLES_MAX)), Semaphore::new(1));
        let user_names = UserNames::default();
        Arc::new(Self {
            pool,
            recorder,
            config,
            reloads,
            cluster,
            listening,
            meter,
            lists,
            user_names,
        })
    }

    /// The epoll watches of this process.
    pub fn watches(&self) -> &EpollWatches {
        self.pool.watches()
    }

    /// Samples the counters for as long as this is polled.
    pub async fn sample_rates(self: Arc<Self>) {
        let mut tick = interval(SAMPLE_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = tick.tick().await.into_std();
            lock(&self.meter).sample(now, self.pool.totals().counters);
        }
    }

    /// The reply line to a request of the user `uid`, with its newline.
    pub async fn answer(&self, request: ControlRequest, uid: u32) -> String {
        let reply = timeout(REQUEST_TIMEOUT, self.carry_out(request, uid)).await;
        reply
            .unwrap_or_else(|_| Err(unavailable("the room does not answer in time")))
            .unwrap_or_else(|error| error_reply(&error))
    }

    /// The metrics in the Prometheus text format.
    pub async fn metrics(&self) -> String {
        // Counting a million descriptors takes long. Without a thread, these metrics are missing.
        let process = match on_thread("process", ProcessStats::read) {
            Ok(read) => read.await.ok().and_then(Result::ok),
            Err(_) => None,
        };
        metrics::text(&MetricsSnapshot {
            totals: self.pool.totals(),
            connections_max: self.pool.settings().borrow().limits.connections_max,
            config: self.config.borrow().clone(),
            record: self.recorder.stats(),
            policy: self.policy(),
            cluster: self.cluster(),
            process,
        })
    }

    fn cluster(&self) -> Option<ClusterStatus> {
        let cluster = self.cluster.as_ref()?;
        // What it tells the others follows later.
        cluster.note_listeners(self.pool.listeners() as u64);
        Some(cluster.status())
    }

    /// Whether every shard answers in time. A node whose engine is away still serves its
    /// listeners, and is healthy.
    pub async fn is_healthy(&self) -> bool {
        timeout(HEALTH_TIMEOUT, self.pool.barrier()).await.is_ok()
    }

    async fn carry_out(&self, request: ControlRequest, uid: u32) -> Result<String, ControlError> {
        match request {
            ControlRequest::Status {} => Ok(ok_reply(&self.status())),
            ControlRequest::Reload { problems } => {
                let stopping = || unavailable("wschat is stopping");
                let (reply, result) = oneshot::channel();
                let request = ReloadRequest { problems, reply };
                self.reloads.send(request).await.map_err(|_| stopping())?;
                result.await.map_err(|_| stopping())?.map(|report| ok_reply(&report))
            }
            ControlRequest::Clients { sort, reverse, offset, limit, filter } => {
                self.clients(&Page { key: sort, reverse, offset, limit, filter }).await
            }
            ControlRequest::Top { sort, limit } => self.top(sort, limit).await,
            ControlRequest::Moderate { act } => {
                let name = self.user_names.name(uid).await;
                let actor = Actor::Operator { uid, name, node: None };
                let moderated = self.pool.moderate(&act, &actor).await;
                let done = moderated.map_err(not_done)?;
                let met = done.met.unwrap_or(0);
                let is_kick = matches!(act, ModAction::Kick { .. });
                let (connections, messages) = if is_kick { (met, 0) } else { (0, met) };
                Ok(ok_reply(&ModerateReply {
                    done: done.text(&act),
                    connections,
                    messages,
                    silent_nodes: done.silent_nodes,
                }))
            }
            ControlRequest::Mutes {} => {
                let moderation = self.pool.moderation().clone();
                Ok(ok_reply(&moderation_status(&moderation, self.pool.now())))
            }
            ControlRequest::Moderation {} => {
                let moderation = self.pool.moderation().clone();
                Ok(ok_reply(&moderation))
            }
            ControlRequest::Metrics {} => Ok(ok_reply(&self.metrics().await)),
        }
    }

    async fn clients(&self, page: &Page) -> Result<String, ControlError> {
        // The semaphore is never closed.
        let _permit = self.lists.acquire().await;
        let (total, clients) = self.pool.clients(page).await;
        self.list(clients, move |clients| ok_reply(&Clients { total, clients })).await
    }

    async fn top(&self, key: TopKey, limit: usize) -> Result<String, ControlError> {
        let _permit = self.lists.acquire().await;
        let (addresses, clients) = self.pool.top(key, limit).await;
        self.list(clients, move |clients| ok_reply(&Top { addresses, clients })).await
    }

    /// The `reply` with these clients, which have to be looked up in the mutes.
    async fn list(
        &self,
        mut clients: Vec<ClientRow>,
        reply: impl FnOnce(Vec<ClientRow>) -> String + Send + 'static,
    ) -> Result<String, ControlError> {
        let (moderation, now) = (self.pool.moderation().clone(), self.pool.now());
        // Ten thousand clients take milliseconds, so a thread does it.
        let list = move || {
            clients.iter_mut().for_each(|client| client.set_muted(&moderation, now));
            reply(clients)
        };
        let no_thread = |error: io::Error| unavailable(format!("no thread for the list: {error}"));
        let list = on_thread("clients", list).map_err(no_thread)?;
        list.await.map_err(|_| unavailable("listing the clients failed inside wschat"))
    }

    fn status(&self) -> Status {
        let totals = self.pool.totals();
        let rates = lock(&self.meter).rates(Instant::now(), &totals.counters);
        let counters = totals.counters;
        let cluster = self.cluster();
        let refused = Refusal::ALL.iter().map(|refusal| refusal.code().to_owned());
        let rejected = Rejection::ALL.iter().map(|why| why.name().to_owned());
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: date(totals.started_secs),
            pid: process::id(),
            memory_bytes: resident_bytes(),
            listening: self.listening.clone(),
            listeners: totals.listeners,
            listeners_peak: totals.listeners_peak,
            messages: counters.messages,
            deliveries: counters.deliveries,
            bytes_sent: counters.bytes_sent,
            rates,
            refused: refused.zip(counters.refused).collect(),
            refused_connections: rejected.zip(counters.rejected).collect(),
            lagging: totals.lagging,
            slowest: totals.slowest,
            closed_too_slow: counters.too_slow,
            closed_idle: counters.idle,
            closed_protocol: counters.violations,
            feed_bytes: totals.feed_bytes,
            config: self.config.borrow().clone(),
            record: self.recorder.stats(),
            restarts_survived: totals.restarts_survived,
            crashes_survived: totals.crashes_survived,
            policy: self.policy(),
            messages_per_sec_max: self.pool.settings().borrow().rules.rate_limit().per_sec,
            kicked: counters.kicked,
            listeners_total: cluster.as_ref().map(ClusterStatus::listeners_total),
            cluster,
        }
    }

    fn policy(&self) -> PolicyStats {
        let (settings, moderation) =
            (self.pool.settings().borrow().clone(), self.pool.moderation());
        let (keys, revocations) = settings.rules.counts();
        let configured_secs = settings.rules.rate_limit().slow_ms.div_ceil(1000);
        PolicyStats {
            keys,
            revocations,
            mutes: moderation.mutes(self.pool.now()).count(),
            locked: moderation.is_locked(),
            slow_mode_secs: moderation.slow_secs().map_or(configured_secs, u64::from),
        }
    }
}

fn not_done(error: ModActionError) -> ControlError {
    let code = match error.refusal() {
        Refusal::Unavailable => ErrorCode::Unavailable,
        Refusal::Unknown => ErrorCode::Unknown,
        _ => ErrorCode::NotDone,
    };
    ControlError::new(code, error.to_string())
}

fn unavailable(msg: impl Into<String>) -> ControlError {
    ControlError::new(ErrorCode::Unavailable, msg)
}

fn date(secs: u64) -> DateTime<Utc> {
    let secs = i64::try_from(secs).unwrap_or_default();
    DateTime::from_timestamp(secs, 0).unwrap_or_default()
}

fn moderation_status(moderation: &Moderation, now: Tim) -> ModerationStatus {
    let muted = |mute: &Mute| Muted {
        whom: mute.target.to_string(),
        since: date(mute.since_secs),
        until: mute.until_secs.map(date),
        by: mute.by.clone(),
    };
    let mut mutes: Vec<_> = moderation.mutes(now).map(muted).collect();
    mutes.sort_by_key(|muted| muted.since);
    ModerationStatus {
        locked: moderation.is_locked(),
        slow_mode_secs: moderation.slow_secs(),
        mutes,
    }
}

//! The daemon from its start to its end.

use std::collections::BTreeMap;
use std::env;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::activation::{self, ROOM};
use super::control::{self, Control};
use super::handover;
use super::journal;
use super::limits;
use super::loader::Loader;
use super::notify::{self, Manager};
use super::reload::{self, Parts, Reloader};
use super::signals::{self, Request, Requests};
use super::status;
use crate::address::ListenAddress;
use crate::chat::Moderation;
use crate::config::{Config, Environment, Loaded, Problems};
use crate::record::Recorder;
use crate::server::{Acceptor, HttpServer, ListeningSocket, Settings, ShardPool};
use crate::worker::on_thread;
use crate::ws::close::{Close, GOING_AWAY, RESTART};

/// How long the record of messages may take to come to its end at a stop.
const RECORD_PATIENCE: Duration = Duration::from_secs(5);
/// How long the last decision may take to be written.
const DECISIONS_PATIENCE: Duration = Duration::from_secs(1);

/// Why the daemon did not come up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is no good.
    #[error("{0}")]
    Configuration(Problems),
    /// Two places say where to listen.
    #[error("systemd passed sockets, so there is nothing to bind")]
    ListenTwice,
    /// An address cannot be bound.
    #[error("{1}")]
    Bind(ListenAddress, #[source] io::Error),
    /// The address of the metrics cannot be bound.
    #[error("{1}")]
    BindMetrics(ListenAddress, #[source] io::Error),
    /// The control socket cannot be where it was asked for.
    #[error("{1}")]
    Control(PathBuf, #[source] io::Error),
    /// The system does not give what the daemon cannot do without.
    #[error("{1}")]
    System(&'static str, #[source] io::Error),
}

/// Runs the daemon until a signal ends it, with its control socket at `control`
/// if that is said. To be called before any thread is started.
///
/// # Errors
///
/// Why it did not come up; once it is up, there is none.
pub fn run(outside: Environment, control: Option<PathBuf>) -> Result<(), StartError> {
    let inherited = activation::inherited().map_err(system("inherited sockets"))?;
    if !outside.listen.is_empty() && !inherited.room.is_empty() {
        return Err(StartError::ListenTwice);
    }
    // From here on a signal waits until somebody listens to it.
    let mut requests = signals::catch().map_err(system("signals"))?;
    let descriptors = limits::raise_descriptors().map_err(system("the limit of open files"))?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("the event loop"))?;
    let mut loader = Loader::new(outside);
    let loading = requests.unless_ended(loader.load());
    let Ok(loaded) = runtime.block_on(loading) else { return Ok(()) };
    let loaded = loaded.map_err(StartError::Configuration)?;
    let (log, _last_lines) = journal::start(loaded.config.log.level).map_err(system("the log"))?;
    for name in &inherited.foreign {
        warn!(name, "left alone a socket named {name:?}; the room's are named {ROOM:?}");
    }
    let (room, metrics, config) = (inherited.room, inherited.metrics, loaded.config.clone());
    // It looks for files, whose file system may not answer.
    let placing = on_thread("start", move || Places::find(control, room, metrics, &config))
        .map_err(system("a thread for the start"))?;
    let Ok(found) = runtime.block_on(requests.unless_ended(placing)) else { return Ok(()) };
    let panicked = |_| StartError::System("the start", io::Error::other("it failed inside wschat"));
    let Places { control, listeners, decided } = found.map_err(panicked)??;
    let decisions = control.decisions();
    // Before the room of another process is taken, so that a start that fails here
    // leaves it where it is.
    let acceptors = {
        let _inside = runtime.enter();
        listeners.into_iter().map(Acceptor::new).collect::<io::Result<_>>()
    };
    let acceptors = acceptors.map_err(system("a listener"))?;

    let manager = Manager::new(env::var_os("NOTIFY_SOCKET"));
    let settings = reload::settings(&loaded.config, descriptors);
    let hub = open(&manager, &loaded.config, &settings, &inherited.handover, decided)
        .map_err(system("shards"))?;
    let keeper = decisions.keep(&hub).map_err(system("the decisions"))?;
    let recorder = Recorder::start(hub.room(), loaded.config.record.dir.clone())
        .map_err(system("the record of messages"))?;
    let recorder = Arc::new(recorder);
    tell(&loaded);
    let parts =
        Parts { manager: manager.clone(), log, hub: hub.clone(), recorder: Arc::clone(&recorder) };
    let reloader = Reloader::new(loader, descriptors, loaded, parts);
    runtime.spawn(keeper.follow());
    runtime.spawn(manager.clone().retry());
    let outcome = runtime.block_on(serve(acceptors, control, hub, manager, reloader, requests));
    // Nobody sends any more, and nobody decides anything.
    drop(runtime);
    keeper.finish(DECISIONS_PATIENCE);
    recorder.finish(RECORD_PATIENCE);
    info!("stopped");
    outcome
}

/// What is found, or made, in the file system at the start.
struct Places {
    control: Control,
    listeners: Vec<ListeningSocket>,
    decided: Moderation,
}

impl Places {
    fn find(
        control: Option<PathBuf>,
        room: Vec<ListeningSocket>,
        metrics: Vec<ListeningSocket>,
        config: &Config,
    ) -> Result<Self, StartError> {
        let control = Control::open(control, metrics, config)?;
        let listeners = if room.is_empty() { bind(config)? } else { room };
        let decided = control.decisions().load();
        Ok(Self { control, listeners, decided })
    }
}

/// Everything that runs while the room is open.
async fn serve(
    acceptors: Vec<Acceptor>,
    control: Control,
    hub: ShardPool,
    manager: Manager,
    mut reloader: Reloader,
    mut requests: Requests,
) -> Result<(), StartError> {
    let door = HttpServer::new(hub.clone());
    let mut doors = JoinSet::new();
    for acceptor in acceptors {
        let name = acceptor.to_string();
        doors.spawn(Arc::clone(&door).serve(acceptor));
        info!(listener = name, "listening on {name}");
    }
    let mut duties = JoinSet::new();
    duties.spawn(status::show(manager.clone(), hub.clone(), reloader.configured()));
    if let Some(every) = notify::watchdog_interval() {
        duties.spawn(status::feed_watchdog(manager.clone(), hub.clone(), every));
    }
    let mut orders = control.serve(&hub, &reloader, &mut duties);
    manager.ready();

    let end = loop {
        let order = tokio::select! {
            request = requests.next() => match request {
                Some(Request::Reload) => None,
                end => break end,
            },
            Some(order) = orders.recv() => Some(order),
        };
        // A file may hold up a reload, and a reload is not to hold up the end.
        let done = requests.unless_ended(control::carry_out(order, &mut reloader));
        if let Err(end) = done.await {
            break end;
        }
    };
    let patience = reloader.config().server.shutdown_timeout;
    manager.stopping(patience);
    if end == Some(Request::HandOver) && handover::store_exists(&manager) {
        door.close();
        while doors.join_next().await.is_some() {}
        if let Some(hub) = hand_over(&manager, &hub, &reloader).await {
            goodbye(&hub, RESTART, patience, &mut requests).await;
        }
        return Ok(());
    }
    let close = match end {
        Some(Request::HandOver) => {
            warn!("restarting; there is no store for connections, so they are closed");
            RESTART
        }
        _ => {
            info!("stopping");
            GOING_AWAY
        }
    };
    doors.shutdown().await;
    goodbye(&hub, close, patience, &mut requests).await;
    Ok(())
}

/// Opens the room: the one that the process before left, if it left one, or a new
/// one in which what was decided before a crash still holds.
fn open(
    manager: &Manager,
    config: &Config,
    settings: &Arc<Settings>,
    left: &BTreeMap<u32, UnixStream>,
    decided: Moderation,
) -> io::Result<ShardPool> {
    let start = || ShardPool::start(config.server.shards(), Arc::clone(settings), decided);
    if left.is_empty() {
        return start();
    }
    let found = handover::take(left.values(), settings.limits.feed_tail_bytes);
    for nack in &found.complaints {
        warn!("{nack}");
    }
    if !found.orphans.is_empty() {
        warn!("connections closed: {}", found.orphans.len());
        handover::dismiss(found.orphans, &RESTART);
    }
    let hub = match found.room {
        Some((state, connections)) => {
            let listeners = connections.len();
            let hub = ShardPool::resume(
                config.server.shards(),
                Arc::clone(settings),
                &state,
                connections,
            )?;
            info!(listeners, "took over the room, listeners: {listeners}");
            hub
        }
        None => start()?,
    };
    handover::forget(manager, left.keys().copied());
    Ok(hub)
}

/// Leaves the room to the next process. One that cannot be left is given back, to
/// be closed.
async fn hand_over(manager: &Manager, hub: &ShardPool, reloader: &Reloader) -> Option<ShardPool> {
    let settings = hub.settings().borrow().clone();
    let (state, sockets) = hub.hand_over(settings.rules.rate_limit()).await;
    let listeners = sockets.len();
    let Err(error) = handover::give(manager, &state, &sockets) else {
        info!(listeners, "handed over the room, listeners: {listeners}");
        return None;
    };
    warn!(%error, "there is no store for connections, so they are closed: {error}");
    let found = handover::take_back(state, sockets, settings.limits.feed_tail_bytes);
    handover::dismiss(found.orphans, &RESTART);
    let (state, connections) = found.room?;
    ShardPool::resume_to_close(reloader.config().server.shards(), settings, &state, connections)
        .inspect_err(|error| error!(%error, "no shards, so connections are cut: {error}"))
        .ok()
}

/// Lets every client take what the feed still holds for it, until a second
/// signal says that nobody wants to wait.
async fn goodbye(hub: &ShardPool, close: Close, patience: Duration, requests: &mut Requests) {
    // Whichever comes first, that was all.
    let _ = requests.unless_ended(timeout(patience, hub.close(close))).await;
}

fn tell(loaded: &Loaded) {
    let version = env!("CARGO_PKG_VERSION");
    let shards = loaded.config.server.shards();
    info!(version, shards, "wschat {version}, shards: {shards}");
    reload::warn_of(loaded);
}

fn bind(config: &Config) -> Result<Vec<ListeningSocket>, StartError> {
    let bind = |address: &ListenAddress| {
        let bound = ListeningSocket::bind(address, config.is_v6_only(address));
        bound.map_err(|error| StartError::Bind(address.clone(), error))
    };
    config.listen.addresses.iter().map(bind).collect()
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |error| StartError::System(what, error)
}

//! The daemon from its start to its end.

use std::env;
use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::activation::{self, ROOM};
use super::config_loader::ConfigLoader;
use super::control_sockets::{ControlPaths, ControlSockets};
use super::drain::{STOP_MARGIN, drain, hand_over};
use super::handover::fd_store;
use super::logging;
use super::notify::ServiceManager;
use super::open_files;
use super::open_room::{Left, open_room};
use super::reload::{self, Reloader};
use super::room_listeners::RoomListeners;
use super::signals::{Shutdown, Signals};
use super::start_error::StartError;
use super::{status_line, watchdog};
use crate::cluster::ClusterNode;
use crate::config::Environment;
use crate::control::ReloadRequest;
use crate::record::Recorder;
use crate::server::{Acceptor, HttpServer};
use crate::worker::on_thread;
use crate::ws::close::{GOING_AWAY, RESTART};

/// How long a stop waits for the record of messages.
const RECORD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a stop waits for the moderation file.
const MODERATION_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a start waits for a look at the servers of the cluster.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(1);
/// How long it waits if the connections of a room wait for it.
const VERIFY_TIMEOUT_ROOM: Duration = Duration::from_millis(250);

/// Runs the daemon until a signal ends it. `control` is the path of the control socket, if
/// one was requested. Must be called before any thread is started.
///
/// # Errors
///
/// Why it did not start. After the start there is none.
pub fn run(environment: Environment, paths: ControlPaths) -> Result<(), StartError> {
    let system = StartError::system;
    let mut passed = activation::passed_descriptors().map_err(system("inherited sockets"))?;
    let manager = ServiceManager::new(env::var_os("NOTIFY_SOCKET"));
    let kept = mem::take(&mut passed.stored.listeners);
    let kept_numbers: Vec<u32> = kept.keys().copied().collect();
    let mut kept: Vec<_> = kept.into_values().flatten().collect();
    if !environment.listen.is_empty() {
        if !passed.room.is_empty() {
            return Err(StartError::ListenTwice);
        }
        // They may have an address that is to be bound.
        fd_store::remove(&manager, fd_store::LISTENER_NAME, kept_numbers.iter().copied());
        kept.clear();
    }
    let mut signals = Signals::catch().map_err(system("signals"))?;
    let open_files_max = open_files::raise_limit().map_err(system("the limit of open files"))?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("the event loop"))?;
    let state_dir = environment.state_dir.clone();
    let mut loader = ConfigLoader::new(environment);
    let loading = signals.unless_shutdown(loader.load(true));
    let Ok(loaded) = runtime.block_on(loading) else { return Ok(()) };
    let mut loaded = loaded.map_err(StartError::Configuration)?;
    let (log_level, _flush) = logging::start(loaded.config.log.level).map_err(system("the log"))?;
    for name in &passed.unknown {
        warn!(name, "ignored a socket named {name:?}; the sockets of the room are named {ROOM:?}");
    }
    let (room, metrics, config) = (passed.room, passed.metrics, loaded.config.clone());
    let is_handed_over = !passed.stored.handover.is_empty();
    // A file system may block for ever, so a thread binds sockets and reads files.
    let opening = on_thread("start", move || {
        let listeners = RoomListeners::open(room, kept, &config)?;
        let control = ControlSockets::bind(paths, metrics, &config, state_dir.as_deref())?;
        let moderation = control.moderation_file.load(is_handed_over);
        Ok((control, listeners, moderation))
    })
    .map_err(system("a thread for the start"))?;
    let Ok(opened) = runtime.block_on(signals.unless_shutdown(opening)) else { return Ok(()) };
    let panicked = |_| StartError::System("the start", io::Error::other("it failed inside wschat"));
    let (control, listeners, moderation) = opened.map_err(panicked)??;
    let moderation_file = control.moderation_file.clone();
    listeners.store(&manager, &kept_numbers);
    let listen_problem = listeners.problem();
    // Before the room of the previous process is taken: a start that fails here leaves it
    // in the store.
    let acceptors = {
        let _guard = runtime.enter();
        listeners.sockets.into_iter().map(Acceptor::new).collect::<io::Result<Vec<_>>>()
    };
    let mut acceptors = acceptors.map_err(system("a listener"))?;
    if let Some(first) = acceptors.first_mut() {
        first.empty_first(listeners.former);
    }

    let node = loaded.config.engine_options().map(ClusterNode::new);
    if let Some(node) = &node {
        let verifying =
            node.verify(if is_handed_over { VERIFY_TIMEOUT_ROOM } else { VERIFY_TIMEOUT });
        let verified = runtime.block_on(signals.unless_shutdown(verifying));
        let Ok(verified) = verified else { return Ok(()) };
        verified.map_err(StartError::Cluster)?;
    }

    let left = Left::receive(passed.stored, loaded.config.limits.feed_tail_bytes);
    let needed_token = left.needed_token();
    if needed_token == Some(true) {
        loader.restrict(&mut loaded);
    }
    let settings = reload::settings(&loaded.config, open_files_max);
    let remote = node.as_ref().map(ClusterNode::remote_order);
    let (pool, taken_over) =
        open_room(&manager, &loaded.config, &settings, left, moderation, remote)
            .map_err(system("shards"))?;
    let recorder = Recorder::start(pool.room(), &loaded.config.record)
        .map_err(system("the record of messages"))?;
    let recorder = Arc::new(recorder);
    reload::log_warnings(&loaded, needed_token == Some(false));
    if let Some(problem) = &listen_problem {
        warn!("systemd passed no socket: {problem}");
    }
    let status =
        Reloader::start_status(&loaded, listen_problem, moderation_file.unsaved().cloned());
    let moderation_writer = moderation_file
        .start_writer(&pool, status.clone())
        .map_err(system("the moderation file"))?;
    let reloader = Reloader {
        loader,
        open_files_max,
        started: loaded.config.clone(),
        config: loaded.config,
        status,
        manager: manager.clone(),
        log_level,
        pool: pool.clone(),
        recorder: Arc::clone(&recorder),
        cluster: node.as_ref().map(ClusterNode::state),
    };
    runtime.spawn(moderation_writer.wake_on_change());
    runtime.spawn(manager.clone().send_queued());
    runtime.block_on(serve(acceptors, control, reloader, node, taken_over, signals));
    // This drops all tasks: no message or decision follows.
    drop(runtime);
    moderation_writer.finish(MODERATION_TIMEOUT);
    recorder.finish(RECORD_TIMEOUT);
    pool.finish_client_log();
    // systemd shows the last line as long as no other process is started.
    manager.send_status("stopped");
    debug!("stopped");
    Ok(())
}

/// Logs the start as one line.
fn log_start(listening: &[String], taken_over: Option<usize>, shards: usize) {
    let (version, listener) = (env!("CARGO_PKG_VERSION"), listening.join(", "));
    match taken_over {
        None => info!(
            version,
            shards, listener, "wschat {version}, shards: {shards}, listening on {listener}"
        ),
        Some(listeners) => info!(
            version,
            listeners,
            shards,
            listener,
            "wschat {version} took over the room, listeners: {listeners}, shards: {shards}, \
             listening on {listener}"
        ),
    }
}

/// Serves the room until a signal ends it.
async fn serve(
    acceptors: Vec<Acceptor>,
    control: ControlSockets,
    mut reloader: Reloader,
    node: Option<ClusterNode>,
    taken_over: Option<usize>,
    mut signals: Signals,
) {
    let (pool, manager) = (reloader.pool.clone(), reloader.manager.clone());
    let mut node = node.map(|node| node.start(pool.clone(), taken_over.is_some()));
    let mut shutdown = None;
    if let Some(node) = &mut node {
        shutdown = signals.unless_shutdown(node.ready()).await.err();
    }
    let http = HttpServer::new(pool.clone());
    let (mut accepting, mut listening) = (JoinSet::new(), Vec::new());
    for acceptor in acceptors {
        let name = acceptor.to_string();
        accepting.spawn(Arc::clone(&http).serve(acceptor));
        listening.push(name);
    }
    log_start(&listening, taken_over, reloader.config.server.shards());
    let mut tasks = JoinSet::new();
    let (config, cluster) = (reloader.status.subscribe(), reloader.cluster.clone());
    tasks.spawn(status_line::update(
        manager.clone(),
        pool.clone(),
        config,
        cluster,
        Arc::clone(&reloader.recorder),
    ));
    if let Some(timeout) = sd_notify::watchdog_enabled() {
        tasks.spawn(watchdog::reset(manager.clone(), pool.clone(), timeout));
    }
    tasks.spawn(pool.clone().log_clients());
    let presence = tasks.spawn(pool.clone().tell_presence());
    let mut reloads = control.serve(&reloader, listening, &mut tasks);
    manager.ready();

    let shutdown = match shutdown {
        Some(shutdown) => shutdown,
        None => reload_until_shutdown(&mut signals, &mut reloads, &mut reloader).await,
    };
    // Nobody has to know how many are left.
    presence.abort();
    let timeout = reloader.config.server.shutdown_timeout;
    manager.stopping(timeout + STOP_MARGIN);
    // A message by POST that waits is answered before the shards end.
    http.close();
    while accepting.join_next().await.is_some() {}
    if let Some(node) = node {
        node.finish().await;
    }
    if shutdown == Shutdown::HandOver && fd_store::exists(&manager) {
        if let Some(pool) = hand_over(&reloader).await {
            drain(&pool, RESTART, timeout, &mut signals).await;
        }
        return;
    }
    let close = match shutdown {
        Shutdown::HandOver => {
            warn!("restarting without a descriptor store, so all connections are closed");
            RESTART
        }
        Shutdown::Stop => {
            let listeners = pool.listeners();
            info!(listeners, "stopping, listeners: {listeners}");
            GOING_AWAY
        }
    };
    drain(&pool, close, timeout, &mut signals).await;
}

/// Reloads whenever a signal or the control socket requests it, until a signal ends the room.
async fn reload_until_shutdown(
    signals: &mut Signals,
    reloads: &mut mpsc::Receiver<ReloadRequest>,
    reloader: &mut Reloader,
) -> Shutdown {
    loop {
        let request = tokio::select! {
            signal = signals.next() => match signal {
                Some(shutdown) => return shutdown,
                None => None,
            },
            Some(request) = reloads.recv() => Some(request),
        };
        // A file may block the reload, but must not delay a shutdown.
        if let Err(shutdown) = signals.unless_shutdown(reloader.reload(request)).await {
            return shutdown;
        }
    }
}

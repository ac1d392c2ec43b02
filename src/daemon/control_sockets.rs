//! The sockets for operators: the control socket, the one for monitoring, and the one for
//! metrics.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::moderation_file::ModerationFile;
use super::reload::Reloader;
use super::start_error::StartError;
use crate::config::Config;
use crate::control::{
    Access, CONTROL_PATH, ControlServer, MONITOR_PATH, ReloadRequest, Service, serve_metrics,
};
use crate::server::ListeningSocket;

/// Reloads that may wait for the main loop.
const RELOADS_MAX: usize = 16;

/// Where the sockets are to be, if not at their default paths.
#[derive(Debug, Default)]
pub struct ControlPaths {
    /// The control socket.
    pub control: Option<PathBuf>,
    /// The socket for monitoring.
    pub monitor: Option<PathBuf>,
}

/// The sockets, bound.
pub struct ControlSockets {
    /// The control socket and the one for monitoring.
    control: Vec<ControlServer>,
    metrics: Vec<ListeningSocket>,
    pub moderation_file: ModerationFile,
}

impl ControlSockets {
    /// Binds the control socket and the one for monitoring. The moderation file is in
    /// `state_dir`, or else beside the control socket. The default paths may fail. Binds the
    /// configured address for metrics, unless systemd passed `metrics` sockets.
    pub fn bind(
        paths: ControlPaths,
        mut metrics: Vec<ListeningSocket>,
        config: &Config,
        state_dir: Option<&Path>,
    ) -> Result<Self, StartError> {
        let at = paths.control.as_deref().unwrap_or(Path::new(CONTROL_PATH));
        let is_default = paths.control.is_none();
        let mut control = match ControlServer::bind(at, Access::Full) {
            Ok(server) => vec![server],
            Err(error) if is_default => {
                log_missing(&error);
                Vec::new()
            }
            Err(error) => return Err(StartError::Control(at.to_owned(), error)),
        };
        let moderation_file = ModerationFile::new(state_dir, control.first().map(|_| at));
        let moderation_file = match state_dir {
            Some(folder) => moderation_file.lock(folder),
            None => moderation_file,
        };
        // Without a path, it is beside the control socket of the service alone.
        let monitor = paths.monitor.as_deref();
        let beside = (is_default && !control.is_empty()).then_some(Path::new(MONITOR_PATH));
        if let Some(at) = monitor.or(beside) {
            match ControlServer::bind(at, Access::Monitor) {
                Ok(server) => control.push(server),
                Err(error) if monitor.is_some() => {
                    return Err(StartError::Control(at.to_owned(), error));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    warn!(%error, "no socket for monitoring at {MONITOR_PATH}: {error}");
                }
            }
        }
        if let (Some(address), true) = (&config.metrics.address, metrics.is_empty()) {
            let bound = ListeningSocket::bind(address, config.is_v6_only(address));
            metrics.push(bound.map_err(|e| StartError::BindMetrics(address.clone(), e))?);
        }
        Ok(Self { control, metrics, moderation_file })
    }

    /// Spawns tasks that serve the sockets of a room that is `listening` on these addresses.
    /// Reloads, which only the main loop can do,
    /// come out of the receiver.
    pub fn serve(
        self,
        reloader: &Reloader,
        listening: Vec<String>,
        tasks: &mut JoinSet<()>,
    ) -> mpsc::Receiver<ReloadRequest> {
        let (sender, reloads) = mpsc::channel(RELOADS_MAX);
        let Reloader { pool, recorder, status, cluster, .. } = reloader;
        let (pool, recorder, cluster) = (pool.clone(), recorder.clone(), cluster.clone());
        let service = Service::new(pool, recorder, status.subscribe(), sender, cluster, listening);
        tasks.spawn(Arc::clone(&service).sample_rates());
        for control in self.control {
            let serving = control.serve(Arc::clone(&service));
            tasks.spawn(async { log_failure("the control socket", serving.await) });
        }
        for listener in self.metrics {
            info!(listener = %listener, "metrics at http://{listener}/metrics");
            let serving = serve_metrics(listener, Arc::clone(&service));
            tasks.spawn(async { log_failure("the metrics", serving.await) });
        }
        reloads
    }
}

/// Logs why there is no control socket at the default path, whose directory usually
/// exists only for the service.
fn log_missing(error: &io::Error) {
    let hint = "--control PATH sets another path";
    match error.kind() {
        ErrorKind::NotFound => info!("no control socket: its directory is missing; {hint}"),
        ErrorKind::AddrInUse => {
            warn!("no control socket: another daemon uses {CONTROL_PATH}; {hint}");
        }
        _ => warn!(%error, "no control socket at {CONTROL_PATH}: {error}; {hint}"),
    }
}

fn log_failure(what: &str, served: io::Result<()>) {
    if let Err(error) = served {
        error!(%error, "{what} cannot be served: {error}");
    }
}

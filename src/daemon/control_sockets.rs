//! The sockets for operators: the control socket and the one for metrics.

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
use crate::control::{CONTROL_PATH, ControlServer, ReloadRequest, Service, serve_metrics};
use crate::server::ListeningSocket;

/// Reloads that may wait for the main loop.
const RELOADS_MAX: usize = 16;

/// The sockets, bound.
pub struct ControlSockets {
    control: Option<ControlServer>,
    metrics: Vec<ListeningSocket>,
    pub moderation_file: ModerationFile,
}

impl ControlSockets {
    /// Binds the control socket at `path`. The moderation file is in `state_dir`, or else beside
    /// the control socket. If `path` is `None`, the default path may
    /// fail. Binds the configured address for metrics, unless systemd passed `metrics`
    /// sockets.
    pub fn bind(
        path: Option<PathBuf>,
        mut metrics: Vec<ListeningSocket>,
        config: &Config,
        state_dir: Option<&Path>,
    ) -> Result<Self, StartError> {
        let at = path.as_deref().unwrap_or(Path::new(CONTROL_PATH));
        let control = match ControlServer::bind(at) {
            Ok(server) => Some(server),
            Err(error) => match path {
                Some(path) => return Err(StartError::Control(path, error)),
                None => {
                    log_missing(&error);
                    None
                }
            },
        };
        let moderation_file = ModerationFile::new(state_dir, control.as_ref().map(|_| at));
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
        if let Some(control) = self.control {
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

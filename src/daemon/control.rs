//! The control socket's and the metrics' place in the daemon's life.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::reload::Reloader;
use super::run::StartError;
use crate::config::Config;
use crate::control::{
    CONTROL_PATH, Code, ControlError, LoopRequest, Server, Service, serve_metrics,
};
use crate::daemon::moderation_file::Decisions;
use crate::server::{ListeningSocket, ShardPool};

/// Orders that may wait for the daemon's loop.
const ORDERS_MAX: usize = 16;

/// The sockets that are for operators, not for the room.
pub struct Control {
    socket: Option<Server>,
    metrics: Vec<ListeningSocket>,
    decisions: Decisions,
}

impl Control {
    /// Binds the control socket at `path`, or at the usual place, without which
    /// a run by hand has to do; and the metrics' address, unless the service
    /// manager has passed `metrics` sockets.
    ///
    /// # Errors
    ///
    /// What was asked for cannot be bound.
    pub fn open(
        path: Option<PathBuf>,
        mut metrics: Vec<ListeningSocket>,
        config: &Config,
    ) -> Result<Self, StartError> {
        let at = path.as_deref().unwrap_or(Path::new(CONTROL_PATH)).to_owned();
        let socket = match (Server::bind(&at), path) {
            (Ok(socket), _) => Some(socket),
            (Err(error), Some(path)) => return Err(StartError::Control(path, error)),
            (Err(error), None) => {
                do_without(error);
                None
            }
        };
        let decisions = socket.as_ref().map(|_| Decisions::beside(&at)).unwrap_or_default();
        if let (Some(address), true) = (&config.metrics.address, metrics.is_empty()) {
            let bound = ListeningSocket::bind(address, config.is_v6_only(address));
            metrics.push(bound.map_err(|e| StartError::BindMetrics(address.clone(), e))?);
        }
        Ok(Self { socket, metrics, decisions })
    }

    /// Where what is decided is kept.
    pub fn decisions(&self) -> Decisions {
        self.decisions.clone()
    }

    /// Serves the sockets as duties of the daemon; what only the daemon's loop
    /// can do comes out as orders.
    pub fn serve(
        self,
        hub: &ShardPool,
        reloader: &Reloader,
        duties: &mut JoinSet<()>,
    ) -> mpsc::Receiver<LoopRequest> {
        let (sender, orders) = mpsc::channel(ORDERS_MAX);
        let (settings, configured) = (hub.settings(), reloader.configured());
        let recorder = reloader.recorder();
        let desk = Service::new(hub.clone(), recorder, settings, configured, sender);
        duties.spawn(Arc::clone(&desk).measure());
        if let Some(socket) = self.socket {
            let serving = socket.serve(Arc::clone(&desk));
            duties.spawn(async move { tell("the control socket", serving.await) });
        }
        for listener in self.metrics {
            info!(listener = %listener, "metrics at http://{listener}/metrics");
            let serving = serve_metrics(listener, Arc::clone(&desk));
            duties.spawn(async move { tell("the metrics", serving.await) });
        }
        orders
    }
}

/// Does what was asked of the daemon's loop, by an order or else by a signal.
pub async fn carry_out(order: Option<LoopRequest>, reloader: &mut Reloader) {
    let verdict = reloader.reload().await.map_err(|problems| ControlError {
        err: Code::ConfigRejected,
        msg: "the configuration is rejected; the old one stays in force".to_owned(),
        problems: problems.list.iter().map(ToString::to_string).collect(),
    });
    if let Some(LoopRequest::Reload(answer)) = order {
        // Whoever asked may have left.
        let _ = answer.send(verdict);
    }
}

/// Says why there is no control socket in the usual place. It is no reason not
/// to start: whoever runs the daemon by hand may have no such folder.
fn do_without(error: io::Error) {
    let hint = "--control PATH makes one elsewhere";
    match error.kind() {
        ErrorKind::NotFound => info!("no control socket, for its folder is missing; {hint}"),
        ErrorKind::AddrInUse => {
            warn!("no control socket, for another daemon has {CONTROL_PATH}; {hint}");
        }
        _ => warn!(%error, "no control socket at {CONTROL_PATH}: {error}; {hint}"),
    }
}

fn tell(what: &str, served: io::Result<()>) {
    if let Err(error) = served {
        error!(%error, "{what} cannot be served: {error}");
    }
}

//! Reloading: the configuration in force, and how a new one replaces it.

use std::sync::Arc;

use chrono::Utc;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::config_loader::ConfigLoader;
use super::logging::LogLevel;
use super::notify::ServiceManager;
use crate::cluster::ClusterState;
use crate::config::{Config, Loaded, needs_restart};
use crate::control::{
    ConfigStatus, ControlError, ErrorCode, RejectedConfig, ReloadReport, ReloadRequest,
};
use crate::descriptors;
use crate::record::Recorder;
use crate::server::{Settings, ShardPool};
use crate::zone::local_time;

/// The configuration in force, and the parts of the daemon that a reload changes.
pub struct Reloader {
    pub loader: ConfigLoader,
    pub open_files_max: Option<u64>,
    /// The configuration at the start, for the keys that need a restart.
    pub started: Config,
    /// The configuration in force.
    pub config: Config,
    pub status: watch::Sender<ConfigStatus>,
    pub manager: ServiceManager,
    pub log_level: LogLevel,
    pub pool: ShardPool,
    pub recorder: Arc<Recorder>,
    /// The cluster of a room on several machines.
    pub cluster: Option<Arc<ClusterState>>,
}

/// The room's settings under `config`, in a process with this limit of open files.
pub fn settings(config: &Config, open_files_max: Option<u64>) -> Arc<Settings> {
    let mut settings = Settings::new(config);
    settings.clients_max = descriptors::clients_max(open_files_max, config.server.shards());
    let possible = descriptors::websockets_max(settings.clients_max);
    settings.limits.connections_max = settings.limits.connections_max.min(possible);
    Arc::new(settings)
}

impl Reloader {
    /// The status of a configuration at the start. `listen_problem`: where the room listens is
    /// not what is configured. `moderation_unsaved`: nothing saves the decisions of moderation.
    pub fn start_status(
        loaded: &Loaded,
        listen_problem: Option<String>,
        moderation_unsaved: Option<String>,
    ) -> watch::Sender<ConfigStatus> {
        watch::Sender::new(ConfigStatus {
            generation: 1,
            loaded: Utc::now(),
            rejected: None,
            no_key: loaded.why_closed(),
            listen_problem,
            moderation_unsaved,
        })
    }

    /// Loads and checks the whole new configuration, and only then puts it in force.
    /// Reports the result to the service manager, the log, the status line and to who sent the
    /// `request`, unless it was a signal.
    /// May be dropped at any time if the daemon shuts down meanwhile.
    pub async fn reload(&mut self, request: Option<ReloadRequest>) {
        self.manager.reloading();
        let found = request.as_ref().map_or(&[][..], |request| &request.problems);
        let result = match self.loader.load(found.is_empty()).await {
            Err(problems) => {
                let mut all: Vec<_> = problems.list.iter().map(ToString::to_string).collect();
                let others: Vec<_> =
                    found.iter().filter(|problem| !all.contains(problem)).cloned().collect();
                all.extend(others);
                Err(self.reject(all))
            }
            Ok(_) if !found.is_empty() => Err(self.reject(found.to_vec())),
            Ok(loaded) => Ok(self.apply(loaded).await),
        };
        self.pool.count_reload(result.is_ok());
        self.manager.ready();
        if let Some(ReloadRequest { reply, .. }) = request {
            // The operator may have disconnected.
            let _ = reply.send(result);
        }
    }

    async fn apply(&mut self, loaded: Loaded) -> ReloadReport {
        let settings = settings(&loaded.config, self.open_files_max);
        self.pool.reload(settings).await;
        self.recorder.set(&loaded.config.record);
        self.log_level.set(loaded.config.log.level);
        self.status.send_modify(|status| {
            status.generation += 1;
            status.loaded = Utc::now();
            (status.rejected, status.no_key) = (None, None);
        });
        info!("configuration loaded");
        log_warnings(&loaded, is_open(&self.config));
        let needs_restart = needs_restart(&self.started, &loaded.config);
        for key in &needs_restart {
            warn!(key, "{key} has changed and takes effect after a restart");
        }
        self.config = loaded.config;
        ReloadReport {
            generation: self.status.borrow().generation,
            warnings: loaded.warnings.iter().map(ToString::to_string).collect(),
            needs_restart: needs_restart.into_iter().map(str::to_owned).collect(),
        }
    }

    fn reject(&self, problems: Vec<String>) -> ControlError {
        for problem in &problems {
            error!("{problem}");
        }
        let why = problems.first().cloned().unwrap_or_default();
        let others = problems.len().saturating_sub(1);
        let rejected = Some(RejectedConfig { at: Utc::now(), why, others });
        self.status.send_modify(|status| status.rejected = rejected);
        let loaded = local_time(self.status.borrow().loaded);
        error!("configuration rejected; the one loaded at {loaded} stays in force");
        let msg = "the configuration is rejected; the old one stays in force";
        ControlError { problems, ..ControlError::new(ErrorCode::ConfigRejected, msg) }
    }
}

/// Logs the warnings about a configuration. That the room is open is logged unless it `was_open`
/// before, and unless the configuration says that it is meant to be.
pub fn log_warnings(loaded: &Loaded, was_open: bool) {
    for warning in &loaded.warnings {
        warn!("{warning:#}");
    }
    for problem in &loaded.unusable_keys {
        error!("{problem}");
    }
    let auth = &loaded.config.auth;
    if auth.is_closed() {
        error!(
            "no usable key: nobody can send messages until there is one and wschat is restarted; \
             without any key, auth.required = false opens the room"
        );
    } else if is_open(&loaded.config) && !was_open && auth.required.is_none() {
        warn!(
            "no secret or key is configured: every client can send messages; if that is meant, \
             set auth.required = false"
        );
    }
}

/// Whether every client can send messages.
fn is_open(config: &Config) -> bool {
    !config.auth.is_closed() && config.auth.token_keys().is_empty()
}

//! Reloading: the configuration in force, and how a new one replaces it.

use std::sync::Arc;

use chrono::{Local, Utc};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::config_loader::ConfigLoader;
use super::logging::LogLevel;
use super::notify::ServiceManager;
use crate::config::{Config, Loaded, Problems, needs_restart};
use crate::control::{
    ConfigStatus, ControlError, ErrorCode, RejectedConfig, ReloadReport, ReloadSender,
};
use crate::descriptors;
use crate::record::Recorder;
use crate::server::{Settings, ShardPool};

/// The configuration in force, and what a reload changes.
pub struct Reloader {
    loader: ConfigLoader,
    open_files_max: Option<u64>,
    /// The configuration at the start, for the keys that need a restart.
    started: Config,
    config: Config,
    targets: ReloadTargets,
    status: watch::Sender<ConfigStatus>,
}

/// The parts of the daemon that a reload changes or notifies.
pub struct ReloadTargets {
    pub manager: ServiceManager,
    pub log_level: LogLevel,
    pub pool: ShardPool,
    pub recorder: Arc<Recorder>,
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
    /// A reloader of `config`, which is in force.
    pub fn new(
        loader: ConfigLoader,
        open_files_max: Option<u64>,
        config: Config,
        targets: ReloadTargets,
    ) -> Self {
        let status = ConfigStatus { generation: 1, loaded: Utc::now(), rejected: None };
        Self {
            loader,
            open_files_max,
            started: config.clone(),
            config,
            targets,
            status: watch::Sender::new(status),
        }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn recorder(&self) -> Arc<Recorder> {
        Arc::clone(&self.targets.recorder)
    }

    pub fn status(&self) -> watch::Receiver<ConfigStatus> {
        self.status.subscribe()
    }

    /// Loads and checks the whole new configuration, and only then puts it in force.
    /// Reports the result to the service manager, the log, the status line and `reply`.
    /// May be dropped at any time if the daemon shuts down meanwhile.
    pub async fn reload(&mut self, reply: Option<ReloadSender>) {
        self.targets.manager.reloading();
        let result = match self.loader.load().await {
            Ok(loaded) => Ok(self.apply(loaded).await),
            Err(problems) => Err(self.reject(&problems)),
        };
        self.targets.manager.ready();
        if let Some(reply) = reply {
            // The operator may have disconnected.
            let _ = reply.send(result);
        }
    }

    async fn apply(&mut self, loaded: Loaded) -> ReloadReport {
        let settings = settings(&loaded.config, self.open_files_max);
        self.targets.pool.reload(settings).await;
        self.targets.recorder.set_dir(loaded.config.record.dir.clone());
        self.targets.log_level.set(loaded.config.log.level);
        let generation = self.status.borrow().generation + 1;
        self.status.send_replace(ConfigStatus { generation, loaded: Utc::now(), rejected: None });
        info!("configuration loaded");
        log_warnings(&loaded);
        let needs_restart = needs_restart(&self.started, &loaded.config);
        for key in &needs_restart {
            warn!(key, "{key} has changed and takes effect after a restart");
        }
        self.config = loaded.config;
        ReloadReport {
            generation,
            warnings: loaded.warnings.iter().map(ToString::to_string).collect(),
            needs_restart: needs_restart.into_iter().map(str::to_owned).collect(),
        }
    }

    fn reject(&self, problems: &Problems) -> ControlError {
        let problems: Vec<_> = problems.list.iter().map(ToString::to_string).collect();
        for problem in &problems {
            error!("{problem}");
        }
        let why = problems.first().cloned().unwrap_or_default();
        let rejected = Some(RejectedConfig { at: Utc::now(), why });
        self.status.send_modify(|status| status.rejected = rejected);
        let loaded =
            self.status.borrow().loaded.with_timezone(&Local).format("%H:%M:%S").to_string();
        error!("configuration rejected; the one loaded at {loaded} stays in force");
        let msg = "the configuration is rejected; the old one stays in force";
        ControlError { problems, ..ControlError::new(ErrorCode::ConfigRejected, msg) }
    }
}

/// Logs the warnings about a configuration.
pub fn log_warnings(loaded: &Loaded) {
    for warning in &loaded.warnings {
        warn!("{warning:#}");
    }
    if loaded.config.auth.token_keys().is_empty() {
        warn!("no secret is configured: everybody who can connect may speak");
    }
}

//! The configuration in force, and how another one takes its place.

use std::sync::Arc;

use chrono::{Local, Utc};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::journal::Log;
use super::loader::Loader;
use super::notify::Manager;
use crate::config::{Config, Loaded, Problems, needs_restart};
use crate::control::{Configured, Rejected, Reloaded};
use crate::descriptors;
use crate::record::Recorder;
use crate::server::{Settings, ShardPool};

/// The configuration in force, and everything that a reload of it touches.
pub struct Reloader {
    loader: Loader,
    descriptors: Option<u64>,
    /// What the process was started with, for the keys that need a restart.
    started: Config,
    newest: Loaded,
    parts: Parts,
    configured: watch::Sender<Configured>,
}

/// The parts of the daemon that learn of a reload.
pub struct Parts {
    /// Is told when it begins and ends.
    pub manager: Manager,
    /// Has a level.
    pub log: Log,
    /// Has the room's settings.
    pub hub: ShardPool,
    /// Has a directory.
    pub recorder: Arc<Recorder>,
}

/// The room's settings under `config`, in a process that may open so many
/// descriptors.
pub fn settings(config: &Config, descriptors: Option<u64>) -> Arc<Settings> {
    let mut settings = Settings::new(config);
    settings.clients_max = descriptors::clients_max(descriptors, config.server.shards());
    let possible = descriptors::websockets_max(settings.clients_max);
    settings.limits.connections_max = settings.limits.connections_max.min(possible);
    Arc::new(settings)
}

impl Reloader {
    /// A reloader of what `loader` has `loaded`, which is now in force.
    pub fn new(loader: Loader, descriptors: Option<u64>, loaded: Loaded, parts: Parts) -> Self {
        let configured = Configured { generation: 1, loaded: Utc::now(), rejected: None };
        Self {
            loader,
            descriptors,
            started: loaded.config.clone(),
            newest: loaded,
            parts,
            configured: watch::Sender::new(configured),
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.newest.config
    }

    /// What records the messages.
    pub fn recorder(&self) -> Arc<Recorder> {
        Arc::clone(&self.parts.recorder)
    }

    /// What is to be said of the configuration, now and after every reload.
    pub fn configured(&self) -> watch::Receiver<Configured> {
        self.configured.subscribe()
    }

    /// Builds and checks the whole new configuration, and only then swaps it
    /// in; tells the service manager, the log and the status line. If the daemon
    /// is to end meanwhile this can be dropped at any time.
    ///
    /// # Errors
    ///
    /// Every problem of the new configuration; the old one stays in force.
    pub async fn reload(&mut self) -> Result<Reloaded, Problems> {
        self.parts.manager.reloading();
        let outcome = match self.loader.load().await {
            Ok(loaded) => Ok(self.apply(loaded).await),
            Err(problems) => {
                self.reject(&problems);
                Err(problems)
            }
        };
        self.parts.manager.ready();
        outcome
    }

    async fn apply(&mut self, loaded: Loaded) -> Reloaded {
        let settings = settings(&loaded.config, self.descriptors);
        self.parts.hub.reload(settings).await;
        self.parts.recorder.set_dir(loaded.config.record.dir.clone());
        self.parts.log.set_level(loaded.config.log.level);
        self.newest = loaded;
        let generation = self.configured.borrow().generation + 1;
        self.configured.send_replace(Configured { generation, loaded: Utc::now(), rejected: None });
        info!("configuration loaded");
        warn_of(&self.newest);
        let needs_restart = needs_restart(&self.started, &self.newest.config);
        for key in &needs_restart {
            warn!(key, "{key} has changed, which takes a restart");
        }
        Reloaded {
            generation,
            warnings: self.newest.warnings.iter().map(ToString::to_string).collect(),
            needs_restart: needs_restart.into_iter().map(str::to_owned).collect(),
        }
    }

    fn reject(&self, problems: &Problems) {
        for problem in &problems.list {
            error!("{problem}");
        }
        let why = problems.list.first().map_or_else(String::new, ToString::to_string);
        let rejected = Some(Rejected { at: Utc::now(), why });
        self.configured.send_modify(|configured| configured.rejected = rejected);
        let loaded = self.configured.borrow().loaded;
        let since = loaded.with_timezone(&Local).format("%H:%M:%S").to_string();
        error!("configuration rejected; the one loaded {since} stays in force");
    }
}

/// Logs what should be different although it works.
pub fn warn_of(loaded: &Loaded) {
    for warning in &loaded.warnings {
        warn!("{warning:#}");
    }
    if loaded.config.auth.token_keys().is_empty() {
        warn!("no secret is configured: everybody who can connect may speak");
    }
}

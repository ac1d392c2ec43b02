//! Loads the configuration on a thread: a read from a network file system can block for
//! ever, and signals must work meanwhile.

use std::fmt::Display;
use std::io;
use std::time::Duration;

use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::timeout;

use crate::config::load;
use crate::config::{Environment, Loaded, Problems};
use crate::worker::on_thread;

/// How long loading may take, with all files.
const TIMEOUT: Duration = Duration::from_secs(10);

type LoadResult = Result<Loaded, Problems>;

/// Loads the configuration, with one thread at a time.
#[derive(Default)]
pub struct ConfigLoader {
    environment: Environment,
    was_loaded: bool,
    /// The result of a thread that took longer than the timeout.
    unfinished: Option<Receiver<LoadResult>>,
}

impl ConfigLoader {
    pub fn new(environment: Environment) -> Self {
        Self { environment, ..Self::default() }
    }

    /// Loads the configuration. A file that once existed must exist later as well, and only the
    /// first time a key may be unusable. `is_used`: it comes into force if it is valid.
    pub async fn load(&mut self, is_used: bool) -> LoadResult {
        let (environment, was_loaded) = (self.environment.clone(), self.was_loaded);
        let work = move || {
            let loaded = load(&environment)?;
            let mut loaded = if was_loaded { loaded.with_usable_keys()? } else { loaded };
            if is_used {
                loaded.remember_restriction(environment.state_dir.as_deref());
            }
            Ok(loaded)
        };
        let loaded = self.run(TIMEOUT, work).await?;
        self.environment.file_required |= loaded.file_found;
        // The state directory may be deleted meanwhile.
        self.environment.was_restricted |= is_used && loaded.config.auth.needs_token();
        self.was_loaded = true;
        Ok(loaded)
    }

    /// Closes the room if it has lost its key: a token was needed in the previous process. Nobody
    /// knows that if there is no state directory.
    pub fn restrict(&mut self, loaded: &mut Loaded) {
        if self.environment.state_dir.is_some() {
            self.environment.was_restricted = true;
            loaded.restrict();
        }
    }

    async fn run(
        &mut self,
        limit: Duration,
        work: impl FnOnce() -> LoadResult + Send + 'static,
    ) -> LoadResult {
        if let Some(unfinished) = &mut self.unfinished
            && unfinished.try_recv().is_err_and(|error| error == TryRecvError::Empty)
        {
            return Err(unread("one of its files still blocks the previous reload"));
        }
        let no_thread = |error: io::Error| unread(format!("no thread for it: {error}"));
        let result = self.unfinished.insert(on_thread("config", work).map_err(no_thread)?);
        match timeout(limit, result).await {
            Ok(Ok(result)) => result,
            // The panic is in the log.
            Ok(Err(_)) => Err(unread("reading it failed inside wschat")),
            Err(_) => Err(unread(format!(
                "it, or a file that it names, cannot be read within {} s",
                limit.as_secs()
            ))),
        }
    }
}

fn unread(why: impl Display) -> Problems {
    Problems::unreadable("configuration", why)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[track_caller]
    fn check(result: LoadResult, want: &str) {
        assert_eq!(result.unwrap_err().to_string(), format!("wschat: configuration: {want}"));
    }

    #[tokio::test]
    async fn a_read_that_blocks_times_out_and_blocks_only_one_thread() {
        let (mut loader, (go_on, blocked)) = (ConfigLoader::default(), mpsc::channel::<()>());
        let good = || load(&Environment { file: "/nonexistent".into(), ..Environment::default() });
        let blocking = move || {
            let _ = blocked.recv();
            good()
        };
        let late = loader.run(Duration::from_millis(10), blocking).await;
        check(late, "it, or a file that it names, cannot be read within 0 s");
        let next = loader.run(TIMEOUT, good).await;
        check(next, "one of its files still blocks the previous reload");
        drop(go_on);
        while loader.run(TIMEOUT, good).await.is_err() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let result = ConfigLoader::default().run(TIMEOUT, || panic!("as this test wants it")).await;
        check(result, "reading it failed inside wschat");
    }
}

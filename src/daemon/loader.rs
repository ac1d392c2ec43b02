//! Loading the configuration on a thread of its own: a network file system that
//! hangs can hold up a read for ever, and signals are to be obeyed all the while.

use std::io;
use std::time::Duration;

use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::timeout;

use crate::config::load;
use crate::config::{Environment, Loaded, Problems};
use crate::worker::on_thread;

/// How long all files together may take.
const PATIENCE: Duration = Duration::from_secs(10);

type Outcome = Result<Loaded, Problems>;

/// Loads the configuration, with one thread at a time.
#[derive(Default)]
pub struct Loader {
    outside: Environment,
    /// A thread that was not waited for to its end.
    unfinished: Option<Receiver<Outcome>>,
}

impl Loader {
    /// A loader of the configuration that comes from `outside`.
    pub fn new(outside: Environment) -> Self {
        Self { outside, unfinished: None }
    }

    /// Loads the configuration. A file that was there once may not vanish later.
    ///
    /// # Errors
    ///
    /// All that is wrong with it; it cannot be read in time; the system has no
    /// thread left.
    pub async fn load(&mut self) -> Outcome {
        let outside = self.outside.clone();
        let loaded = self.run(PATIENCE, move || load(&outside)).await?;
        self.outside = std::mem::take(&mut self.outside).for_reload(&loaded);
        Ok(loaded)
    }

    async fn run(
        &mut self,
        patience: Duration,
        work: impl FnOnce() -> Outcome + Send + 'static,
    ) -> Outcome {
        if let Some(unfinished) = &mut self.unfinished
            && unfinished.try_recv().is_err_and(|error| error == TryRecvError::Empty)
        {
            return Err(unread("a file of it still blocks the reload before this one"));
        }
        let no_thread = |error: io::Error| unread(format!("no thread for it: {error}"));
        let loading = self.unfinished.insert(on_thread("config", work).map_err(no_thread)?);
        match timeout(patience, loading).await {
            Ok(Ok(outcome)) => outcome,
            // The panic is in the log.
            Ok(Err(_)) => Err(unread("reading it failed inside wschat")),
            Err(_) => Err(unread(format!(
                "it, or a file that it names, cannot be read within {} s",
                patience.as_secs()
            ))),
        }
    }
}

fn unread(why: impl Into<String>) -> Problems {
    Problems::unreadable("configuration", why)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn why(outcome: Outcome) -> String {
        outcome.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_read_that_blocks_is_given_up_and_blocks_only_one_thread() {
        let (mut loader, (go_on, blocked)) = (Loader::default(), mpsc::channel::<()>());
        let good = || load(&Environment { file: "/nonexistent".into(), ..Environment::default() });
        let blocking = move || {
            let _ = blocked.recv();
            good()
        };
        let late = loader.run(Duration::from_millis(10), blocking).await;
        let want = "wschat: configuration: it, or a file that it names, cannot be read within 0 s";
        assert_eq!(why(late), want);
        let next = loader.run(PATIENCE, good).await;
        let want = "wschat: configuration: a file of it still blocks the reload before this one";
        assert_eq!(why(next), want);
        drop(go_on);
        while loader.run(PATIENCE, good).await.is_err() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let outcome = Loader::default().run(PATIENCE, || panic!("as this test wants it")).await;
        assert_eq!(why(outcome), "wschat: configuration: reading it failed inside wschat");
    }
}

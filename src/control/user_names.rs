//! The names of the users of this machine, for the log.

use std::sync::Arc;
use std::time::Duration;

use nix::unistd::{Uid, User};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::worker::on_thread;

/// How long an operator waits for a name service that does not answer.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);
/// Lookups at a time: one that hangs keeps its thread.
const LOOKUPS_MAX: usize = 4;
/// The longest name that is shown, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// What the kernel shows for a user that a user namespace does not have.
const OVERFLOW_UID: u32 = 65534;

/// Looks up names of users.
#[derive(Debug)]
pub struct UserNames {
    lookups: Arc<Semaphore>,
}

impl Default for UserNames {
    fn default() -> Self {
        Self { lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }
}

impl UserNames {
    /// The name of the user `uid`; `None` if it has none, or none is known in time.
    pub async fn name(&self, uid: u32) -> Option<String> {
        if uid == 0 {
            return Some("root".to_owned());
        }
        if uid == OVERFLOW_UID {
            return None;
        }
        self.look_up(move || User::from_uid(Uid::from_raw(uid)).ok()?.map(|user| user.name)).await
    }

    /// The result of `lookup`, which may hang.
    async fn look_up(
        &self,
        lookup: impl FnOnce() -> Option<String> + Send + 'static,
    ) -> Option<String> {
        let permit = Arc::clone(&self.lookups).try_acquire_owned().ok()?;
        let found = on_thread("user-name", move || {
            let _permit = permit;
            lookup()
        });
        let name = timeout(LOOKUP_TIMEOUT, found.ok()?).await.ok()?.ok()??;
        Some(name).filter(|name| is_name(name))
    }
}

/// Whether a name service has answered with something that can be shown as a name.
fn is_name(name: &str) -> bool {
    let is_visible = |c: char| !c.is_control() && !c.is_whitespace();
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(is_visible)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn names_of_users() {
        let names = UserNames::default();
        assert_eq!(names.name(0).await.as_deref(), Some("root"));
        assert_eq!(names.name(1).await.as_deref(), Some("daemon"));
        assert_eq!(names.name(OVERFLOW_UID).await, None, "it can be anybody");
        assert_eq!(names.name(2_000_000_001).await, None);
    }

    #[test]
    fn names_that_are_not_shown() {
        assert!(is_name("ann") && is_name("DOMAIN\\ann") && is_name("ann@example.org"));
        for name in ["", "an n", "ann\n", "\u{1b}[31m", &"a".repeat(300)] {
            assert!(!is_name(name), "{name:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lookups_that_hang_keep_nobody_waiting() {
        let names = UserNames::default();
        let (ends, end) =
            (0..LOOKUPS_MAX).map(|_| mpsc::channel::<()>()).unzip::<_, _, Vec<_>, Vec<_>>();
        for end in end {
            let hangs = move || end.recv().err().map(|_| "late".to_owned());
            assert_eq!(names.look_up(hangs).await, None);
        }
        assert_eq!(names.look_up(|| Some("ann".to_owned())).await, None, "no place is left");
        drop(ends);
        tokio::time::resume();
        while names.lookups.available_permits() < LOOKUPS_MAX {
            tokio::task::yield_now().await;
        }
        assert_eq!(names.look_up(|| Some("ann".to_owned())).await.as_deref(), Some("ann"));
    }
}

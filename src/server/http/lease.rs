//! How long an HTTP connection may stay open, and whether it has to give way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// How long after the server was closed a shard may still answer a POST.
const CLOSE_GRACE: Duration = Duration::from_millis(25);

/// The lease of an HTTP connection.
#[derive(Debug)]
pub(crate) struct Lease {
    /// How long it lasts after each renewal.
    limit: Duration,
    /// When it ends; `None` while a shard has a message.
    end: watch::Sender<Option<Instant>>,
    /// The connection has to give way.
    is_revoked: watch::Sender<bool>,
    /// When the server was closed.
    closed_at: watch::Receiver<Option<Instant>>,
    /// A POST is being answered.
    has_post: AtomicBool,
    /// A request was answered.
    has_served: AtomicBool,
}

impl Lease {
    /// A lease that lasts for `limit`. `closed_at` says when the server was closed.
    pub fn new(limit: Duration, closed_at: watch::Receiver<Option<Instant>>) -> Self {
        Self {
            limit,
            end: watch::Sender::new(Some(Instant::now() + limit)),
            is_revoked: watch::Sender::new(false),
            closed_at,
            has_post: false.into(),
            has_served: false.into(),
        }
    }

    /// A POST has begun: its body has the whole time.
    pub fn begin_post(&self) {
        self.has_post.store(true, Ordering::Relaxed);
        self.renew();
    }

    /// The body has arrived. Returns when the client must have its response; the connection
    /// stays open until then.
    pub fn wait_for_shard(&self) -> Instant {
        self.end.send_replace(None);
        Instant::now() + self.limit
    }

    /// The response to a POST is ready.
    pub fn end_post(&self) {
        self.has_post.store(false, Ordering::Relaxed);
        self.end_request();
    }

    /// A response is ready, after which the connection stays open: its client has the whole
    /// time to take it and to send the next request.
    pub fn end_request(&self) {
        self.has_served.store(true, Ordering::Relaxed);
        self.renew();
    }

    fn renew(&self) {
        self.end.send_replace(Some(Instant::now() + self.limit));
    }

    /// Returns when the lease has ended.
    pub async fn ended(&self) {
        let mut ends = self.end.subscribe();
        loop {
            let end = *ends.borrow_and_update();
            let sleep = async {
                match end {
                    Some(end) => sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => return,
                _ = ends.changed() => {}
            }
        }
    }

    /// Whether a request was answered, so that the client is not slow but idle.
    pub fn has_served(&self) -> bool {
        self.has_served.load(Ordering::Relaxed)
    }

    /// Whether the connection waits for a next request.
    pub fn is_idle(&self) -> bool {
        self.has_served() && !self.has_post.load(Ordering::Relaxed)
    }

    /// The connection has to give way.
    pub fn revoke(&self) {
        self.is_revoked.send_replace(true);
    }

    /// Whether the connection has to give way.
    pub fn is_revoked(&self) -> bool {
        *self.is_revoked.borrow()
    }

    /// Returns when the connection has to give way, unless a POST is being answered then.
    pub async fn must_give_way(&self) {
        let mut is_revoked = self.is_revoked.subscribe();
        let _ = is_revoked.wait_for(|is_revoked| *is_revoked).await;
        if self.has_post.load(Ordering::Relaxed) {
            std::future::pending().await
        }
    }

    /// Returns when a POST that is being answered has to give way: its connection has to, or
    /// the server was closed some time ago.
    pub async fn revoked(&self) {
        let (mut is_revoked, mut closed_at) = (self.is_revoked.subscribe(), self.closed_at.clone());
        let closed = async {
            let closed_at = closed_at.wait_for(Option::is_some).await.map(|closed_at| *closed_at);
            if let Ok(Some(closed_at)) = closed_at {
                sleep_until(closed_at + CLOSE_GRACE).await;
            }
        };
        tokio::select! {
            _ = is_revoked.wait_for(|is_revoked| *is_revoked) => {}
            () = closed => {}
        }
    }

    /// Whether the server is closed, so that a connection gets no further response.
    pub fn is_closed(&self) -> bool {
        self.closed_at.borrow().is_some()
    }
}

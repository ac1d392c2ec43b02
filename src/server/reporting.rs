//! What the HTTP server and the daemon report: for the counters, and for the log about clients.

use crate::mutex::lock;
use crate::server::admission::rejection::Rejection;
use crate::server::client_log::ClientEvent;
use crate::server::pool::ShardPool;
use crate::server::socket::Peer;

impl ShardPool {
    /// Counts a reload of the configuration.
    pub fn count_reload(&self, is_applied: bool) {
        lock(&self.shared().counters).reloads[usize::from(!is_applied)] += 1;
    }

    /// Counts a connection that did not become a WebSocket, and logs it if `peer` is given.
    pub fn count_rejection(&self, rejection: Rejection, peer: Option<Peer>) {
        self.shared().count_rejection(rejection);
        if let Some(peer) = peer {
            self.shared().note_client(ClientEvent::Rejected(rejection), peer);
        }
    }

    /// Counts and logs that a request of `peer` was not valid.
    pub fn log_bad_request(&self, peer: Peer) {
        self.shared().note_client(ClientEvent::BadRequest, peer);
    }

    /// Logs, in time, how many events of clients had no line of their own.
    pub async fn log_clients(self) {
        self.shared().client_log.repeat(|| self.shared().now_ms()).await;
    }

    /// Logs what of that is left at the end of the process.
    pub fn finish_client_log(&self) {
        self.shared().client_log.finish();
    }
}

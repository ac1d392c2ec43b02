//! Notifications to the service manager (sd_notify(3)). Sending never blocks, except in
//! [`ServiceManager::send_by`].

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use sd_notify::NotifyState;
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::mutex::lock;

/// How long to wait before a notification is sent again.
const RETRY: Duration = Duration::from_millis(100);
/// How long a notification is sent again; systemd waits as long for a start.
const RETRY_MAX: Duration = Duration::from_secs(90);

/// The service manager that started the daemon, if one did; clones share its state.
#[derive(Clone)]
pub struct ServiceManager(Arc<NotifySocket>);

struct NotifySocket {
    /// `$NOTIFY_SOCKET`.
    name: Option<OsString>,
    queue: Mutex<NotifyQueue>,
    /// Wakes the task that sends the queue.
    added: Notify,
}

#[derive(Default)]
struct NotifyQueue {
    /// Notifications that must arrive, at most one per topic.
    pending: VecDeque<Notification>,
    /// Why the last attempt failed; `None` if it did not.
    failure: Option<ErrorKind>,
}

struct Notification {
    topic: Topic,
    text: String,
    deadline: Instant,
}

#[derive(PartialEq, Eq)]
enum Topic {
    Ready,
    Reloading,
    Stopping,
    /// Removes a stored descriptor, by name.
    Remove(String),
}

impl ServiceManager {
    /// The service manager at `name`, the value of `$NOTIFY_SOCKET`.
    pub fn new(name: Option<OsString>) -> Self {
        Self(Arc::new(NotifySocket { name, queue: Mutex::default(), added: Notify::new() }))
    }

    pub fn exists(&self) -> bool {
        self.0.name.is_some()
    }

    pub fn ready(&self) {
        self.send_or_queue(Topic::Ready, "READY=1\n".to_owned());
    }

    /// The configuration is being reloaded; [`ready`](Self::ready) must follow.
    pub fn reloading(&self) {
        // In one datagram: systemd reads the time of this reload from it.
        let time =
            NotifyState::monotonic_usec_now().map_or(String::new(), |now| format!("{now}\n"));
        self.send_or_queue(Topic::Reloading, format!("RELOADING=1\n{time}"));
    }

    /// The daemon stops within `timeout`.
    pub fn stopping(&self, timeout: Duration) {
        let usec = timeout.as_micros();
        let text = format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={usec}\n");
        self.send_or_queue(Topic::Stopping, text);
    }

    /// Removes the descriptor `name` from the store.
    pub fn remove_stored(&self, name: String) {
        let text = format!("FDSTOREREMOVE=1\nFDNAME={name}\n");
        self.send_or_queue(Topic::Remove(name), text);
    }

    pub fn reset_watchdog(&self) {
        self.send_once("WATCHDOG=1\n");
    }

    /// Shows `line`, which has no newline; returns whether it was sent.
    pub fn send_status(&self, line: &str) -> bool {
        self.send_once(&format!("STATUS={line}\n"))
    }

    /// Sends queued notifications for as long as this is polled.
    pub async fn send_queued(self) {
        loop {
            self.0.added.notified().await;
            while !self.send_pending(Instant::now()) {
                sleep(RETRY).await;
            }
        }
    }

    /// Sends `text` with descriptors after all pending notifications. Blocks until the
    /// service manager takes it or `deadline` has passed.
    pub fn send_by(
        &self,
        deadline: Instant,
        text: &str,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        loop {
            let sent = match self.send_pending(Instant::now()) {
                true => self.send(text, descriptors),
                // A pending removal must not remove what is stored now.
                false => Err(lock(&self.0.queue).failure.unwrap_or(ErrorKind::WouldBlock).into()),
            };
            match sent {
                Err(error)
                    if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline =>
                {
                    thread::sleep(RETRY);
                }
                sent => return sent,
            }
        }
    }

    /// Sends a notification that must arrive, now or later. It replaces pending ones
    /// that are no longer true.
    fn send_or_queue(&self, topic: Topic, text: String) {
        if !self.exists() {
            return;
        }
        let now = Instant::now();
        let mut queue = lock(&self.0.queue);
        queue.pending.retain(|old| {
            old.topic != topic && (&topic, &old.topic) != (&Topic::Reloading, &Topic::Ready)
        });
        queue.pending.push_back(Notification { topic, text, deadline: now + RETRY_MAX });
        drop(queue);
        if !self.send_pending(now) {
            self.0.added.notify_one();
        }
    }

    /// Sends pending notifications in order; returns whether none is left.
    fn send_pending(&self, now: Instant) -> bool {
        let mut queue = lock(&self.0.queue);
        while let Some(first) = queue.pending.front() {
            let (sent, is_late) = (self.send(&first.text, &[]), first.deadline <= now);
            let is_sent = queue.note(sent);
            if !is_sent && !is_late {
                return false;
            }
            if let (Some(lost), false) = (queue.pending.pop_front(), is_sent) {
                warn!("a notification to the service manager is lost: {}", lost.text.trim_end());
            }
        }
        true
    }

    /// Sends a notification that may be lost; returns whether it was sent.
    fn send_once(&self, text: &str) -> bool {
        let sent = self.send(text, &[]);
        lock(&self.0.queue).note(sent)
    }

    /// One attempt, which does not block. Does nothing without a service manager.
    fn send(&self, text: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let Some(name) = &self.0.name else { return Ok(()) };
        let address = match name.as_bytes() {
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => return Err(io::Error::new(ErrorKind::InvalidInput, "unsupported socket")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::other("too many descriptors for one notification"));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sendmsg(&socket, &[IoSlice::new(text.as_bytes())], &mut control, flags)?;
        Ok(())
    }
}

impl NotifyQueue {
    /// Logs a result that differs from the previous one; returns whether it is a success.
    fn note(&mut self, sent: io::Result<()>) -> bool {
        let failure = sent.as_ref().err().map(io::Error::kind);
        if failure != self.failure {
            match &sent {
                Ok(()) => info!("the service manager takes notifications again"),
                Err(error) => warn!(%error, "cannot notify the service manager: {error}"),
            }
        }
        self.failure = failure;
        sent.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service manager whose socket takes a few datagrams until it is read.
    fn manager() -> (ServiceManager, UnixDatagram, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        (ServiceManager::new(Some(path.into())), socket, folder)
    }

    fn read(socket: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 4096];
        let mut read = Vec::new();
        while let Ok(length) = socket.recv(&mut buffer) {
            read.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        read
    }

    /// Fills the queue of the socket.
    fn fill(manager: &ServiceManager) {
        while manager.send_once("WATCHDOG=1\n") {}
    }

    #[test]
    fn a_manager_that_does_not_read_gets_the_newest_of_each_topic_later() {
        let (manager, socket, _folder) = manager();
        fill(&manager);
        manager.ready();
        for _ in 0..1000 {
            manager.reloading();
            manager.ready();
            manager.reset_watchdog();
        }
        manager.stopping(Duration::from_secs(10));
        assert_eq!(lock(&manager.0.queue).pending.len(), 3);
        read(&socket);
        assert!(manager.send_pending(Instant::now()));
        let read = read(&socket);
        let begins: Vec<_> = read.iter().filter_map(|text| text.lines().next()).collect();
        assert_eq!(begins, ["RELOADING=1", "READY=1", "STOPPING=1"]);
    }

    #[test]
    fn a_notification_is_dropped_after_its_deadline() {
        let (manager, socket, _folder) = manager();
        fill(&manager);
        manager.ready();
        let now = Instant::now();
        assert!(!manager.send_pending(now), "it is tried again");
        assert!(manager.send_pending(now + RETRY_MAX));
        assert!(!read(&socket).contains(&"READY=1\n".to_owned()));
        manager.ready();
        assert_eq!(read(&socket), ["READY=1\n"]);
    }

    #[test]
    fn a_bad_socket_is_a_failure_and_none_is_not() {
        for bad in ["", "relative", "vsock:1:2", "/nonexistent/socket", "@"] {
            let manager = ServiceManager::new(Some(bad.into()));
            manager.ready();
            assert!(lock(&manager.0.queue).failure.is_some(), "{bad:?}");
        }
        let manager = ServiceManager::new(None);
        manager.ready();
        assert!(lock(&manager.0.queue).failure.is_none());
    }
}

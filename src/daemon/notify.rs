//! What the service manager is told (sd_notify(3)), without waiting for it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt::Write;
use std::io::{self, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use sd_notify::NotifyState;
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{info, warn};

/// What ending takes beside the clients' time.
const STOP_SLACK: Duration = Duration::from_secs(10);
/// How long to wait before a notification is sent again that was not taken.
const RETRY: Duration = Duration::from_millis(100);
/// For how long one is sent again; systemd waits as long for a service to start.
const RETRY_MAX: Duration = Duration::from_secs(90);

/// The service manager that started us, if one did; clones are the same one.
#[derive(Clone, Debug)]
pub struct Manager(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `$NOTIFY_SOCKET`.
    socket: Option<OsString>,
    state: Mutex<State>,
    /// Something was added to what waits.
    added: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// What has to arrive and has not yet; at most one of each kind.
    waiting: VecDeque<Waiting>,
    /// Why the last attempt failed; none if it did not.
    failure: Option<ErrorKind>,
}

#[derive(Debug)]
struct Waiting {
    kind: Kind,
    text: String,
    until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ready,
    Reloading,
    Stopping,
    /// A stored descriptor, by its number, is to be forgotten.
    Forget(u32),
}

impl Manager {
    /// The service manager at `socket`, the value of `$NOTIFY_SOCKET`.
    pub fn new(socket: Option<OsString>) -> Self {
        Self(Arc::new(Inner { socket, state: Mutex::default(), added: Notify::new() }))
    }

    /// Whether there is one.
    pub fn exists(&self) -> bool {
        self.0.socket.is_some()
    }

    /// Messages can flow.
    pub fn ready(&self) {
        self.tell(Kind::Ready, &[NotifyState::Ready]);
    }

    /// The configuration is being read again; [`ready`](Self::ready) has to follow.
    pub fn reloading(&self) {
        // One datagram: systemd takes the time for that of this very reload.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(Kind::Reloading, &[NotifyState::Reloading, now]),
            Err(_) => self.tell(Kind::Reloading, &[NotifyState::Reloading]),
        }
    }

    /// The service is on its way out, which may take as long as `patience`.
    pub fn stopping(&self, patience: Duration) {
        let usec = u32::try_from((patience + STOP_SLACK).as_micros()).unwrap_or(u32::MAX);
        self.tell(Kind::Stopping, &[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(usec)]);
    }

    /// The descriptor that was stored as `name`, whose number this is, is not
    /// needed any more.
    pub fn forget(&self, number: u32, name: &str) {
        let name = format!("FDNAME={name}");
        let text = [NotifyState::Custom("FDSTOREREMOVE=1"), NotifyState::Custom(&name)];
        self.tell(Kind::Forget(number), &text);
    }

    /// The process is well, for the watchdog.
    pub fn watchdog(&self) {
        self.send_once(&[NotifyState::Watchdog]);
    }

    /// Sends what has to arrive until it does, for as long as this is polled.
    pub async fn retry(self) {
        loop {
            self.0.added.notified().await;
            while !self.send_waiting(Instant::now()) {
                sleep(RETRY).await;
            }
        }
    }

    /// Sends `state` with descriptors, after all that waits, and blocks until it
    /// is taken or the `deadline` has passed.
    ///
    /// # Errors
    ///
    /// The system's, of the last attempt.
    pub fn send_by(
        &self,
        deadline: Instant,
        state: &[NotifyState<'_>],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let text = text(state);
        loop {
            let sent = match self.send_waiting(Instant::now()) {
                true => self.send(&text, descriptors),
                // To be sent before: an order to forget must not meet what it precedes.
                false => Err(self.state().failure.unwrap_or(ErrorKind::WouldBlock).into()),
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

    /// Sends what has to arrive, now or later. It takes the place of what is no
    /// longer true.
    fn tell(&self, kind: Kind, state: &[NotifyState<'_>]) {
        if !self.exists() {
            return;
        }
        let now = Instant::now();
        let mut inner = self.state();
        inner.waiting.retain(|waiting| {
            waiting.kind != kind && (kind, waiting.kind) != (Kind::Reloading, Kind::Ready)
        });
        inner.waiting.push_back(Waiting { kind, text: text(state), until: now + RETRY_MAX });
        drop(inner);
        if !self.send_waiting(now) {
            self.0.added.notify_one();
        }
    }

    /// Sends what waits, in its order; whether nothing waits any more.
    fn send_waiting(&self, now: Instant) -> bool {
        let mut state = self.state();
        while let Some(first) = state.waiting.front() {
            let (sent, is_late) = (self.send(&first.text, &[]), first.until <= now);
            let delivered = state.note(sent);
            if !delivered && !is_late {
                return false;
            }
            if let (Some(lost), false) = (state.waiting.pop_front(), delivered) {
                warn!("the service manager was not told: {}", lost.text.trim_end());
            }
        }
        true
    }

    /// Sends what may be lost; whether it was taken.
    fn send_once(&self, state: &[NotifyState<'_>]) -> bool {
        let sent = self.send(&text(state), &[]);
        self.state().note(sent)
    }

    /// One attempt, which does not block. Without a service manager it does
    /// nothing.
    fn send(&self, text: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let Some(name) = &self.0.socket else { return Ok(()) };
        let address = match name.as_bytes() {
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => return Err(io::Error::new(ErrorKind::InvalidInput, "no such kind of socket")),
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Logs how the last attempt ended where that has changed; whether it was
    /// successful.
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

/// The lines of a notification.
fn text(state: &[NotifyState<'_>]) -> String {
    let mut text = String::new();
    for assignment in state {
        // A string takes everything.
        let _ = writeln!(text, "{assignment}");
    }
    text
}

/// How often the watchdog wants to hear of us, if there is one.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// The one line that `systemctl status` shows.
#[derive(Debug, Default)]
pub struct StatusLine {
    sent: Option<(Instant, String)>,
}

impl StatusLine {
    /// The least time between two lines.
    pub const INTERVAL: Duration = Duration::from_secs(2);

    /// Sends `line` if it says something new and the last one was sent long
    /// enough ago; to be called again if not.
    pub fn show(&mut self, manager: &Manager, line: &str, now: Instant) {
        let delivered =
            self.next(line, now).is_none_or(|line| manager.send_once(&[NotifyState::Status(line)]));
        if !delivered {
            // Then it is news the next time as well.
            self.sent = None;
        }
    }

    fn next(&mut self, line: &str, now: Instant) -> Option<&str> {
        let line = one_line(line);
        let nothing_new = self.sent.as_ref().is_some_and(|(at, sent)| {
            *sent == line || now.saturating_duration_since(*at) < Self::INTERVAL
        });
        if nothing_new { None } else { Some(&self.sent.insert((now, line)).1) }
    }
}

/// A newline would begin another assignment, so there is none; nor anything
/// else that a terminal might obey, nor more than a line can show.
fn one_line(text: &str) -> String {
    const CHARS_MAX: usize = 500;
    text.chars().take(CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service manager with a socket that takes a few datagrams until it is read.
    fn manager() -> (Manager, UnixDatagram, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        (Manager::new(Some(path.into())), socket, folder)
    }

    fn read(socket: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 4096];
        let mut read = Vec::new();
        while let Ok(length) = socket.recv(&mut buffer) {
            read.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        read
    }

    /// Fills the socket's queue.
    fn fill(manager: &Manager) {
        while manager.send_once(&[NotifyState::Watchdog]) {}
    }

    #[test]
    fn a_manager_that_does_not_read_is_told_the_newest_of_each_kind_once_it_does() {
        let (manager, socket, _folder) = manager();
        fill(&manager);
        manager.ready();
        for _ in 0..1000 {
            manager.reloading();
            manager.ready();
            manager.watchdog();
        }
        manager.stopping(Duration::ZERO);
        assert_eq!(manager.state().waiting.len(), 3);
        read(&socket);
        assert!(manager.send_waiting(Instant::now()));
        let read = read(&socket);
        let begin = |text: &String| text.lines().next().unwrap_or_default().to_owned();
        let begins: Vec<_> = read.iter().map(begin).collect();
        assert_eq!(begins, ["RELOADING=1", "READY=1", "STOPPING=1"]);
    }

    #[test]
    fn what_is_not_taken_for_long_is_given_up() {
        let (manager, socket, _folder) = manager();
        fill(&manager);
        manager.ready();
        let now = Instant::now();
        assert!(!manager.send_waiting(now), "it is tried again");
        assert!(manager.send_waiting(now + RETRY_MAX));
        assert!(!read(&socket).contains(&"READY=1\n".to_owned()));
        manager.ready();
        assert_eq!(read(&socket), ["READY=1\n"]);
    }

    #[test]
    fn a_socket_may_be_abstract_and_may_be_no_socket() {
        let name = format!("wschat-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        Manager::new(Some(format!("@{name}").into())).ready();
        assert_eq!(read(&socket), ["READY=1\n"]);
        for bad in ["", "relative", "vsock:1:2", "/nonexistent/socket", "@"] {
            let manager = Manager::new(Some(bad.into()));
            manager.ready();
            assert!(manager.state().failure.is_some(), "{bad:?}");
        }
        Manager::new(None).ready();
    }

    #[test]
    fn a_failure_is_news_once_until_it_changes() {
        let mut state = State::default();
        let failed = |kind: ErrorKind| Err(io::Error::from(kind));
        assert!(state.note(Ok(())) && state.failure.is_none());
        assert!(!state.note(failed(ErrorKind::NotFound)));
        assert_eq!(state.failure, Some(ErrorKind::NotFound));
        assert!(!state.note(failed(ErrorKind::ConnectionRefused)));
        assert_eq!(state.failure, Some(ErrorKind::ConnectionRefused));
        assert!(state.note(Ok(())) && state.failure.is_none());
    }

    #[test]
    fn a_line_that_was_not_taken_is_sent_again() {
        let (manager, socket, _folder) = manager();
        fill(&manager);
        let (mut status, now) = (StatusLine::default(), Instant::now());
        status.show(&manager, "a", now);
        read(&socket);
        status.show(&manager, "a", now + StatusLine::INTERVAL);
        assert_eq!(read(&socket), ["STATUS=a\n"]);
    }

    #[test]
    fn a_line_is_sent_if_it_is_new_and_not_too_soon() {
        let mut status = StatusLine::default();
        let start = Instant::now();
        for (millis, line, want) in [
            (0, "a", Some("a")),
            (1000, "b", None),
            (2000, "a", None),
            (2500, "b", Some("b")),
            (4400, "c", None),
            (4500, "c", Some("c")),
            (60_000, "c", None),
        ] {
            assert_eq!(
                status.next(line, start + Duration::from_millis(millis)),
                want,
                "{millis} {line}"
            );
        }
    }

    #[test]
    fn a_line_is_one_assignment() {
        assert_eq!(one_line("a\nSTOPPING=1\r\u{1b}[31m"), "a STOPPING=1  [31m");
        assert_eq!(one_line(&"ä".repeat(1000)).chars().count(), 500);
    }
}

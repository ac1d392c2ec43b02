//! A service manager with a descriptor store like that of systemd.

use std::fs;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{Daemon, Setup, until};

const CONFIG: &str = "limits.messages_per_sec = 0\n[server]\nthreads = 2\n";

/// The prefixes of the names of stored descriptors.
const HANDOVER: &str = "wschat-handover-";
const TAIL: &str = "wschat-tail-";
pub const LISTENER: &str = "wschat-listener-";

/// Descriptors with their names.
type Store = Arc<Mutex<Vec<(String, OwnedFd)>>>;

/// The service manager.
pub struct Manager {
    /// The configuration of its daemons.
    pub config: String,
    folder: TempDir,
    store: Store,
    /// The room's listener.
    pub listener: TcpListener,
    /// Whether it passes the listener; if not, the stored one.
    pub passes_listener: bool,
}

impl Manager {
    pub fn new() -> Self {
        Self::with_places(usize::MAX)
    }

    /// Its daemons get this configuration.
    pub fn with_config(config: &str) -> Self {
        Self { config: config.to_owned(), ..Self::new() }
    }

    /// Keeps this many descriptors, and drops later ones as systemd does.
    pub fn with_places(places: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        fs::create_dir(folder.path().join("record")).unwrap();
        let store = Store::default();
        let kept = Arc::clone(&store);
        thread::spawn(move || while handle_notification(&socket, &kept, places) {});
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { config: CONFIG.to_owned(), folder, store, listener, passes_listener: true }
    }

    /// Starts a daemon with the room's listener and all stored descriptors. Like systemd,
    /// keeps these until the daemon removes them.
    pub fn start(&self) -> Daemon {
        self.setup().start()
    }

    /// A daemon to be started.
    pub fn setup(&self) -> Setup {
        let (mut sockets, mut names, mut files) = (Vec::new(), Vec::new(), Vec::new());
        if self.passes_listener {
            sockets.push(OwnedFd::from(self.listener.try_clone().unwrap()));
            names.push("wschat".to_owned());
        }
        let is_passed = |name: &str| {
            name.starts_with(HANDOVER) || (name.starts_with(LISTENER) && !self.passes_listener)
        };
        for (name, descriptor) in self.store().iter().filter(|stored| is_passed(&stored.0)) {
            names.push(name.clone());
            sockets.push(descriptor.try_clone().unwrap());
        }
        for (name, descriptor) in self.store().iter().filter(|stored| stored.0.starts_with(TAIL)) {
            names.push(name.clone());
            files.push(path_of(descriptor));
        }
        Setup::new(&self.config)
            .without_listen()
            .inherit_with_files(sockets, &files, &names.join(":"))
            .env("NOTIFY_SOCKET", &self.folder.path().join("notify").display().to_string())
            .env("FDSTORE", "16")
            .env("LOG_DIR", &self.record().display().to_string())
    }

    /// The stored descriptors.
    pub fn store(&self) -> MutexGuard<'_, Vec<(String, OwnedFd)>> {
        self.store.lock().unwrap()
    }

    /// Takes what a daemon has left for a handover.
    pub fn take_handover(&self) -> (String, OwnedFd) {
        let mut store = self.store();
        let index = store.iter().position(|stored| stored.0.starts_with(HANDOVER));
        store.swap_remove(index.expect("the room is stored before the end"))
    }

    /// Waits until there is only the tail file of this daemon, and returns its path. It can be
    /// changed there.
    pub fn tail_file(&self, daemon: &Daemon) -> PathBuf {
        let identity = |path: &Path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.dev(), metadata.ino()))
        };
        let is_own = |path: &PathBuf| {
            let open = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
            open.flatten().any(|file| identity(&file.path()) == identity(path))
        };
        until("the daemon stores its tail", || {
            let store = self.store();
            let tails: Vec<_> = store.iter().filter(|stored| stored.0.starts_with(TAIL)).collect();
            let [(_, descriptor)] = tails[..] else { return None };
            Some(path_of(descriptor)).filter(is_own)
        })
    }

    /// Where the daemon records messages.
    pub fn record(&self) -> PathBuf {
        self.folder.path().join("record")
    }

    /// Restarts the daemon as `systemctl restart` does.
    pub fn restart(&self, mut daemon: Daemon) -> Daemon {
        daemon.signal(Signal::USR2);
        assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
        let next = self.start();
        next.wait_for_log("took over the room");
        next
    }
}

/// Where a memory file can be opened.
fn path_of(descriptor: &OwnedFd) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), descriptor.as_raw_fd()).into()
}

/// Handles a notification; false at the end of the socket.
fn handle_notification(socket: &UnixDatagram, store: &Store, places: usize) -> bool {
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); 512];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let Ok(message) = recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) else {
        return false;
    };
    let length = message.bytes;
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    // Descriptors of other notifications are closed at once.
    let descriptors: Vec<OwnedFd> = descriptors.flatten().collect();
    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
    let Some(name) = text.lines().find_map(|line| line.strip_prefix("FDNAME=")) else {
        return true;
    };
    let mut store = store.lock().unwrap();
    if text.contains("FDSTOREREMOVE=1") {
        store.retain(|stored| stored.0 != name);
    } else if text.contains("FDSTORE=1") && store.len() < places {
        assert!(text.contains("FDPOLL=0"), "{text}");
        store.extend(descriptors.into_iter().map(|descriptor| (name.to_owned(), descriptor)));
    }
    true
}

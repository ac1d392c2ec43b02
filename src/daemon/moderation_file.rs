//! The decisions of moderators and operators, in a file, so that they outlive the process. (A
//! restart hands them over.)

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use rustix::process::geteuid;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::chat::Moderation;
use crate::config::remember_restriction;
use crate::control::ConfigStatus;
use crate::file::{open_regular, read_all};
use crate::server::ShardPool;

/// The name of the file in the state directory. Beside the control socket, this was its name up
/// to version 0.3.0, for every daemon of the directory.
const NAME: &str = "moderation.json";
/// Beside the control socket, its name is that of the socket and this suffix: daemons whose
/// sockets share a directory have a file each.
const SUFFIX: &str = ".moderation.json";
/// A file that cannot be read is kept with this suffix.
const DAMAGED_SUFFIX: &str = ".damaged";
/// Only the daemon's user may read it.
const MODE: u32 = 0o600;
/// Bytes read at most: more than the highest number of mutes takes.
const BYTES_MAX: u64 = 64 << 20;
/// How long to wait before a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// Where the decisions are.
#[derive(Clone, Debug, Default)]
pub struct ModerationFile {
    /// The path of the file; `None` if no directory is known to be writable.
    path: Option<PathBuf>,
    /// Where earlier versions kept it: read as long as there is no file at `path`.
    earlier: Vec<PathBuf>,
    /// The state directory, locked as long as this daemon uses it.
    lock: Option<Arc<File>>,
    /// Why there is no `path`, if there should be one.
    unsaved: Option<String>,
}

/// A thread that writes the file, so that a disk that blocks blocks nothing else.
pub struct ModerationWriter {
    pool: ShardPool,
    wake: SyncSender<()>,
    ended: Receiver<()>,
}

impl ModerationFile {
    /// The file in the directory `state_dir`, which outlives a stop; without one, beside the
    /// control socket at `socket`, where it outlives a crash.
    pub fn new(state_dir: Option<&Path>, socket: Option<&Path>) -> Self {
        let in_state_dir = state_dir.map(|folder| folder.join(NAME));
        let beside = socket.map(|socket| {
            let mut name = socket.file_name().map_or_else(OsString::new, OsString::from);
            name.push(SUFFIX);
            [socket.with_file_name(name), socket.with_file_name(NAME)]
        });
        let mut paths = in_state_dir.into_iter().chain(beside.into_iter().flatten());
        Self { path: paths.next(), earlier: paths.collect(), ..Self::default() }
    }

    /// Why nothing saves the decisions.
    pub fn unsaved(&self) -> Option<&String> {
        self.unsaved.as_ref()
    }

    /// This, for the only daemon that uses `state_dir`. Another one, of a copy of the unit, only
    /// reads the file: it would replace what the first has decided.
    pub fn lock(self, state_dir: &Path) -> Self {
        let Ok(folder) = File::open(state_dir) else { return self };
        if flock(&folder, FlockOperation::NonBlockingLockExclusive) != Err(Errno::WOULDBLOCK) {
            return Self { lock: Some(Arc::new(folder)), ..self };
        }
        let state_dir = state_dir.display();
        error!(
            "another daemon uses {state_dir}, so mutes, lock and slow mode are not saved: every \
             unit needs a StateDirectory= of its own"
        );
        let earlier = self.path.into_iter().chain(self.earlier).collect();
        let unsaved = Some(format!("another daemon uses {state_dir}"));
        Self { earlier, unsaved, ..Self::default() }
    }

    /// The decisions in the file; none if it is missing. If it cannot be read, the room is
    /// locked, because it may have been, unless `is_handed_over`: then the previous process has
    /// left its decisions.
    pub fn load(&self, is_handed_over: bool) -> Moderation {
        self.read().unwrap_or_else(|(file, error)| {
            let kept = keep_damaged(&file);
            let file = file.display();
            if is_handed_over {
                warn!(
                    %error,
                    "{file} cannot be read: {error}; the mutes and the lock of the previous \
                     process replace it{kept}"
                );
            } else {
                error!(
                    %error,
                    "{file} cannot be read: {error}; its mutes are lost, and the room is locked \
                     until 'wschat unlock'{kept}"
                );
            }
            Moderation::locked()
        })
    }

    /// The decisions in the file; none if it is missing.
    ///
    /// # Errors
    ///
    /// The file that cannot be read, and why.
    pub fn read(&self) -> Result<Moderation, (PathBuf, io::Error)> {
        // Earlier files are only read, because other daemons may still need them.
        for file in self.path.iter().chain(&self.earlier) {
            match read(file) {
                Ok(moderation) => return Ok(moderation),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err((file.clone(), error)),
            }
        }
        Ok(Moderation::default())
    }

    /// Starts the thread. It first writes the decisions of now, because a handover may
    /// have brought others than the file has. It says in `status` why it cannot.
    pub fn start_writer(
        self,
        pool: &ShardPool,
        status: watch::Sender<ConfigStatus>,
    ) -> io::Result<ModerationWriter> {
        let (wake, woken) = mpsc::sync_channel(1);
        let (end, ended) = mpsc::channel();
        if let Some(file) = self.path {
            let (pool, lock) = (pool.clone(), self.lock);
            thread::Builder::new().name("decisions".to_owned()).spawn(move || {
                write_changes(&file, &pool, &woken, &status);
                let state_dir = lock.as_ref().and(file.parent());
                if let Some(folder) = state_dir.filter(|_| needs_token(&pool)) {
                    // Somebody may have removed it. If this fails, a start has told so.
                    let _ = remember_restriction(folder);
                }
                drop(lock);
                drop(end);
            })?;
        }
        let _ = wake.try_send(());
        Ok(ModerationWriter { pool: pool.clone(), wake, ended })
    }
}

impl ModerationWriter {
    /// Wakes the thread after every decision, for as long as this is polled.
    pub fn wake_on_change(&self) -> impl Future<Output = ()> + Send + 'static {
        let (mut decisions, wake) = (self.pool.decisions(), self.wake.clone());
        async move {
            while decisions.changed().await.is_ok() {
                // A full channel wakes it as well.
                let _ = wake.try_send(());
            }
        }
    }

    /// Waits until the last decision is written, or for `timeout`. The future of
    /// [`wake_on_change`](Self::wake_on_change) must have been dropped.
    pub fn finish(self, timeout: Duration) {
        drop(self.wake);
        if self.ended.recv_timeout(timeout) == Err(RecvTimeoutError::Timeout) {
            warn!("the last moderation decisions are not saved: the disk does not answer");
        }
    }
}

/// The loop of the thread: writes whenever it is woken, until `woken` is disconnected.
fn write_changes(
    file: &Path,
    pool: &ShardPool,
    woken: &Receiver<()>,
    status: &watch::Sender<ConfigStatus>,
) {
    let set_status = |why| status.send_modify(|status| status.moderation_unsaved = why);
    let mut written = None;
    let mut is_failing = false;
    loop {
        let woken =
            if is_failing { woken.recv_timeout(RETRY) } else { woken.recv().map_err(From::from) };
        let is_last = woken == Err(RecvTimeoutError::Disconnected);
        let moderation = pool.moderation().clone();
        // Somebody may have removed the file since it was written.
        let is_gone = is_last && !file.exists();
        if is_gone || written.as_ref() != Some(&moderation) {
            let was_failing = is_failing;
            let result = write(file, &moderation);
            is_failing = result.is_err();
            match result {
                Ok(()) => {
                    written = Some(moderation);
                    if was_failing {
                        set_status(None);
                        info!("moderation decisions are saved again");
                    }
                }
                Err(error) if !was_failing => {
                    set_status(Some(error.to_string()));
                    warn!(%error, "moderation decisions are not saved: {error}");
                }
                Err(_) => {}
            }
        }
        if is_last {
            return;
        }
    }
}

fn needs_token(pool: &ShardPool) -> bool {
    pool.settings().borrow().rules.needs_token()
}

/// Reads a file that belongs to the daemon's user or to root; a file of another user must
/// not decide anything. Root reads that of the user to whom the directory belongs.
fn read(path: &Path) -> io::Result<Moderation> {
    let (file, metadata) = open_regular(path, OFlags::NOFOLLOW)?;
    let (owner, user) = (metadata.uid(), geteuid().as_raw());
    let owns_directory =
        || path.parent().and_then(|path| path.metadata().ok()).is_some_and(|it| it.uid() == owner);
    if ![0, user].contains(&owner) && (user != 0 || !owns_directory()) {
        return Err(io::Error::other("it belongs to another user"));
    }
    Ok(serde_json::from_slice(&read_all(file, BYTES_MAX)?)?)
}

/// Renames a file that cannot be read, so that nothing overwrites it, and locks the room in its
/// place. If that fails, because the disk is full, the file stays, so that the next start does not
/// open the room. Returns what to say of it.
fn keep_damaged(file: &Path) -> String {
    let mut damaged = file.as_os_str().to_owned();
    damaged.push(DAMAGED_SUFFIX);
    if fs::rename(file, &damaged).is_err() {
        return String::new();
    }
    if write(file, &Moderation::locked()).is_err() {
        let _ = fs::rename(&damaged, file);
        return String::new();
    }
    format!("; the file is kept as {}", Path::new(&damaged).display())
}

/// Replaces the file atomically, and such that it outlives a power failure.
fn write(file: &Path, moderation: &Moderation) -> io::Result<()> {
    if *moderation == Moderation::default() && !file.exists() {
        return Ok(());
    }
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    let mut out = create(Path::new(&new))?;
    out.write_all(&serde_json::to_vec_pretty(moderation)?)?;
    out.sync_all()?;
    fs::rename(new, file)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Creates a file. An existing one, left by a crash, or a symbolic link is removed, and
/// never written to.
fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    // The umask may have cleared bits.
    file.set_permissions(Permissions::from_mode(MODE))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;
    use crate::chat::{Actor, ModAction, Target, Tim};

    fn muted(name: &str) -> Moderation {
        let mut moderation = Moderation::default();
        let (act, by) =
            (ModAction::Mute { target: Target::name(name), secs: None }, Actor::operator(0));
        moderation.apply(&act, &by, Tim::default()).unwrap();
        moderation
    }

    fn names(folder: &TempDir) -> Vec<String> {
        let entries = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn decisions_are_written_and_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let file_of_socket = ModerationFile::new(None, Some(&folder.path().join("control.sock")));
        let file = folder.path().join("control.sock.moderation.json");
        assert_eq!(file_of_socket.load(false), Moderation::default());
        write(&file, &Moderation::default()).unwrap();
        assert!(!file.exists(), "there is nothing to save");

        let moderation = muted("bob");
        write(&file, &moderation).unwrap();
        assert_eq!(file_of_socket.load(false), moderation);
        assert_eq!(names(&folder), ["control.sock.moderation.json"]);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, MODE);

        write(&file, &Moderation::default()).unwrap();
        assert_eq!(file_of_socket.load(false), Moderation::default());
        fs::write(&file, "rubbish").unwrap();
        assert_eq!(file_of_socket.load(false), Moderation::locked(), "a locked room stays closed");
        let damaged = file.with_file_name("control.sock.moderation.json.damaged");
        assert_eq!(fs::read(damaged).unwrap(), b"rubbish");
        assert_eq!(ModerationFile::default().load(false), Moderation::default());
    }

    #[test]
    fn each_control_socket_has_a_file_and_first_reads_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let [one, two] = ["a.sock", "a.ctl"].map(|name| ModerationFile::new(None, Some(&at(name))));
        write(&at(NAME), &muted("bob")).unwrap();
        assert_eq!((one.load(false), two.load(false)), (muted("bob"), muted("bob")));
        write(one.path.as_ref().unwrap(), &muted("eve")).unwrap();
        assert_eq!((one.load(false), two.load(false)), (muted("eve"), muted("bob")));
        write(two.path.as_ref().unwrap(), &Moderation::default()).unwrap();
        write(two.path.as_ref().unwrap(), &muted("ann")).unwrap();
        write(two.path.as_ref().unwrap(), &Moderation::default()).unwrap();
        assert_eq!((one.load(false), two.load(false)), (muted("eve"), Moderation::default()));
    }

    #[test]
    fn a_state_directory_is_preferred() {
        let (state, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let socket = run.path().join("control.sock");
        let with_both = ModerationFile::new(Some(state.path()), Some(&socket));
        assert_eq!(with_both.load(false), Moderation::default());
        // What an earlier version has left.
        write(&run.path().join("control.sock.moderation.json"), &muted("bob")).unwrap();
        assert_eq!(with_both.load(false), muted("bob"));
        write(with_both.path.as_ref().unwrap(), &muted("eve")).unwrap();
        assert_eq!(with_both.load(false), muted("eve"));
        assert_eq!(names(&state), ["moderation.json"]);
        assert_eq!(ModerationFile::new(Some(state.path()), None).load(false), muted("eve"));
    }

    #[test]
    fn one_daemon_writes_in_a_state_directory() {
        let state = tempfile::tempdir().unwrap();
        let of = || ModerationFile::new(Some(state.path()), None).lock(state.path());
        let first = of();
        write(first.path.as_ref().unwrap(), &muted("bob")).unwrap();
        let second = of();
        assert_eq!((&second.path, second.load(false)), (&None, muted("bob")));
        drop((first, second));
        assert!(of().path.is_some());
        assert_eq!(names(&state), ["moderation.json"]);
    }

    #[test]
    fn a_damaged_file_stays_if_nothing_can_take_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at(NAME), "rubbish").unwrap();
        // As on a full disk, nothing can be written.
        fs::create_dir(at("moderation.json.new")).unwrap();
        let file = ModerationFile::new(Some(folder.path()), None);
        for _ in 0..2 {
            assert_eq!(file.load(false), Moderation::locked());
            assert_eq!(fs::read(at(NAME)).unwrap(), b"rubbish");
        }
        fs::remove_dir(at("moderation.json.new")).unwrap();
        assert_eq!(file.load(false), Moderation::locked());
        assert_eq!(names(&folder), ["moderation.json", "moderation.json.damaged"]);
        assert_eq!(file.load(false), Moderation::locked(), "a stop at once does not open it");
        assert_eq!(fs::read(at("moderation.json.damaged")).unwrap(), b"rubbish");
    }

    #[test]
    fn symbolic_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("precious"), "{}").unwrap();
        let file = at("a.moderation.json");
        for link in ["a.moderation.json.new", "a.moderation.json"] {
            symlink(at("precious"), at(link)).unwrap();
            let of_socket = || ModerationFile::new(None, Some(&at("a")));
            let is_followed = link == "a.moderation.json";
            let expected = if is_followed { Moderation::locked() } else { Moderation::default() };
            assert_eq!(of_socket().load(false), expected);
            write(&file, &muted("bob")).unwrap();
            assert_eq!(of_socket().load(false), muted("bob"));
            let _ = fs::remove_file(at("a.moderation.json.damaged"));
            assert_eq!(fs::read(at("precious")).unwrap(), b"{}", "{link}");
            assert_eq!(names(&folder), ["a.moderation.json", "precious"]);
            fs::remove_file(&file).unwrap();
        }
        fs::create_dir(at("a.moderation.json.new")).unwrap();
        write(&file, &muted("bob")).unwrap_err();
    }
}

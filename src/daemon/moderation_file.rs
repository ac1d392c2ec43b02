//! The decisions of moderators and operators, in a file beside the control socket, so that
//! they survive a crash. (A restart hands them over.)

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::process::geteuid;
use tracing::{info, warn};

use crate::chat::Moderation;
use crate::file::{open_regular, read_all};
use crate::server::ShardPool;

/// The name of the file is the name of the control socket and this suffix: daemons whose
/// sockets share a directory have a file each.
const SUFFIX: &str = ".moderation.json";
/// The name up to version 0.3.0, for every daemon of the directory.
const OLD_NAME: &str = "moderation.json";
/// Only the daemon's user may read it.
const MODE: u32 = 0o600;
/// Bytes read at most: more than the highest number of mutes takes.
const BYTES_MAX: u64 = 64 << 20;
/// How long to wait before a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// The path of the file; `None` without a control socket, because then no directory is
/// known to be writable.
#[derive(Clone, Default)]
pub struct ModerationFile(Option<PathBuf>);

/// A thread that writes the file, so that a disk that blocks blocks nothing else.
pub struct ModerationWriter {
    pool: ShardPool,
    wake: SyncSender<()>,
    ended: Receiver<()>,
}

impl ModerationFile {
    /// The file beside the control socket at `socket`.
    pub fn beside(socket: &Path) -> Self {
        let mut name = socket.file_name().map_or_else(OsString::new, OsString::from);
        name.push(SUFFIX);
        Self(Some(socket.with_file_name(name)))
    }

    /// The decisions in the file; none if it is missing or cannot be read.
    pub fn load(&self) -> Moderation {
        self.read().unwrap_or_else(|(file, error)| {
            let file = file.display();
            warn!(%error, "moderation decisions are lost: {file} cannot be read: {error}");
            Moderation::default()
        })
    }

    /// The decisions in the file; none if it is missing.
    ///
    /// # Errors
    ///
    /// The file that cannot be read, and why.
    pub fn read(&self) -> Result<Moderation, (PathBuf, io::Error)> {
        let Some(file) = &self.0 else { return Ok(Moderation::default()) };
        // The old file is only read, because other daemons may still need it.
        for file in [file.clone(), file.with_file_name(OLD_NAME)] {
            match read(&file) {
                Ok(moderation) => return Ok(moderation),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err((file, error)),
            }
        }
        Ok(Moderation::default())
    }

    /// Starts the thread. It first writes the decisions of now, because a handover may
    /// have brought others than the file has.
    pub fn start_writer(self, pool: &ShardPool) -> io::Result<ModerationWriter> {
        let (wake, woken) = mpsc::sync_channel(1);
        let (end, ended) = mpsc::channel();
        if let Some(file) = self.0 {
            let pool = pool.clone();
            thread::Builder::new().name("decisions".to_owned()).spawn(move || {
                write_changes(&file, &pool, &woken);
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
fn write_changes(file: &Path, pool: &ShardPool, woken: &Receiver<()>) {
    let mut written = None;
    let mut is_failing = false;
    loop {
        let woken =
            if is_failing { woken.recv_timeout(RETRY) } else { woken.recv().map_err(From::from) };
        let moderation = pool.moderation().clone();
        if written.as_ref() != Some(&moderation) {
            let was_failing = is_failing;
            let result = write(file, &moderation);
            is_failing = result.is_err();
            match result {
                Ok(()) => {
                    written = Some(moderation);
                    if was_failing {
                        info!("moderation decisions are saved again");
                    }
                }
                Err(error) if !was_failing => {
                    warn!(%error, "moderation decisions are not saved: {error}");
                }
                Err(_) => {}
            }
        }
        if woken == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
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

/// Replaces the file atomically.
fn write(file: &Path, moderation: &Moderation) -> io::Result<()> {
    if *moderation == Moderation::default() && !file.exists() {
        return Ok(());
    }
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    let mut out = create(Path::new(&new))?;
    out.write_all(&serde_json::to_vec_pretty(moderation)?)?;
    fs::rename(new, file)
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
        let (act, by) = (
            ModAction::Mute { target: Target::name(name), secs: None },
            Actor::Operator { uid: 0 },
        );
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
        let file_of_socket = ModerationFile::beside(&folder.path().join("control.sock"));
        let file = folder.path().join("control.sock.moderation.json");
        assert_eq!(file_of_socket.load(), Moderation::default());
        write(&file, &Moderation::default()).unwrap();
        assert!(!file.exists(), "there is nothing to save");

        let moderation = muted("bob");
        write(&file, &moderation).unwrap();
        assert_eq!(file_of_socket.load(), moderation);
        assert_eq!(names(&folder), ["control.sock.moderation.json"]);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, MODE);

        write(&file, &Moderation::default()).unwrap();
        assert_eq!(file_of_socket.load(), Moderation::default());
        fs::write(&file, "rubbish").unwrap();
        assert_eq!(file_of_socket.load(), Moderation::default());
        assert_eq!(ModerationFile::default().load(), Moderation::default());
    }

    #[test]
    fn each_control_socket_has_a_file_and_first_reads_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let [one, two] = ["a.sock", "a.ctl"].map(|name| ModerationFile::beside(&at(name)));
        write(&at(OLD_NAME), &muted("bob")).unwrap();
        assert_eq!((one.load(), two.load()), (muted("bob"), muted("bob")));
        write(one.0.as_ref().unwrap(), &muted("eve")).unwrap();
        assert_eq!((one.load(), two.load()), (muted("eve"), muted("bob")));
        write(two.0.as_ref().unwrap(), &Moderation::default()).unwrap();
        write(two.0.as_ref().unwrap(), &muted("ann")).unwrap();
        write(two.0.as_ref().unwrap(), &Moderation::default()).unwrap();
        assert_eq!((one.load(), two.load()), (muted("eve"), Moderation::default()));
    }

    #[test]
    fn symbolic_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("precious"), "{}").unwrap();
        let file = at("a.moderation.json");
        for link in ["a.moderation.json.new", "a.moderation.json"] {
            symlink(at("precious"), at(link)).unwrap();
            assert_eq!(ModerationFile::beside(&at("a")).load(), Moderation::default());
            write(&file, &muted("bob")).unwrap();
            assert_eq!(ModerationFile::beside(&at("a")).load(), muted("bob"));
            assert_eq!(fs::read(at("precious")).unwrap(), b"{}", "{link}");
            assert_eq!(names(&folder), ["a.moderation.json", "precious"]);
            fs::remove_file(&file).unwrap();
        }
        fs::create_dir(at("a.moderation.json.new")).unwrap();
        write(&file, &muted("bob")).unwrap_err();
    }
}

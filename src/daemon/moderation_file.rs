//! What moderators and operators have decided, in a file beside the control
//! socket: a crash forgets nobody's mute. (A restart has the handover.)

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

/// The name of the control socket and this is the file's name: daemons whose
/// sockets share a folder have a file each.
const SUFFIX: &str = ".moderation.json";
/// The file's name up to 0.3.0, for every daemon of the folder.
const OLD_NAME: &str = "moderation.json";
/// For the daemon's user alone.
const MODE: u32 = 0o600;
/// Bytes that are read at most: more than the most mutes take.
const BYTES_MAX: u64 = 64 << 20;
/// How long to wait before a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// Where decisions are kept; nowhere without a control socket, for then nobody
/// has said where the daemon may write.
#[derive(Clone, Debug, Default)]
pub struct Decisions {
    file: Option<PathBuf>,
}

/// The thread that writes decisions down. A disk that blocks blocks nobody else.
pub struct Keeper {
    hub: ShardPool,
    wake: SyncSender<()>,
    ended: Receiver<()>,
}

impl Decisions {
    /// Decisions beside the control socket at `socket`.
    pub fn beside(socket: &Path) -> Self {
        let mut name = socket.file_name().map_or_else(OsString::new, OsString::from);
        name.push(SUFFIX);
        Self { file: Some(socket.with_file_name(name)) }
    }

    /// What was decided last; nothing if nothing was, or if it cannot be read.
    pub fn load(&self) -> Moderation {
        let Some(file) = &self.file else { return Moderation::default() };
        // The old file stays where it is: another daemon may need it as well. It
        // is not read any more once there is a file of our own.
        for file in [file.clone(), file.with_file_name(OLD_NAME)] {
            match read(&file) {
                Ok(moderation) => return moderation,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    let file = file.display();
                    warn!(%error, "what was decided is lost, for {file} cannot be read: {error}");
                    break;
                }
            }
        }
        Moderation::default()
    }

    /// Starts to write every decision down, first of all what is decided now: a
    /// handover may have brought something else than the file says.
    ///
    /// # Errors
    ///
    /// The system's, if it has no thread left.
    pub fn keep(self, hub: &ShardPool) -> io::Result<Keeper> {
        let (wake, woken) = mpsc::sync_channel(1);
        let (end, ended) = mpsc::channel();
        if let Some(file) = self.file {
            let hub = hub.clone();
            thread::Builder::new().name("decisions".to_owned()).spawn(move || {
                write_changes(&file, &hub, &woken);
                drop(end);
            })?;
        }
        let _ = wake.try_send(());
        Ok(Keeper { hub: hub.clone(), wake, ended })
    }
}

impl Keeper {
    /// Wakes the thread after every decision, for as long as this is polled.
    pub fn follow(&self) -> impl Future<Output = ()> + Send + 'static {
        let (mut decisions, wake) = (self.hub.decisions(), self.wake.clone());
        async move {
            while decisions.changed().await.is_ok() {
                // A full channel wakes it as well.
                let _ = wake.try_send(());
            }
        }
    }

    /// Waits until the last decision is written, for `patience` at most. To be
    /// called when nobody follows any more.
    pub fn finish(self, patience: Duration) {
        drop(self.wake);
        if self.ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            warn!("the last decisions are not kept: their disk does not answer");
        }
    }
}

/// The thread: writes whenever it is woken, until nobody can wake it any more.
fn write_changes(file: &Path, hub: &ShardPool, woken: &Receiver<()>) {
    let mut written = None;
    let mut failing = false;
    loop {
        let wait =
            if failing { woken.recv_timeout(RETRY) } else { woken.recv().map_err(From::from) };
        let moderation = hub.moderation().clone();
        if written.as_ref() != Some(&moderation) {
            match write(file, &moderation) {
                Ok(()) => {
                    if std::mem::take(&mut failing) {
                        info!("decisions are kept again");
                    }
                    written = Some(moderation);
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        warn!(%error, "decisions are not kept for the case of a crash: {error}");
                    }
                }
            }
        }
        if wait == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// Reads a file that we, or root, wrote; where others may write as well, they
/// are not to decide anything.
fn read(file: &Path) -> io::Result<Moderation> {
    let (file, found) = open_regular(file, OFlags::NOFOLLOW)?;
    if ![0, geteuid().as_raw()].contains(&found.uid()) {
        return Err(io::Error::other("it belongs to another user"));
    }
    Ok(serde_json::from_slice(&read_all(file, BYTES_MAX)?)?)
}

/// Writes the file as a whole: whoever reads it finds the old one or the new one.
fn write(file: &Path, moderation: &Moderation) -> io::Result<()> {
    if *moderation == Moderation::default() && !file.exists() {
        return Ok(());
    }
    let mut next = file.as_os_str().to_owned();
    next.push(".new");
    let mut out = create(Path::new(&next))?;
    out.write_all(&serde_json::to_vec_pretty(moderation)?)?;
    fs::rename(next, file)
}

/// Makes a file that was not there before. What is there, of a crash or somebody's
/// symbolic link, is removed and never written to.
fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    // Whatever the umask is.
    file.set_permissions(Permissions::from_mode(MODE))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};
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
    fn what_is_written_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let decisions = Decisions::beside(&folder.path().join("control.sock"));
        let file = folder.path().join("control.sock.moderation.json");
        assert_eq!(decisions.load(), Moderation::default());
        write(&file, &Moderation::default()).unwrap();
        assert!(!file.exists(), "there is nothing to keep");

        let moderation = muted("bob");
        write(&file, &moderation).unwrap();
        assert_eq!(decisions.load(), moderation);
        assert_eq!(names(&folder), ["control.sock.moderation.json"]);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, MODE);

        write(&file, &Moderation::default()).unwrap();
        assert_eq!(decisions.load(), Moderation::default());
        fs::write(&file, "rubbish").unwrap();
        assert_eq!(decisions.load(), Moderation::default());
        assert_eq!(Decisions::default().load(), Moderation::default());
    }

    #[test]
    fn each_control_socket_has_its_own_and_begins_with_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let [one, two] = ["a.sock", "a.ctl"].map(|name| Decisions::beside(&at(name)));
        write(&at(OLD_NAME), &muted("bob")).unwrap();
        assert_eq!((one.load(), two.load()), (muted("bob"), muted("bob")));
        write(one.file.as_ref().unwrap(), &muted("eve")).unwrap();
        assert_eq!((one.load(), two.load()), (muted("eve"), muted("bob")));
        write(two.file.as_ref().unwrap(), &Moderation::default()).unwrap();
        write(two.file.as_ref().unwrap(), &muted("ann")).unwrap();
        write(two.file.as_ref().unwrap(), &Moderation::default()).unwrap();
        assert_eq!((one.load(), two.load()), (muted("eve"), Moderation::default()));
    }

    #[test]
    fn nothing_is_written_or_read_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("precious"), "{}").unwrap();
        let file = at("a.moderation.json");
        for link in ["a.moderation.json.new", "a.moderation.json"] {
            symlink(at("precious"), at(link)).unwrap();
            assert_eq!(Decisions::beside(&at("a")).load(), Moderation::default());
            write(&file, &muted("bob")).unwrap();
            assert_eq!(Decisions::beside(&at("a")).load(), muted("bob"));
            assert_eq!(fs::read(at("precious")).unwrap(), b"{}", "{link}");
            assert_eq!(names(&folder), ["a.moderation.json", "precious"]);
            fs::remove_file(&file).unwrap();
        }
        fs::create_dir(at("a.moderation.json.new")).unwrap();
        write(&file, &muted("bob")).unwrap_err();
    }

    #[test]
    fn a_file_that_blocks_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("a.moderation.json");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert_eq!(read(&fifo).unwrap_err().to_string(), "not a regular file");
        assert_eq!(Decisions::beside(&folder.path().join("a")).load(), Moderation::default());
    }
}

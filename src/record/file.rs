//! The file of a day, to which whole lines are appended.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The mode of a new file, whatever the umask: for the daemon's user and group.
const MODE: u32 = 0o640;

/// A file that is open for appending, and its path: logrotate may move it away.
#[derive(Debug)]
pub(super) struct DayFile {
    path: PathBuf,
    file: File,
    /// Device and inode.
    identity: (u64, u64),
}

impl DayFile {
    /// Opens `path` for appending, and creates it if it does not exist.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).append(true);
        let file = match options.open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let file = options.create_new(true).mode(MODE).open(&path)?;
                file.set_permissions(Permissions::from_mode(MODE))?;
                file
            }
            other => other?,
        };
        let identity = identity(&file.metadata()?);
        let mut opened = Self { path, file, identity };
        opened.end_incomplete_line()?;
        Ok(opened)
    }

    /// Whether `path` still names this file.
    pub fn is_at(&self, path: &Path) -> bool {
        self.path == path && fs::metadata(path).is_ok_and(|found| identity(&found) == self.identity)
    }

    /// Appends with one system call. Returns how many bytes of `text` the file got.
    pub fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.write(text) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// Removes the last bytes, the beginning of a line that did not fit.
    pub fn cut(&mut self, bytes: usize) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        self.file.set_len(len.saturating_sub(bytes as u64))
    }

    /// Ends a line that a power failure or a full disk left incomplete.
    fn end_incomplete_line(&mut self) -> io::Result<()> {
        let found = self.file.metadata()?;
        if !found.is_file() || found.len() == 0 {
            return Ok(());
        }
        let mut last = [0];
        self.file.seek(SeekFrom::End(-1))?;
        self.file.read_exact(&mut last)?;
        if last != *b"\n" { self.file.write_all(b"\n") } else { Ok(()) }
    }
}

fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_file_is_for_owner_and_group_and_an_old_one_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let (new, old) = (folder.path().join("new"), folder.path().join("old"));
        DayFile::open(new.clone()).unwrap().write(b"a\n").unwrap();
        assert_eq!((mode(&new), fs::read(&new).unwrap()), (0o640, b"a\n".to_vec()));
        fs::write(&old, "a\n").unwrap();
        fs::set_permissions(&old, Permissions::from_mode(0o600)).unwrap();
        DayFile::open(old.clone()).unwrap().write(b"b\n").unwrap();
        assert_eq!((mode(&old), fs::read(&old).unwrap()), (0o600, b"a\nb\n".to_vec()));
    }

    #[test]
    fn a_moved_or_removed_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("day");
        let file = DayFile::open(path.clone()).unwrap();
        assert!(file.is_at(&path) && !file.is_at(&folder.path().join("other")));
        fs::rename(&path, folder.path().join("day.1")).unwrap();
        assert!(!file.is_at(&path));
        fs::write(&path, "").unwrap();
        assert!(!file.is_at(&path));
        fs::remove_file(&path).unwrap();
        assert!(!file.is_at(&path));
    }

    #[test]
    fn an_incomplete_line_damages_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("day");
        for (before, want) in [("", "b\n"), ("a\n", "a\nb\n"), ("a", "a\nb\n")] {
            fs::write(&path, before).unwrap();
            DayFile::open(path.clone()).unwrap().write(b"b\n").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), want);
        }
        let mut file = DayFile::open(path.clone()).unwrap();
        file.write(b"half").unwrap();
        file.cut(4).unwrap();
        file.write(b"c\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a\nb\nc\n");
    }
}

//! Reads files that an operator named. Whatever is at the path, opening and reading it
//! neither blocks nor takes forever.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// The content of a file, and who may read it.
#[derive(Debug, Default)]
pub struct Content {
    /// All its bytes.
    pub bytes: Vec<u8>,
    /// Whether every user of the machine may read it.
    pub others_may_read: bool,
}

impl Content {
    /// The bytes without one newline at the end, of Unix or of Windows: editors add it.
    pub fn without_newline(self) -> Vec<u8> {
        let mut bytes = self.bytes;
        let rest = bytes.strip_suffix(b"\n").map(|rest| rest.strip_suffix(b"\r").unwrap_or(rest));
        bytes.truncate(rest.map_or(bytes.len(), <[u8]>::len));
        bytes
    }
}

/// Reads the regular file at `path`, which holds at most `bytes_max` bytes.
///
/// # Errors
///
/// The system's error; it is not a regular file; it is larger.
///
/// # Examples
///
/// ```
/// use wschat::file::read_file;
/// let why = |path: &str| read_file(path.as_ref(), 1 << 20).unwrap_err().to_string();
/// assert_eq!(why("/dev/zero"), "not a regular file");
/// ```
pub fn read_file(path: &Path, bytes_max: u64) -> io::Result<Content> {
    // Opening a device can have an effect.
    must_be_regular(&fs::metadata(path)?)?;
    let (file, found) = open_regular(path, OFlags::empty())?;
    let others_may_read = found.permissions().mode() & 0o004 != 0;
    Ok(Content { bytes: read_all(file, bytes_max)?, others_may_read })
}

/// Opens the regular file at `path` for reading, with further `flags`.
///
/// # Errors
///
/// The system's error; it is not a regular file.
pub fn open_regular(path: &Path, flags: OFlags) -> io::Result<(File, Metadata)> {
    // Without NONBLOCK, opening waits for the writer of a FIFO and the holder of a lease.
    let flags = (flags | OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)?;
    let found = file.metadata()?;
    must_be_regular(&found)?;
    Ok((file, found))
}

/// Reads `file` to its end.
///
/// # Errors
///
/// The system's error; it has more than `bytes_max` bytes.
pub fn read_all(file: File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("larger than {} MiB", bytes_max >> 20)));
    }
    Ok(bytes)
}

fn must_be_regular(found: &Metadata) -> io::Result<()> {
    if found.is_file() { Ok(()) } else { Err(io::Error::other("not a regular file")) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        symlink(at("fifo"), at("link")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        for path in [&at("fifo"), &at("link"), &at("socket"), folder.path(), "/dev/null".as_ref()] {
            let error = read_file(path, 10).unwrap_err();
            assert_eq!(error.to_string(), "not a regular file", "{}", path.display());
        }
        // What was a file a moment ago may be a FIFO now.
        let error = open_regular(&at("fifo"), OFlags::empty()).unwrap_err();
        assert_eq!(error.to_string(), "not a regular file");
    }

    #[test]
    fn a_file_has_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for (size, fits) in [(0, true), (1 << 20, true), ((1 << 20) + 1, false)] {
            fs::write(&path, vec![b'a'; size]).unwrap();
            match read_file(&path, 1 << 20) {
                Ok(content) => assert!(fits && content.bytes.len() == size),
                Err(error) => assert!(!fits && error.to_string() == "larger than 1 MiB"),
            }
        }
    }
}

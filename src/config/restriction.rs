//! Whether a token was needed to send messages here: a file in the state directory, so that a
//! lost key does not open the room.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

const NAME: &str = "speaking-restricted";
const CONTENT: &str = "A token was needed to send messages. Without a key nobody can send any, \
     unless auth.required = false is set; see wschat.toml(5).\n";

/// Whether a token was needed. What cannot be known counts as yes.
pub(super) fn is_remembered(state_dir: &Path) -> bool {
    let found = state_dir.join(NAME).symlink_metadata();
    !found.is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Remembers that a token is needed, such that it outlives a power failure.
///
/// # Errors
///
/// The file cannot be created.
pub fn remember(state_dir: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).open(state_dir.join(NAME)) {
        Ok(mut file) => {
            file.write_all(CONTENT.as_bytes())?;
            file.sync_all()?;
            File::open(state_dir)?.sync_all()
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

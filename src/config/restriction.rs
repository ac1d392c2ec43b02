//! Whether only some clients could send messages here: a file in the state directory, so that a
//! lost key does not open the room.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

const NAME: &str = "speaking-restricted";
const CONTENT: &str = "A key for tokens was in force. Without one nobody can send messages, \
     unless auth.required = false is set; see wschat.toml(5).\n";

/// Whether a key was in force. What cannot be known counts as yes.
pub(super) fn is_remembered(state_dir: &Path) -> bool {
    !state_dir.join(NAME).try_exists().is_ok_and(|exists| !exists)
}

/// Remembers that a key is in force.
///
/// # Errors
///
/// The file cannot be created.
pub(super) fn remember(state_dir: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).open(state_dir.join(NAME)) {
        Ok(mut file) => {
            file.write_all(CONTENT.as_bytes())?;
            file.sync_all()
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

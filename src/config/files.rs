//! The files of the configuration: `X.toml`, and the drop-ins `X.d/*.toml` beside it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::problem::{Kind, Problem, Problems};
use super::sources::FILE_BYTES_MAX;
use crate::file::{Content, read_file};

/// Entries of a folder of drop-ins at most, those that are ignored included.
const ENTRIES_MAX: usize = 256;

/// A file of the configuration.
pub(super) struct ConfigFile {
    pub path: PathBuf,
    pub content: Content,
    /// Whether it is a drop-in.
    pub is_drop_in: bool,
}

/// Reads all files, in the order in which they apply. The first may be missing, unless it is
/// required. Also returns a warning for each file that is probably meant to be one of them.
///
/// # Errors
///
/// Everything that cannot be read, because a file that is left out could open the room.
pub(super) fn read_files(
    outside: &Environment,
) -> Result<(Vec<ConfigFile>, Vec<Problem>), Problems> {
    let (mut files, mut problems, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    let unreadable = |path: &Path, error: io::Error| {
        Problem::outside(&path.display().to_string(), error.to_string())
    };
    let mut read = |path: PathBuf, is_drop_in| match read_file(&path, FILE_BYTES_MAX) {
        Ok(content) => files.push(ConfigFile { path, content, is_drop_in }),
        Err(error) => problems.push(unreadable(&path, error)),
    };
    if outside.file_required || !is_missing(&outside.file) {
        read(outside.file.clone(), false);
    }
    let folder = drop_in_folder(&outside.file);
    match drop_ins(&folder) {
        Ok((names, misnamed)) => {
            names.into_iter().for_each(|name| read(folder.join(name), true));
            warnings.extend(misnamed.iter().map(|name| misnamed_warning(&folder.join(name))));
        }
        Err(error) => problems.push(unreadable(&folder, error)),
    }
    if problems.is_empty() {
        Ok((files, warnings))
    } else {
        Err(Problems { list: problems, unreadable: true })
    }
}

fn misnamed_warning(path: &Path) -> Problem {
    let problem = Problem::of(path, "it is not read, because its name does not end with .toml");
    Problem { kind: Kind::Warning, ..problem }
}

/// `/etc/wschat.d` for `/etc/wschat.toml`.
fn drop_in_folder(file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().as_bytes();
    let stem = name.strip_suffix(b".toml").unwrap_or(name);
    let mut folder = OsString::from(OsStr::from_bytes(stem));
    folder.push(".d");
    file.with_file_name(folder)
}

/// The names of the drop-ins in `folder`, in the order of their bytes, and names that are
/// probably meant to be some. What editors and package managers leave there has another ending,
/// or begins with a dot.
fn drop_ins(folder: &Path) -> io::Result<(Vec<OsString>, Vec<OsString>)> {
    if is_missing(folder) {
        return Ok(Default::default());
    }
    let mut names = Vec::new();
    for (count, entry) in fs::read_dir(folder)?.enumerate() {
        if count == ENTRIES_MAX {
            return Err(io::Error::other(format!("more than {ENTRIES_MAX} entries")));
        }
        names.push(entry?.file_name());
    }
    names.retain(|name| !name.as_bytes().starts_with(b"."));
    names.sort();
    let (drop_ins, others) =
        names.into_iter().partition::<Vec<_>, _>(|name| name.as_bytes().ends_with(b".toml"));
    Ok((drop_ins, others.into_iter().filter(|name| is_misnamed(name)).collect()))
}

/// Whether an operator may think that a file of this name is read, as other programs do.
fn is_misnamed(name: &OsStr) -> bool {
    let ending = Path::new(name).extension().unwrap_or_default();
    ["toml", "conf"].iter().any(|it| ending.eq_ignore_ascii_case(it))
}

/// Whether there is nothing at `path`, not even a link to what is missing.
fn is_missing(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

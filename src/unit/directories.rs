//! The directories that systemd gives to the user of a service when it starts it. A copy of the
//! unit must not do that: the process that runs could not use them any more.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Group, User};

use super::systemctl::Properties;

/// The settings, and where their directories are (systemd.exec(5)).
const KINDS: &[(&str, &str)] = &[
    ("StateDirectory", "/var/lib"),
    ("RuntimeDirectory", "/run"),
    ("LogsDirectory", "/var/log"),
    ("CacheDirectory", "/var/cache"),
];
/// The owner has to read and to write them.
const OWNER_MODE: u32 = 0o700;

/// What a start would change about directories that exist.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Directories {
    /// Those that it would give to another user.
    pub given: Vec<PathBuf>,
    /// Lines of a copy of the unit that changes none.
    pub lines: String,
    /// What is wrong with them.
    pub problems: Vec<String>,
}

impl Directories {
    /// Those of the service with these properties.
    pub fn of(unit: &Properties) -> Self {
        Self::at(unit, |base, name| Path::new(base).join(name))
    }

    fn at(unit: &Properties, path: impl Fn(&str, &str) -> PathBuf) -> Self {
        let owner = owner(unit);
        let is_dynamic = unit.get("DynamicUser") == "yes";
        let mut found = Self::default();
        for (key, base) in KINDS {
            let mode = u32::from_str_radix(unit.get(&format!("{key}Mode")), 8).ok();
            let names = unit.get(key).split_whitespace();
            let folders: Vec<_> =
                names.filter_map(|name| Some(path(base, name.split(':').next()?))).collect();
            if folders.is_empty() {
                continue;
            }
            if let Some(mode) = mode.filter(|mode| mode & OWNER_MODE != OWNER_MODE) {
                found.problems.push(format!("{key}Mode={mode:04o}: the service could not use it"));
            }
            let existing: Vec<_> =
                folders.iter().filter_map(|folder| fs::metadata(folder).ok()).collect();
            let is_other = |file: &fs::Metadata| {
                let (uid, gid) = owner.unwrap_or((file.uid(), file.gid()));
                (file.uid(), file.gid()) != (uid, gid)
            };
            if is_dynamic && !existing.is_empty() || existing.iter().any(is_other) {
                found.lines += &format!("{key}=\n");
                if let (&"StateDirectory", Some(folder)) = (key, folders.first()) {
                    found.lines += &format!("Environment=STATE_DIRECTORY={}\n", folder.display());
                }
                found.given.extend(folders);
            } else if let Some(file) = existing
                .first()
                .filter(|file| mode.is_some_and(|mode| mode != file.mode() & 0o7777))
            {
                found.lines += &format!("{key}Mode={:04o}\n", file.mode() & 0o7777);
            }
        }
        found
    }
}

/// The user and the group of the service; `None` if there is no such user or group.
fn owner(unit: &Properties) -> Option<(u32, u32)> {
    let user = match unit.get("User") {
        "" => "root",
        user => user,
    };
    let number = user.parse().ok();
    let user = User::from_name(user).ok().flatten();
    let uid = user.as_ref().map(|user| user.uid.as_raw()).or(number)?;
    let gid = match unit.get("Group") {
        "" => user.map_or(uid, |user| user.gid.as_raw()),
        group => {
            let found = Group::from_name(group).ok().flatten();
            found.map(|group| group.gid.as_raw()).or(group.parse().ok())?
        }
    };
    Some((uid, gid))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// What a start changes, of a unit with these properties, whose directory `a` exists with
    /// mode 0750 and belongs to whoever runs this test.
    fn found(properties: &str) -> (usize, String, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::set_permissions(folder.path().join("a"), fs::Permissions::from_mode(0o750)).unwrap();
        let unit = Properties::parse(properties);
        let found = Directories::at(&unit, |_, name| folder.path().join(name));
        let lines = found.lines.replace(&folder.path().display().to_string(), "FOLDER");
        (found.given.len(), lines, found.problems)
    }

    #[test]
    fn nothing_is_given_to_another_user() {
        let file = tempfile::tempfile().unwrap().metadata().unwrap();
        let own = format!("User={}\nGroup={}\n", file.uid(), file.gid());
        let none = (0, String::new(), vec![]);
        let state = "StateDirectory=a\nStateDirectoryMode=0750\n";
        assert_eq!(found(&format!("{own}{state}")), none);
        assert_eq!(found(&format!("{own}StateDirectory=b\nStateDirectoryMode=0750\n")), none);
        assert_eq!(found(&format!("User=no such user\n{state}")), none);
        let lines = "StateDirectory=\nEnvironment=STATE_DIRECTORY=FOLDER/a\n".to_owned();
        let given = (1, lines, vec![]);
        assert_eq!(found(&format!("User=4711\nGroup=4711\n{state}")), given);
        assert_eq!(found(&format!("{own}DynamicUser=yes\n{state}")), given);
        let (count, lines, problems) =
            found(&format!("{own}RuntimeDirectory=a\nRuntimeDirectoryMode=0500\n"));
        assert_eq!((count, lines.as_str()), (0, "RuntimeDirectoryMode=0750\n"));
        assert_eq!(problems, ["RuntimeDirectoryMode=0500: the service could not use it"]);
    }
}

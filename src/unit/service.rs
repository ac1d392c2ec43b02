//! The service unit as systemd knows it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::listening::Listening;
use super::sockets::{self, Sockets};
use super::systemctl::{Properties, show};
use crate::daemon::dry_run::UnitFacts;
use crate::proc_file::stat_field;

/// The name of the unit.
pub const SERVICE: &str = "wschat.service";

/// Where units are installed.
const FOLDERS: &[&str] = &[
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// The properties that are looked at.
const PROPERTIES: &[&str] = &[
    "LoadState",
    "FragmentPath",
    "DropInPaths",
    "NeedDaemonReload",
    "ExecStart",
    "MainPID",
    "TriggeredBy",
    "Requires",
    "Wants",
    "PrivateNetwork",
    "TasksMax",
    "MemoryMax",
    "FileDescriptorStoreMax",
    "RestartKillSignal",
];

/// The signal with which a restart keeps all connections, SIGUSR2.
const HANDOVER_SIGNAL: &str = "12";

/// The service, and what a start of it would get.
#[derive(Debug)]
pub struct Service {
    /// The program that it runs.
    pub program: PathBuf,
    /// The arguments of the program.
    pub arguments: Vec<String>,
    /// The process that runs now.
    pub main_pid: Option<u32>,
    /// What `wschat check` in a copy of the unit has to be told.
    pub facts: UnitFacts,
    /// What a start would fail at, or would ignore: a unit, and why.
    pub problems: Vec<(String, String)>,
    /// What else an operator should know: a unit, and what.
    pub warnings: Vec<(String, String)>,
    /// The files of the unit, in the order in which systemd applies them.
    pub(super) files: Vec<PathBuf>,
}

/// Why there is no [`Service`].
#[derive(Debug)]
pub enum NotLooked {
    /// It is not installed.
    NoUnit,
    /// It cannot be looked at.
    Because(String),
    /// systemd cannot start it.
    Broken(String),
}

impl Service {
    /// Asks systemd for the unit.
    ///
    /// # Errors
    ///
    /// Why it cannot be looked at.
    pub fn look() -> Result<Self, NotLooked> {
        let is_installed =
            |folder: &&str| Path::new(folder).join(SERVICE).symlink_metadata().is_ok();
        if !FOLDERS.iter().any(is_installed) {
            return Err(NotLooked::NoUnit);
        }
        let because = |why: &str| Err(NotLooked::Because(why.to_owned()));
        if !geteuid().is_root() {
            return because("only root can");
        }
        if !Path::new("/run/systemd/system").exists() {
            return because("systemd does not run");
        }
        let shown = show(&[SERVICE], PROPERTIES).map_err(NotLooked::Because)?;
        let unit = shown.into_iter().next().unwrap_or_default();
        match unit.get("LoadState") {
            "loaded" => {}
            "not-found" => return Err(NotLooked::NoUnit),
            "masked" => {
                let why = format!("it is masked; run 'systemctl unmask {SERVICE}'");
                return Err(NotLooked::Broken(why));
            }
            state => {
                let why =
                    format!("systemd cannot load it ({state}); see 'systemctl status wschat'");
                return Err(NotLooked::Broken(why));
            }
        }
        let started = [words(&unit, "Requires"), words(&unit, "Wants")].concat();
        let mut sockets: Vec<_> = [words(&unit, "TriggeredBy"), started.clone()].concat();
        sockets.retain(|name| name.ends_with(".socket"));
        sockets.sort_unstable();
        sockets.dedup();
        let shown = match sockets.is_empty() {
            true => Vec::new(),
            false => show(&sockets, sockets::PROPERTIES).map_err(NotLooked::Because)?,
        };
        let passed = Sockets::of(&shown, &started, &Listening::of(1));
        Self::new(&unit, &shown, passed).ok_or_else(|| {
            NotLooked::Broken("its ExecStart= is not one program with arguments".to_owned())
        })
    }

    fn new(unit: &Properties, sockets: &[Properties], passed: Sockets) -> Option<Self> {
        let mut command = exec_start(unit.get("ExecStart"))?.into_iter();
        let main_pid = unit.get("MainPID").parse().ok().filter(|pid| *pid != 0);
        let held = main_pid.map(|pid| Listening::of(pid).own).unwrap_or_default();
        let facts = UnitFacts {
            unit: SERVICE.to_owned(),
            room: passed.room,
            metrics: passed.metrics,
            held: held.iter().map(ToString::to_string).collect(),
            private_network: unit.get("PrivateNetwork") == "yes",
            tasks_max: unit.get("TasksMax").parse().ok(),
            memory_max: unit.get("MemoryMax").parse().ok(),
            restricted: false,
            fingerprints: false,
        };
        let mut service = Self {
            program: command.next()?.into(),
            arguments: command.collect(),
            main_pid,
            facts,
            problems: passed.problems,
            warnings: Vec::new(),
            files: [words(unit, "FragmentPath"), words(unit, "DropInPaths")]
                .concat()
                .into_iter()
                .map(PathBuf::from)
                .collect(),
        };
        service.find_warnings(unit, sockets);
        Some(service)
    }

    fn find_warnings(&mut self, unit: &Properties, sockets: &[Properties]) {
        let changed = |unit: &&Properties| unit.get("NeedDaemonReload") == "yes";
        for unit in sockets.iter().chain([unit]).filter(changed) {
            let id = Some(unit.get("Id")).filter(|id| !id.is_empty()).unwrap_or(SERVICE);
            let text = "its files have changed; run 'systemctl daemon-reload'";
            self.warnings.push((id.to_owned(), text.to_owned()));
        }
        let closes = match (unit.get("FileDescriptorStoreMax"), unit.get("RestartKillSignal")) {
            ("0", _) => Some("FileDescriptorStoreMax=0"),
            (_, HANDOVER_SIGNAL) => None,
            _ => Some("RestartKillSignal= is not SIGUSR2"),
        };
        if let Some(why) = closes {
            let text = format!("a restart closes all connections: {why}");
            self.warnings.push((SERVICE.to_owned(), text));
        }
    }
}

/// The environment variables of a process.
///
/// # Errors
///
/// The system's: it has ended, or belongs to another user.
pub fn variables(pid: u32) -> io::Result<HashMap<OsString, OsString>> {
    let all = fs::read(format!("/proc/{pid}/environ"))?;
    let pair = |entry: &[u8]| {
        let at = entry.iter().position(|byte| *byte == b'=')?;
        let (name, value) = entry.split_at_checked(at)?;
        let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        Some((text(name), text(value.get(1..)?)))
    };
    Ok(all.split(|byte| *byte == 0).filter_map(pair).collect())
}

/// The service of which `pid` is a process that systemd has started.
pub fn service_of(pid: u32) -> Option<String> {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    // Another process of a service, such as a shell, can have started a daemon as well.
    let is_started_by_systemd = stat_field(&read("stat")?, 4) == Some(1);
    read("cgroup").filter(|_| is_started_by_systemd).as_deref().and_then(service_in)
}

/// The service in the text of a file of cgroups(7).
fn service_in(cgroups: &str) -> Option<String> {
    let of_systemd =
        |line: &&str| ["0::", "1:name=systemd:"].iter().any(|start| line.starts_with(start));
    let services = cgroups.lines().filter(of_systemd).flat_map(|line| line.rsplit('/'));
    services.into_iter().find(|part| part.ends_with(".service")).map(str::to_owned)
}

/// The words of a property.
fn words<'a>(unit: &'a Properties, name: &str) -> Vec<&'a str> {
    unit.get(name).split_whitespace().collect()
}

/// The words of the only command in `ExecStart`, as systemctl shows it:
/// `{ path=/usr/bin/wschat ; argv[]=/usr/bin/wschat serve ; … }`.
fn exec_start(shown: &str) -> Option<Vec<String>> {
    let (_, rest) = shown.split_once("argv[]=")?;
    let (words, rest) = rest.split_once(" ; ")?;
    if rest.contains("argv[]=") {
        return None;
    }
    Some(words.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = "LoadState=loaded\nFragmentPath=/lib/systemd/system/wschat.service\n\
         DropInPaths=/etc/systemd/system/wschat.service.d/a.conf /etc/b.conf\nNeedDaemonReload=no\n\
         ExecStart={ path=/usr/bin/wschat ; argv[]=/usr/bin/wschat serve --threads 2 ; \
         ignore_errors=no ; start_time=[n/a] ; pid=0 }\nMainPID=0\nRequires=wschat.socket\n\
         PrivateNetwork=yes\nTasksMax=100\nMemoryMax=infinity\n\
         FileDescriptorStoreMax=64\nRestartKillSignal=12\n";

    fn service(from: &str, to: &str) -> Service {
        assert!(SHIPPED.contains(from), "{from}");
        let unit = Properties::parse(&SHIPPED.replace(from, to));
        Service::new(&unit, &[], Sockets::default()).unwrap()
    }

    #[test]
    fn the_shipped_unit() {
        let service = service("", "");
        assert_eq!(service.program, Path::new("/usr/bin/wschat"));
        assert_eq!(service.arguments, ["serve", "--threads", "2"]);
        assert_eq!(service.files.len(), 3);
        let UnitFacts { private_network, tasks_max, memory_max, .. } = service.facts;
        assert_eq!((private_network, tasks_max, memory_max), (true, Some(100), None));
        assert_eq!((service.main_pid, service.problems, service.warnings), (None, vec![], vec![]));
    }

    #[test]
    fn warnings() {
        let warns = |from, to| service(from, to).warnings.remove(0).1;
        assert!(warns("Reload=no", "Reload=yes").ends_with("run 'systemctl daemon-reload'"));
        assert!(warns("Max=64", "Max=0").ends_with("FileDescriptorStoreMax=0"));
        assert!(warns("Signal=12", "Signal=15").ends_with("is not SIGUSR2"));
    }

    #[test]
    fn commands() {
        assert_eq!(exec_start(""), None);
        let two = "{ path=/a ; argv[]=/a b ; x ; pid=0 } { path=/c ; argv[]=/c ; x }";
        assert_eq!(exec_start(two), None);
    }

    #[test]
    fn services_of_processes() {
        for (text, want) in [
            ("0::/system.slice/chat.service\n", Some("chat.service")),
            (
                "2:cpu:/x.service\n0::/system.slice/system-wschat.slice/wschat@a.service\n",
                Some("wschat@a.service"),
            ),
            ("1:name=systemd:/system.slice/chat.service\n0::/\n", Some("chat.service")),
            ("0::/user.slice/user-0.slice/session-1.scope\n", None),
            ("0::/\n", None),
        ] {
            assert_eq!(service_in(text).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn variables_of_this_process() {
        let path = std::env::var_os("PATH").unwrap();
        assert_eq!(variables(std::process::id()).unwrap()[OsStr::new("PATH")], path);
    }
}

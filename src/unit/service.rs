//! The service unit as systemd knows it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::directories::Directories;
use super::listening::Listening;
use super::sockets::{self, Sockets};
use super::systemctl::{Properties, SERVICE, show};
use crate::capacity::UnitLimits;
use crate::daemon::dry_run::UnitFacts;
use crate::proc_file::stat_field;

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
    "Requisite",
    "BindsTo",
    "Wants",
    "Type",
    "User",
    "Group",
    "DynamicUser",
    "StateDirectory",
    "StateDirectoryMode",
    "RuntimeDirectory",
    "RuntimeDirectoryMode",
    "LogsDirectory",
    "LogsDirectoryMode",
    "CacheDirectory",
    "CacheDirectoryMode",
    "ExecStartPreEx",
    "ExecStartPostEx",
    "PrivateNetwork",
    "TasksMax",
    "LimitNOFILE",
    "LimitNOFILESoft",
    "MemoryMax",
    "FileDescriptorStoreMax",
    "RestartKillSignal",
];

/// The signal with which a restart keeps all connections, SIGUSR2.
const HANDOVER_SIGNAL: &str = "12";
/// The size of the descriptor store of the shipped unit.
const STORE_MIN: u64 = 64;
/// The types of a service that is ready when it says so, or at once.
const TYPES: &[&str] = &["notify", "notify-reload", "exec", "simple", "idle"];

/// The service, and what a start of it would get.
#[derive(Debug)]
pub struct Service {
    /// The program that it runs.
    pub program: PathBuf,
    /// The arguments of the program.
    pub arguments: Vec<String>,
    /// The process that runs now.
    pub main_pid: Option<u32>,
    /// How much the unit may use.
    pub limits: UnitLimits,
    /// What `wschat check` in a copy of the unit has to be told.
    pub facts: UnitFacts,
    /// What a start would fail at, or would ignore: a unit, and why.
    pub problems: Vec<(String, String)>,
    /// What else an operator should know: a unit, and what.
    pub warnings: Vec<(String, String)>,
    /// The files of the unit, in the order in which systemd applies them.
    pub(super) files: Vec<PathBuf>,
    /// Lines of a copy of the unit, such that it leaves all directories as they are.
    pub(super) directory_lines: String,
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
        let is_booted = Path::new("/run/systemd/system").exists();
        let is_installed = FOLDERS.iter().any(is_installed);
        if !(is_installed || is_booted && geteuid().is_root()) {
            return Err(NotLooked::NoUnit);
        }
        let because = |why: &str| Err(NotLooked::Because(why.to_owned()));
        if !geteuid().is_root() {
            return because("only root can");
        }
        if !is_booted {
            return because("systemd does not run");
        }
        let shown = show(&[SERVICE], PROPERTIES).map_err(NotLooked::Because)?;
        let unit = shown.into_iter().next().unwrap_or_default();
        match unit.get("LoadState") {
            "loaded" => {}
            "not-found" if unit.get("MainPID") == "0" => return Err(NotLooked::NoUnit),
            "not-found" => {
                let why = "it runs, but its file is missing".to_owned();
                return Err(NotLooked::Broken(why));
            }
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
        let required = ["Requires", "Requisite", "BindsTo"].map(|name| words(&unit, name)).concat();
        let started = [required.clone(), words(&unit, "Wants")].concat();
        let mut others: Vec<_> = [words(&unit, "TriggeredBy"), started.clone()].concat();
        others.retain(|name| name.ends_with(".socket") || required.contains(name));
        others.sort_unstable();
        others.dedup();
        let mut shown = match others.is_empty() {
            true => Vec::new(),
            false => show(&others, sockets::PROPERTIES).map_err(NotLooked::Because)?,
        };
        let missing: Vec<_> = shown.iter().filter_map(|unit| missing(unit, &required)).collect();
        shown.retain(|unit| unit.get("Id").ends_with(".socket"));
        let mut passed = Sockets::of(&shown, &started, &Listening::of(1));
        passed.problems.extend(missing);
        Self::new(&unit, &shown, passed).ok_or_else(|| {
            NotLooked::Broken("its ExecStart= is not one program with arguments".to_owned())
        })
    }

    fn new(unit: &Properties, sockets: &[Properties], passed: Sockets) -> Option<Self> {
        let (program, arguments) = exec_start(unit.get("ExecStart"))?;
        let directories = Directories::of(unit);
        let main_pid = unit.get("MainPID").parse().ok().filter(|pid| *pid != 0);
        let held = main_pid.map(|pid| Listening::of(pid).own).unwrap_or_default();
        let limit = |name: &str| unit.get(name).parse().ok();
        let limits = UnitLimits {
            open_files: (limit("LimitNOFILESoft"), limit("LimitNOFILE")),
            memory_max: limit("MemoryMax"),
            backlog: passed.backlog,
        };
        let facts = UnitFacts {
            unit: SERVICE.to_owned(),
            room: passed.room,
            metrics: passed.metrics,
            held: held.iter().map(ToString::to_string).collect(),
            private_network: unit.get("PrivateNetwork") == "yes",
            tasks_max: limit("TasksMax"),
            memory_max: limits.memory_max,
            carries: None,
            restricted: false,
            given: directories.given,
            programs: ["ExecStartPreEx", "ExecStartPostEx"]
                .iter()
                .flat_map(|name| unit.all(name).filter_map(|shown| sandboxed(name, shown)))
                .collect(),
            fingerprints: false,
        };
        let mut service = Self {
            program,
            arguments,
            main_pid,
            limits,
            facts,
            problems: passed.problems,
            warnings: Vec::new(),
            directory_lines: directories.lines,
            files: [words(unit, "FragmentPath"), words(unit, "DropInPaths")]
                .concat()
                .into_iter()
                .map(PathBuf::from)
                .collect(),
        };
        let texts = directories.problems.into_iter().map(|text| (SERVICE.to_owned(), text));
        service.problems.extend(texts);
        service.find_problems(unit, sockets);
        service.find_warnings(unit);
        Some(service)
    }

    fn find_problems(&mut self, unit: &Properties, sockets: &[Properties]) {
        let changed = |unit: &&Properties| {
            unit.get("NeedDaemonReload") == "yes" && unit.get("LoadState") == "loaded"
        };
        for unit in sockets.iter().chain([unit]).filter(changed) {
            let id = Some(unit.get("Id")).filter(|id| !id.is_empty()).unwrap_or(SERVICE);
            // Until then a start uses what they were.
            let text = "its files have changed; run 'systemctl daemon-reload'";
            self.problems.push((id.to_owned(), text.to_owned()));
        }
        let kind = unit.get("Type");
        if !kind.is_empty() && !TYPES.contains(&kind) {
            let text = format!("Type={kind}: systemd would not know when it is ready; use notify");
            self.problems.push((SERVICE.to_owned(), text));
        }
    }

    fn find_warnings(&mut self, unit: &Properties) {
        let store = unit.get("FileDescriptorStoreMax");
        let small = format!("FileDescriptorStoreMax={store} is less than {STORE_MIN}");
        let closes = match (store.parse::<u64>(), unit.get("RestartKillSignal")) {
            (Ok(..STORE_MIN), _) => Some(small.as_str()),
            (_, HANDOVER_SIGNAL) => None,
            _ => Some("RestartKillSignal= is not SIGUSR2"),
        };
        if let Some(why) = closes {
            let text = format!("a restart may close all connections: {why}");
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

/// The arguments of a process, without its own name.
///
/// # Errors
///
/// The system's: it has ended.
pub fn arguments(pid: u32) -> io::Result<Vec<String>> {
    let all = fs::read(format!("/proc/{pid}/cmdline"))?;
    let all = all.strip_suffix(b"\0").unwrap_or(&all);
    let words = all.split(|byte| *byte == 0).skip(1);
    Ok(words.map(|word| String::from_utf8_lossy(word).into_owned()).collect())
}

/// The words of a property.
fn words<'a>(unit: &'a Properties, name: &str) -> Vec<&'a str> {
    unit.get(name).split_whitespace().collect()
}

/// Why the service does not start, if `unit` is one of the `required` ones and is not there.
fn missing(unit: &Properties, required: &[&str]) -> Option<(String, String)> {
    let (id, state) = (unit.get("Id"), unit.get("LoadState"));
    let is_missing = state != "loaded" && required.contains(&id);
    is_missing.then(|| (SERVICE.to_owned(), format!("it requires {id}, which is {state}")))
}

/// The program and the arguments of the only command in `ExecStart`, as systemctl shows it:
/// `{ path=/usr/bin/wschat ; argv[]=/usr/bin/wschat serve ; … }`. It shows no quotes, and no
/// values of variables.
fn exec_start(shown: &str) -> Option<(PathBuf, Vec<String>)> {
    let (path, rest) = shown.split_once("path=")?.1.split_once(" ; ")?;
    let (words, rest) = rest.strip_prefix("argv[]=")?.split_once(" ; ")?;
    if rest.contains("argv[]=") {
        return None;
    }
    Some((path.into(), words.split_whitespace().skip(1).map(str::to_owned).collect()))
}

/// The setting and the program of a command, as systemctl shows it, that runs in the sandbox and
/// has to succeed.
fn sandboxed(name: &str, shown: &str) -> Option<(String, PathBuf)> {
    let (path, rest) = shown.split_once("path=")?.1.split_once(" ; ")?;
    let flags = rest.split_once(" flags=")?.1.split(" ; ").next()?;
    let is_exempt = flags.contains("privileged") || flags.contains("ignore-failure");
    // systemd looks for a name without a folder itself.
    (!is_exempt && path.starts_with('/'))
        .then(|| (name.trim_end_matches("Ex").to_owned(), path.into()))
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
        assert!(warns("Max=64", "Max=0").ends_with("FileDescriptorStoreMax=0 is less than 64"));
        assert!(warns("Signal=12", "Signal=15").ends_with("is not SIGUSR2"));
    }

    #[test]
    fn problems() {
        let finds = |from, to| service(from, to).problems.remove(0).1;
        assert!(finds("Reload=no", "Reload=yes").ends_with("run 'systemctl daemon-reload'"));
        assert!(
            finds("PrivateNetwork", "Type=forking\nPrivateNetwork").starts_with("Type=forking: ")
        );
    }

    #[test]
    fn units_that_are_required() {
        let check = |unit: &str, want: Option<&str>| {
            let got = missing(&Properties::parse(unit), &["a.service"]).map(|(_, why)| why);
            assert_eq!(got.as_deref(), want, "{unit}");
        };
        check("Id=a.service\nLoadState=loaded\n", None);
        check("Id=b.service\nLoadState=masked\n", None);
        check(
            "Id=a.service\nLoadState=not-found\n",
            Some("it requires a.service, which is not-found"),
        );
    }

    #[test]
    fn programs_that_have_to_run_in_the_sandbox() {
        let shown = |flags| format!("{{ path=/bin/a ; argv[]=/bin/a b ; flags={flags} ; pid=0 }}");
        let want = Some(("ExecStartPre".to_owned(), PathBuf::from("/bin/a")));
        assert_eq!(sandboxed("ExecStartPreEx", &shown("")), want);
        assert_eq!(sandboxed("ExecStartPreEx", &shown("no-setuid")), want);
        for flags in ["privileged", "ignore-failure", "ignore-failure privileged"] {
            assert_eq!(sandboxed("ExecStartPreEx", &shown(flags)), None, "{flags}");
        }
    }

    #[test]
    fn commands() {
        assert_eq!(exec_start(""), None);
        let named = "{ path=/usr/bin/a ; argv[]=b serve ; ignore_errors=no ; pid=0 }";
        assert_eq!(exec_start(named), Some(("/usr/bin/a".into(), vec!["serve".to_owned()])));
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

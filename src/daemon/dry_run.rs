//! Tries what a start does, without doing it: for `wschat check` in a copy of the unit.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::Utc;
use rustix::event::epoll::{self, CreateFlags};
use rustix::fs::{Access, MemfdFlags, access, memfd_create};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use serde::{Deserialize, Serialize};
use tokio::runtime;

use super::moderation_file::ModerationFile;
use crate::address::ListenAddress;
use crate::cluster::ClusterNode;
use crate::config::{Config, Environment, Loaded, Problem};
use crate::control::CONTROL_PATH;
use crate::descriptors;
use crate::server::ListeningSocket;

/// How long a look at the servers of a cluster may take.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(2);
/// Threads of the daemon that are not shards, at most.
const OTHER_THREADS: u64 = 16;

/// What the sandbox does not tell: what systemd does at a start, and the limits of the unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UnitFacts {
    /// The name of the service.
    pub unit: String,
    /// The addresses of the sockets of the room that systemd passes.
    pub room: Vec<String>,
    /// Those of the sockets for metrics.
    pub metrics: Vec<String>,
    /// The addresses at which the running service listens itself, so that they are in use.
    pub held: Vec<String>,
    /// Whether the service has a network of its own, in which nobody reaches it.
    pub private_network: bool,
    /// `TasksMax=`.
    pub tasks_max: Option<u64>,
    /// `MemoryMax=`, in bytes.
    pub memory_max: Option<u64>,
    /// The listeners that the system carries, and the limit that decides, which the sandbox hides.
    pub carries: Option<(u64, String)>,
    /// Whether the running daemon needs tokens.
    pub restricted: bool,
    /// The directories that a start gives to the user of the service, which cannot use them yet.
    pub given: Vec<PathBuf>,
    /// Other programs that a start runs in the sandbox, with their settings.
    pub programs: Vec<(String, PathBuf)>,
    /// Whether the caller wants to compare what comes from outside the files.
    pub fingerprints: bool,
}

/// What a start with this configuration would fail at, or would ignore. `control` is the path
/// of the control socket, if one was requested.
pub fn problems(
    loaded: &Loaded,
    environment: &Environment,
    control: Option<&Path>,
    facts: &UnitFacts,
) -> Vec<Problem> {
    let run = DryRun { loaded, facts, found: Vec::new() };
    run.all(environment, control)
}

struct DryRun<'a> {
    loaded: &'a Loaded,
    facts: &'a UnitFacts,
    found: Vec<Problem>,
}

impl DryRun<'_> {
    fn all(mut self, environment: &Environment, control: Option<&Path>) -> Vec<Problem> {
        let Config { listen, metrics, record, .. } = &self.loaded.config;
        if environment.listen.is_empty() || self.facts.room.is_empty() {
            let unit = "wschat.socket";
            self.listen("listen.addresses", &listen.addresses, &self.facts.room, unit);
        } else {
            let text = "systemd passes sockets, so there is nothing to bind; remove the option";
            self.refuse("listen.addresses", text);
        }
        let address: Vec<_> = metrics.address.iter().cloned().collect();
        self.listen("metrics.address", &address, &self.facts.metrics, "wschat-metrics.socket");
        let folder = record.dir.as_deref().filter(|folder| !self.is_given(folder));
        if let Some(Err(error)) = folder.map(can_record) {
            let text = format!("no message would be recorded: {error}");
            self.found.push(of_disk(self.loaded.problem("record.dir", text), &error));
        }
        self.programs();
        self.calls();
        self.folders(environment.state_dir.as_deref(), control);
        self.limits(environment.descriptors_max);
        self.cluster();
        self.found
    }

    fn refuse(&mut self, key: &str, text: impl Into<String>) {
        self.found.push(self.loaded.problem(key, text));
    }

    /// `addresses` are the value of `key`; systemd passes sockets at those in `passed`, of `unit`.
    fn listen(&mut self, key: &str, addresses: &[ListenAddress], passed: &[String], unit: &str) {
        for address in addresses.iter().filter(|_| self.loaded.is_set(key) || passed.is_empty()) {
            let result = if passed.is_empty() {
                self.can_listen(address).map_err(|why| match why.is_empty() {
                    true => format!("in this sandbox only {unit} can listen at {address}"),
                    false => format!("{address}: {why}"),
                })
            } else if passed
                .iter()
                .filter_map(|text| text.parse::<ListenAddress>().ok())
                .any(|passed| passed == *address || passed.includes(address))
            {
                Ok(())
            } else {
                Err(format!(
                    "{address} has no effect: the service listens where systemd does for it ({}); \
                     set ListenStream= with 'systemctl edit {unit}', or remove this key",
                    passed.join(", ")
                ))
            };
            if let Err(text) = result {
                self.refuse(key, text);
            }
        }
    }

    /// Whether the daemon could listen at `address` itself; an empty reason is the sandbox.
    fn can_listen(&self, address: &ListenAddress) -> Result<(), String> {
        let is_tcp = matches!(address, ListenAddress::Tcp(_));
        let held = self.facts.held.iter().filter_map(|text| text.parse::<ListenAddress>().ok());
        match ListeningSocket::try_bind(address, self.loaded.config.is_v6_only(address)) {
            Ok(()) if is_tcp && self.facts.private_network => {
                Err("nobody would reach it, because of PrivateNetwork=yes".to_owned())
            }
            Err(error) if Errno::from_io_error(&error) == Some(Errno::AFNOSUPPORT) => {
                Err(String::new())
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                let mut held = held;
                let is_own = held.any(|held| held == *address || held.excludes(address));
                if is_own { Ok(()) } else { Err(error.to_string()) }
            }
            result => result.map_err(|error| error.to_string()),
        }
    }

    fn folders(&mut self, state_dir: Option<&Path>, control: Option<&Path>) {
        let socket = control.unwrap_or(Path::new(CONTROL_PATH));
        let folder = socket.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        if !self.is_given(folder)
            && let Err(error) = can_create_in(folder)
        {
            let text = format!("there would be no control socket: {error}");
            self.found.push(Problem::of(socket, text));
        }
        let Some(folder) = state_dir.filter(|folder| !self.is_given(folder)) else { return };
        if let Err(error) = can_create_in(folder) {
            let text = format!("mutes and the lock would be lost at a stop: {error}");
            self.found.push(of_disk(Problem::of(folder, text), &error));
        }
        if let Err((file, error)) = ModerationFile::new(state_dir, Some(socket)).read() {
            let text = format!("{error}; its mutes would be lost, and the room would be locked");
            self.found.push(Problem::of(&file, text));
        }
    }

    fn is_given(&self, folder: &Path) -> bool {
        self.facts.given.iter().any(|given| folder.starts_with(given))
    }

    /// Other commands of a start. One that fails ends it.
    fn programs(&mut self) {
        for (setting, program) in &self.facts.programs {
            if let Err(error) = access(program, Access::EXEC_OK) {
                let text = format!(
                    "{setting}={}: {error}; the sandbox executes only what is in ExecPaths=; put \
                     + before the command to run it as root outside of the sandbox",
                    program.display()
                );
                self.found.push(Problem::of(Path::new(&self.facts.unit), text));
            }
        }
    }

    fn calls(&mut self) {
        for call in forbidden_calls() {
            let text = format!("SystemCallFilter= forbids {call}(2), which the daemon needs");
            self.found.push(Problem::of(Path::new(&self.facts.unit), text));
        }
    }

    fn limits(&mut self, descriptors_max: Option<u64>) {
        let config = &self.loaded.config;
        let shards = config.server.shards();
        if descriptors::clients_max(descriptors_max, shards) == 0 {
            let max = descriptors_max.unwrap_or_default();
            let text = format!("LimitNOFILE={max} leaves no descriptor for a client");
            self.refuse("limits.connections_max", text);
        }
        let threads = shards as u64 + OTHER_THREADS;
        if let Some(max) = self.facts.tasks_max.filter(|max| *max < threads) {
            let text = format!("{shards} shards need about {threads} threads, and TasksMax={max}");
            self.refuse("server.threads", text);
        }
        if let Some((listeners, limit)) = &self.facts.carries {
            self.found.extend(too_many(self.loaded, *listeners, limit));
        }
        // Once in the memory of the process, and with half as much again in the tail file.
        let tail = (config.limits.feed_tail_bytes as u64).saturating_mul(5) / 2;
        if let Some(max) = self.facts.memory_max.filter(|max| *max < tail) {
            let text = format!("it takes about {tail} bytes of memory, and MemoryMax={max}");
            self.refuse("limits.feed_tail_bytes", text);
        }
    }

    fn cluster(&mut self) {
        let Some(options) = self.loaded.config.engine_options() else { return };
        if self.facts.private_network {
            let text = "no server can be reached, because of PrivateNetwork=yes; install the \
                 drop-in wschat-cluster.conf of the examples";
            return self.refuse("cluster.servers", text);
        }
        let Ok(runtime) = runtime::Builder::new_current_thread().enable_all().build() else {
            return;
        };
        let verified = runtime.block_on(ClusterNode::new(options).verify(VERIFY_TIMEOUT));
        if let Err(why) = verified {
            self.refuse("cluster.servers", why);
        }
    }
}

/// A warning if more connections are configured than `limit` allows, which is `listeners`; the
/// default does not count.
pub fn too_many(loaded: &Loaded, listeners: u64, limit: &str) -> Option<Problem> {
    let (key, wanted) = ("limits.connections_max", loaded.config.limits.connections_max as u64);
    let text = format!(
        "{wanted} is more than this system carries: {limit} allows {listeners}; see 'wschat check \
         --capacity {wanted}'"
    );
    let is_too_many = loaded.is_set(key) && wanted > listeners;
    is_too_many.then(|| loaded.problem(key, text).into_warning())
}

/// A full disk is only a warning: the configuration may be what frees it.
fn of_disk(problem: Problem, error: &io::Error) -> Problem {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => problem.into_warning(),
        _ => problem,
    }
}

/// Whether messages can be recorded in `folder`, in the file of today and that of tomorrow.
fn can_record(folder: &Path) -> io::Result<()> {
    let file = folder.join(Utc::now().format("%F").to_string());
    match OpenOptions::new().append(true).open(&file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(io::Error::new(error.kind(), format!("{}: {error}", file.display())))
        }
        // The disk can be full.
        _ => can_create_in(folder),
    }
}

/// The system calls that a `SystemCallFilter=` of one's own forbids although the daemon needs
/// them. Only an answer of a filter counts.
fn forbidden_calls() -> Vec<&'static str> {
    let accept = || {
        let (socket, _) = UnixStream::pair().map_err(|_| Errno::MFILE)?;
        // It does not listen.
        accept_with(socket, SocketFlags::CLOEXEC).map(drop)
    };
    let results = [
        ("accept4", accept()),
        ("epoll_create1", epoll::create(CreateFlags::CLOEXEC).map(drop)),
        ("memfd_create", memfd_create("wschat-check", MemfdFlags::CLOEXEC).map(drop)),
    ];
    let is_forbidden = |error: Errno| [Errno::PERM, Errno::NOSYS].contains(&error);
    results.into_iter().filter(|(_, r)| r.err().is_some_and(is_forbidden)).map(|(n, _)| n).collect()
}

/// Whether a file can be created in `folder`, and written.
fn can_create_in(folder: &Path) -> io::Result<()> {
    let file = folder.join(format!(".wschat-check-{}", std::process::id()));
    let written = fs::write(&file, "wschat check\n");
    let removed = fs::remove_file(&file);
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::load;

    /// The problems of a start with `text` as the file, if systemd passes sockets of the room.
    fn found(text: &str, facts: &UnitFacts) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let text = text.replace("FOLDER", &folder.path().display().to_string());
        fs::write(at("wschat.toml"), text).unwrap();
        fs::create_dir(at("state")).unwrap();
        fs::write(at("file"), "").unwrap();
        let environment = Environment {
            file: at("wschat.toml"),
            host_name: "a".to_owned(),
            state_dir: Some(at("state")),
            descriptors_max: Some(1_000),
            ..Environment::default()
        };
        let loaded = load(&environment).unwrap();
        let problems = problems(&loaded, &environment, Some(&at("control.sock")), facts);
        let mut left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["file", "state", "wschat.toml"], "nothing stays");
        let folder = folder.path().display().to_string();
        problems.iter().map(|problem| problem.to_string().replace(&folder, "FOLDER")).collect()
    }

    #[track_caller]
    fn check(text: &str, facts: &UnitFacts, want: &[&str]) {
        assert_eq!(found(text, facts), want, "{text}");
    }

    fn passed() -> UnitFacts {
        let room = vec!["127.0.0.1:8080".to_owned()];
        UnitFacts { room, ..UnitFacts::default() }
    }

    #[test]
    fn addresses_that_have_no_effect() {
        check("", &passed(), &[]);
        check("listen.addresses = ['127.0.0.1:8080']\n", &passed(), &[]);
        let any = UnitFacts { room: vec!["[::]:8080".to_owned()], ..UnitFacts::default() };
        check("listen.addresses = ['0.0.0.0:8080']\n", &any, &[]);
        let text = "FOLDER/wschat.toml:1:20: listen.addresses: 0.0.0.0:80 has no effect: the \
             service listens where systemd does for it (127.0.0.1:8080); set ListenStream= with \
             'systemctl edit wschat.socket', or remove this key";
        check("listen.addresses = ['0.0.0.0:80']\n", &passed(), &[text]);
    }

    #[test]
    fn addresses_that_cannot_be_bound() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap();
        let text = format!("metrics.address = '{address}'\n");
        let want = format!(
            "FOLDER/wschat.toml:1:19: metrics.address: {address}: Address already in use (os \
             error 98)"
        );
        check(&text, &passed(), &[&want]);
        let held = UnitFacts { held: vec![address.to_string()], ..passed() };
        check(&text, &held, &[]);
        check("metrics.address = 'unix:FOLDER/x.sock'\n", &passed(), &[]);
        let want = "FOLDER/wschat.toml:1:19: metrics.address: unix:FOLDER/file: Address already \
             in use (os error 98)";
        check("metrics.address = 'unix:FOLDER/file'\n", &passed(), &[want]);
        let facts = UnitFacts { private_network: true, ..passed() };
        let want = "FOLDER/wschat.toml:1:19: metrics.address: 127.0.0.1:0: nobody would reach it, \
             because of PrivateNetwork=yes";
        check("metrics.address = '127.0.0.1:0'\n", &facts, &[want]);
        let want = "FOLDER/wschat.toml:1:19: cluster.servers: no server can be reached, because of \
             PrivateNetwork=yes; install the drop-in wschat-cluster.conf of the examples";
        check("cluster.servers = ['nats://127.0.0.1:1']\n", &facts, &[want]);
    }

    #[test]
    fn folders_and_limits() {
        check("record.dir = 'FOLDER/state'\n", &passed(), &[]);
        let want = "FOLDER/wschat.toml:1:14: record.dir: no message would be recorded: No such \
             file or directory (os error 2)";
        check("record.dir = 'FOLDER/nowhere'\n", &passed(), &[want]);
        let facts = UnitFacts { tasks_max: Some(20), memory_max: Some(1 << 20), ..passed() };
        let want = [
            "FOLDER/wschat.toml:1:18: server.threads: 64 shards need about 80 threads, and \
             TasksMax=20",
            "wschat: limits.feed_tail_bytes: it takes about 10485760 bytes of memory, and \
             MemoryMax=1048576",
        ];
        check("server.threads = 64\n", &facts, &want);
    }

    #[test]
    fn a_full_disk_is_a_warning() {
        let of = |kind: ErrorKind| of_disk(Problem::of(Path::new("/x"), "y"), &kind.into());
        for (kind, is_warning) in [
            (ErrorKind::StorageFull, true),
            (ErrorKind::QuotaExceeded, true),
            (ErrorKind::PermissionDenied, false),
        ] {
            assert_eq!(of(kind).is_warning(), is_warning, "{kind}");
        }
    }

    #[test]
    fn what_a_start_executes_and_calls() {
        assert_eq!(forbidden_calls(), [""; 0]);
        let program = |path: &str| ("ExecStartPre".to_owned(), path.into());
        let programs = vec![program("/bin/sh"), program("/nowhere"), program("/etc/passwd")];
        let facts = UnitFacts { programs, unit: "a.service".to_owned(), ..passed() };
        let found = found("", &facts);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("wschat: a.service: ExecStartPre=/nowhere: No such file"));
        assert!(found[1].starts_with("wschat: a.service: ExecStartPre=/etc/passwd: Permission"));
    }

    #[test]
    fn directories_that_a_start_gives_to_its_user_are_not_tried() {
        let facts = UnitFacts { given: vec!["/nowhere".into()], ..passed() };
        check("record.dir = '/nowhere/record'\n", &facts, &[]);
    }

    #[test]
    fn a_moderation_file_that_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("moderation.json");
        fs::write(&file, "rubbish").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let environment = Environment {
            file: folder.path().join("none"),
            state_dir: Some(folder.path().to_owned()),
            ..Environment::default()
        };
        let loaded = load(&environment).unwrap();
        let socket = folder.path().join("control.sock");
        let found = problems(&loaded, &environment, Some(&socket), &passed());
        assert!(found[0].to_string().ends_with("and the room would be locked"), "{found:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "rubbish", "it is only read");
    }
}

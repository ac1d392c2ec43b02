//! Runs a command in a copy of the unit: with its sandbox, user, credentials and environment,
//! which drop-ins can have changed. The copy is a unit of its own, with the same `[Service]`
//! section and the same conditions, and the service does not notice it.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use super::sections::Sections;
use super::service::Service;
use super::systemctl::{SERVICE, run, show};
use crate::daemon::dry_run::UnitFacts;

/// The variable that tells a command that it runs in a copy, and the facts of the unit, as JSON.
pub const COPY_VARIABLE: &str = "WSCHAT_UNIT";

/// How long systemd may take for the copy: longer than the copy itself may.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What differs from the service. No other unit notices the copy, the journal has no line of it
/// unless systemd cannot start it, and its exit status stays until it is stopped. It is the last
/// drop-in of the copy, because those in `service.d` apply to the copy too. No command that runs
/// in a copy exits with 1, and an `ExecCondition=` that does so is not fulfilled.
const CHANGES: &str = "\
Type=oneshot
Restart=no
RemainAfterExit=yes
SuccessExitStatus=64 66 69 71 75 77 78 101
RuntimeDirectoryPreserve=yes
RemoveIPC=no
WatchdogSec=0
FileDescriptorStoreMax=0
TimeoutStartSec=20s
TimeoutStopSec=2s
ExecStartPre=
ExecStartPost=
ExecReload=
ExecStop=
ExecStopPost=
StandardInput=null
LogLevelMax=warning
ExecStart=
";

/// The name of that drop-in.
const DROP_IN: &str = "zzzz-wschat-check.conf";

/// What systemd could not do for a process, by the exit status that it reports
/// (systemd.exec(5)).
const STEPS: &[(&str, &str)] = &[
    ("200", "WorkingDirectory="),
    ("203", "ExecStart=, ExecPaths=, LimitNPROC=: the program cannot be executed"),
    ("216", "Group=: there is no such group"),
    ("217", "User=: there is no such user"),
    ("226", "the sandbox: a path in ReadWritePaths=, BindPaths= or the like does not exist"),
    ("228", "SystemCallFilter="),
    ("231", "AppArmorProfile="),
    ("233", "RuntimeDirectory="),
    ("238", "StateDirectory="),
    ("240", "LogsDirectory="),
    ("243", "LoadCredential= or SetCredential=: a credential is missing or cannot be decrypted"),
];

/// The exit statuses of systemd begin here.
const SYSTEMD_STATUS_MIN: u8 = 200;

/// How a command in a copy ended.
#[derive(Debug)]
pub struct CopyResult {
    /// Its exit status.
    pub code: u8,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

/// Why a command did not run in a copy.
#[derive(Debug)]
pub enum CopyError {
    /// systemd cannot start a process of the unit.
    Unit(String),
    /// This machine has no copy.
    Unavailable(String),
}

impl Service {
    /// Runs the program of the unit with other `arguments`, before those of the unit if
    /// `with_options`.
    ///
    /// # Errors
    ///
    /// Why that is not possible.
    pub fn run_copy(
        &self,
        arguments: &[String],
        with_options: bool,
        facts: &UnitFacts,
    ) -> Result<CopyResult, CopyError> {
        let copy = Copy::create(self, arguments, with_options, facts)
            .map_err(|error| CopyError::Unavailable(error.to_string()))?;
        copy.run()
    }
}

/// The files of a copy. Dropping it removes them.
struct Copy {
    name: String,
    unit: PathBuf,
    drop_ins: PathBuf,
    folder: PathBuf,
    /// The conditions of the unit, for a message.
    conditions: Vec<String>,
}

impl Copy {
    fn create(
        service: &Service,
        arguments: &[String],
        with_options: bool,
        facts: &UnitFacts,
    ) -> io::Result<Self> {
        let name = format!("wschat-check-{}.service", process::id());
        let unit = Path::new("/run/systemd/system").join(&name);
        let drop_ins = Path::new("/run/systemd/system").join(format!("{name}.d"));
        let folder = Path::new("/run").join(format!("wschat-check-{}", process::id()));
        let mut sections = Sections::default();
        for file in &service.files {
            // systemd accepts other encodings in a comment.
            sections.add(&String::from_utf8_lossy(&fs::read(file)?));
        }
        let commands = sections.service.lines().filter(|line| line.starts_with("ExecCondition="));
        let conditions = sections.conditions.lines().chain(commands).map(str::to_owned).collect();
        DirBuilder::new().mode(0o700).create(&folder)?;
        let copy = Self { name, unit, drop_ins, folder, conditions };
        let Sections { conditions, service: lines, .. } = &sections;
        let unit = format!(
            "[Unit]\nDescription=a command in a copy of {SERVICE}\n{conditions}[Service]\n{lines}"
        );
        // As readable as the unit: systemd logs files and folders that only root can read.
        let is_readable = service.files.iter().all(|file| others_may_read(file));
        let mode = if is_readable { 0o644 } else { 0o600 };
        write_new(&copy.unit, &unit, mode)?;
        let mut text = format!("[Service]\n{CHANGES}{}", service.directory_lines);
        let words: Vec<_> = arguments.iter().map(|word| quoted(word)).collect();
        let program = service.program.display();
        let _ = match sections.exec_start().filter(|_| with_options) {
            // systemd replaces the variables in the options of the unit, and only there.
            Some(exec) => {
                let (words, prefix) = (words.join(" ").replace('$', "$$"), exec.prefix);
                writeln!(text, "ExecStart={prefix}{program} {words} {}", exec.options)
            }
            None => writeln!(text, "ExecStart=:{program} {}", words.join(" ")),
        };
        let facts = serde_json::to_string(facts)?;
        let _ = writeln!(text, "Environment={}", quoted(&format!("{COPY_VARIABLE}={facts}")));
        for (stream, file) in [("Output", "out"), ("Error", "err")] {
            let path = copy.folder.join(file);
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            let _ = writeln!(text, "Standard{stream}=file:{}", path.display());
        }
        DirBuilder::new().create(&copy.drop_ins)?;
        fs::set_permissions(&copy.drop_ins, Permissions::from_mode(0o755))?;
        write_new(&copy.drop_ins.join(DROP_IN), &text, mode)?;
        Ok(copy)
    }

    fn run(&self) -> Result<CopyResult, CopyError> {
        let started = run(&["start", &self.name], START_TIMEOUT).map_err(CopyError::Unavailable)?;
        let code = self.code(&started.err);
        // Until then systemd knows how it ended.
        let forget = if started.success { "stop" } else { "reset-failed" };
        let _ = run(&[forget, &self.name], STOP_TIMEOUT);
        let code = code?;
        let read = |file: &str| fs::read_to_string(self.folder.join(file));
        let failed = |error: io::Error| CopyError::Unavailable(error.to_string());
        Ok(CopyResult {
            code,
            out: read("out").map_err(failed)?,
            err: read("err").map_err(failed)?,
        })
    }

    /// The exit status of the command; `message` is what systemctl says of a failure.
    fn code(&self, message: &str) -> Result<u8, CopyError> {
        let properties = [
            "LoadState",
            "ConditionResult",
            "AssertResult",
            "Result",
            "ExecMainCode",
            "ExecMainStatus",
        ];
        let shown = show(&[&self.name], &properties).map_err(CopyError::Unavailable)?;
        let unit = shown.into_iter().next().unwrap_or_default();
        let (result, status) = (unit.get("Result"), unit.get("ExecMainStatus"));
        let journal = format!("see 'journalctl -u {}'", self.name);
        let broken = |why: &str| Err(CopyError::Unit(format!("{why}; {journal}")));
        if unit.get("LoadState") != "loaded" {
            return broken(&format!("systemd cannot load it: {message}"));
        }
        if [unit.get("ConditionResult"), unit.get("AssertResult")].contains(&"no") {
            let all = self.conditions.join(", ");
            let why = format!("systemd does not start it, because a condition is false: {all}");
            return Err(CopyError::Unit(why));
        }
        if let Some((_, step)) = STEPS.iter().find(|(code, _)| *code == status) {
            return broken(&format!("systemd cannot start a process of it: {step}"));
        }
        match (result, unit.get("ExecMainCode"), status.parse()) {
            // CLD_EXITED. The codes of wschat are smaller than those of systemd.
            ("success" | "exit-code", "1", Ok(code @ ..SYSTEMD_STATUS_MIN)) => Ok(code),
            ("success" | "exit-code", "1", _) => broken(&format!(
                "systemd cannot start a process of it: status {status}, see systemd.exec(5)"
            )),
            ("resources", ..) => broken(
                "systemd cannot start a process of it: a file of EnvironmentFile= is missing, or \
                 another setting is wrong",
            ),
            ("timeout", ..) => broken("a process of it does not read its files in 20 s"),
            _ => broken(&format!("a process of it fails ({result})")),
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // What fails here is gone at the next boot.
        let _ = fs::remove_file(&self.unit);
        let _ = fs::remove_dir_all(&self.drop_ins);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Writes a new file with this mode, whatever the umask is.
fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(Permissions::from_mode(mode))
}

/// Whether all users may read a file.
fn others_may_read(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

/// `word` as one word of a unit.
fn quoted(word: &str) -> String {
    let mut out = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '%' => out += "%%",
            c if c.is_control() => {
                for byte in c.to_string().bytes() {
                    let _ = write!(out, "\\x{byte:02x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_unit() {
        assert_eq!(quoted("--claim"), "\"--claim\"");
        assert_eq!(quoted("a=\"b c\" 5% \\ $x\n"), "\"a=\\\"b c\\\" 5%% \\\\ $x\\x0a\"");
    }
}

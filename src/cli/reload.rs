//! `wschat reload`.

use std::path::Path;
use std::process::ExitCode;

use super::args::ControlArgs;
use super::failure::{CommandResult, Exit, Failure};
use super::own_unit::{OwnUnit, View, look, print_not_looked};
use crate::config::Fingerprint;
use crate::control::{
    CONTROL_PATH, ControlClient, ControlRequest, ErrorCode, ReloadReport, RequestError,
};
use crate::daemon::is_journal_stderr;
use crate::unit::{CopyError, SERVICE, service_of};

/// The most problems that are sent to the daemon, and the most bytes of them.
const PROBLEMS_MAX: usize = 100;
const PROBLEM_BYTES_MAX: usize = 32 * 1024;

/// Tells the daemon to reload its configuration. Prints the warnings, or the problems
/// of a rejected configuration, but not into the journal: the daemon has logged them there.
pub fn run(args: &ControlArgs) -> CommandResult {
    let problems = problems(&args.control);
    let is_logged = is_journal_stderr();
    let print = |line: String| {
        if !is_logged {
            eprintln!("{line}");
        }
    };
    match args.try_ask::<ReloadReport>(&ControlRequest::Reload { problems }) {
        Ok(reloaded) => {
            for warning in reloaded.warnings {
                print(warning);
            }
            for key in reloaded.needs_restart {
                print(format!(
                    "wschat: {key}: warning: the new value takes effect after a restart"
                ));
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(RequestError::Daemon(error)) if error.err == ErrorCode::ConfigRejected => {
            for problem in error.problems {
                print(problem);
            }
            Ok(Exit::Config.into())
        }
        Err(error) => Err(args.failure(error)),
    }
}

/// What the daemon cannot see: what its next start would fail at, and what only a start reads.
fn problems(control: &Path) -> Vec<String> {
    if let Some(other) = other_unit(control) {
        eprintln!(
            "wschat: {other} was not looked at, because it is not {SERVICE}: a changed credential \
             or variable takes effect after 'systemctl restart {other}'"
        );
        return Vec::new();
    }
    let unit = match look() {
        View::Unit(unit) => unit,
        View::NotLooked(why) if control == Path::new(CONTROL_PATH) => {
            print_not_looked(&why);
            return Vec::new();
        }
        View::Broken(why) if control == Path::new(CONTROL_PATH) => {
            return vec![line(SERVICE, &why)];
        }
        // The daemon that runs is another one.
        _ => return Vec::new(),
    };
    if unit.serve.control.as_deref().unwrap_or(Path::new(CONTROL_PATH)) != control {
        return Vec::new();
    }
    let of_unit = |(unit, why): &(String, String)| line(unit, why);
    let mut problems: Vec<_> = unit.service.problems.iter().map(of_unit).collect();
    match unit.check(true, true) {
        Ok(result) if result.code == 0 => problems.extend(changed(&unit, &result.out)),
        Ok(result) => problems.extend(result.err.lines().map(str::to_owned)),
        Err(CopyError::Unit(why)) => problems.push(line(SERVICE, &why)),
        Err(CopyError::Unavailable(why)) => print_not_looked(&why),
    }
    let mut bytes = 0;
    problems.truncate(PROBLEMS_MAX);
    problems.retain(|problem| {
        bytes += problem.len();
        bytes <= PROBLEM_BYTES_MAX
    });
    problems
}

/// The unit of the daemon at `control`, if it is another one than that of the package.
fn other_unit(control: &Path) -> Option<String> {
    let pid = ControlClient::connect(control).ok()?.daemon_pid()?;
    service_of(pid).filter(|unit| unit != SERVICE)
}

/// What a start takes from outside the files, and a reload does not: credentials and variables.
/// `next` is what the copy of the unit has printed.
fn changed(unit: &OwnUnit, next: &str) -> Vec<String> {
    let Some(loaded) = unit.load_in_force() else { return Vec::new() };
    let next: Vec<Fingerprint> = serde_json::from_str(next).unwrap_or_default();
    let pairs = loaded.fingerprints().into_iter().zip(next);
    let changed = pairs.filter(|(now, next)| now.differs(next));
    let text = |(now, next): (Fingerprint, Fingerprint)| {
        let source = if next.source == "default" { &now.source } else { &next.source };
        let why = format!(
            "{source} has changed, and only a restart reads it; run 'systemctl restart wschat', \
             which keeps all connections"
        );
        line(&now.key, &why)
    };
    changed.map(text).collect()
}

fn line(what: &str, why: &str) -> String {
    Failure::new(Exit::Config, what, why).to_string()
}

//! The unit of the service, for commands that are about the daemon it runs.

use std::env::{args_os, current_exe, var, var_os};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde::Deserialize;

use super::args::{CONFIG_PATH, ConfigArgs};
use super::failure::{Exit, Failure};
use super::output::print;
use super::serve::ServeArgs;
use crate::capacity::{System, carried};
use crate::config::{Loaded, load};
use crate::control::{CONTROL_PATH, ControlRequest, ControlSession};
use crate::daemon::dry_run::UnitFacts;
use crate::unit::{
    COPY_VARIABLE, CopyError, CopyResult, NotLooked, SERVICE, Service, arguments, variables,
};

/// How long a check waits for the status of the daemon, which it can do without.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// What a command knows of the unit.
pub enum View {
    /// The command runs in a copy of the unit.
    InCopy(UnitFacts),
    /// The unit, which uses the configuration of the command.
    Unit(Box<OwnUnit>),
    /// systemd cannot start the unit.
    Broken(String),
    /// There is no unit, or the command is about something else.
    Alone,
    /// The unit cannot be looked at.
    NotLooked(String),
}

/// The unit, and the options with which it runs the daemon.
pub struct OwnUnit {
    pub service: Service,
    pub serve: ServeArgs,
}

/// The command line of the unit.
#[derive(Parser)]
struct UnitCommand {
    #[command(flatten)]
    serve: ServeArgs,
}

/// Looks at the unit for a command that reads the configuration `config`, or the one of the
/// unit.
pub fn view(config: Option<&Path>) -> View {
    if let Ok(facts) = var(COPY_VARIABLE) {
        return View::InCopy(serde_json::from_str(&facts).unwrap_or_default());
    }
    // The caller says what a secret is.
    if ["JWT_SECRET", "CREDENTIALS_DIRECTORY"].iter().any(|name| var_os(name).is_some()) {
        return View::Alone;
    }
    match look() {
        View::Unit(unit) if config.is_none_or(|file| file == unit.config()) => View::Unit(unit),
        View::NotLooked(_) | View::Broken(_) | View::Unit(_) if config.is_some() => View::Alone,
        view => view,
    }
}

/// Looks at the unit.
pub fn look() -> View {
    let service = match Service::look() {
        Ok(service) => service,
        Err(NotLooked::NoUnit) => return View::Alone,
        Err(NotLooked::Because(why)) => return View::NotLooked(why),
        Err(NotLooked::Broken(why)) => return View::Broken(why),
    };
    let shown = service.program.display();
    match installed(&service.program) {
        None => return View::Broken(format!("ExecStart=: there is no program {shown}")),
        Some(program) if current_exe().is_ok_and(|own| own == program) => {}
        Some(_) => return View::NotLooked(format!("it runs {shown}")),
    }
    let serve = service_options(&service);
    View::Unit(Box::new(OwnUnit { service, serve }))
}

/// The options of the running service, or those of the unit. systemd replaces variables in these,
/// so only a copy of the unit can say what is wrong with them.
fn service_options(service: &Service) -> ServeArgs {
    let parse = |words: Vec<String>| {
        let is_serve = words.first().is_some_and(|word| word == "serve");
        let options = words.into_iter().skip(usize::from(is_serve));
        let words = std::iter::once("wschat".to_owned()).chain(options);
        UnitCommand::try_parse_from(words).ok().map(|command| command.serve)
    };
    parse(service.arguments.clone())
        .or_else(|| parse(arguments(service.main_pid?).ok()?))
        .or_else(|| parse(Vec::new()))
        .unwrap_or_default()
}

/// The file of a program of a unit, which can be a name only (systemd.service(5)).
fn installed(program: &Path) -> Option<PathBuf> {
    let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
    // An absolute path replaces the folder.
    folders.iter().find_map(|folder| Path::new(folder).join(program).canonicalize().ok())
}

/// Says that the unit was not looked at.
pub fn print_not_looked(why: &str) {
    eprintln!("wschat: {SERVICE} was not looked at: {why}");
}

impl OwnUnit {
    /// The configuration of the unit.
    fn config(&self) -> &Path {
        self.serve.config.config.as_deref().unwrap_or(Path::new(CONFIG_PATH))
    }

    /// Checks a start of the unit; `fingerprints` asks for what it takes from outside its files.
    pub fn check(&self, quiet: bool, fingerprints: bool) -> Result<CopyResult, CopyError> {
        let mut words = vec!["check".to_owned()];
        words.extend(quiet.then(|| "--quiet".to_owned()));
        let restricted = self.needs_token();
        let system = System::read(Some(self.service.limits.clone()), self.service.main_pid);
        let carries = carried(&system).map(|(listeners, limit)| (listeners, limit.to_owned()));
        let facts = self.service.facts.clone();
        let facts = UnitFacts { restricted, fingerprints, carries, ..facts };
        let result = self.service.run_copy(&words, true, &facts)?;
        if result.code == Exit::Usage as u8 {
            let first = result.err.lines().next().unwrap_or_default();
            let why = format!("ExecStart=: {}", first.trim_start_matches("error: "));
            return Err(CopyError::Unit(why));
        }
        if result.code != 0 && result.err.is_empty() {
            let why = format!("a check in a copy of it exits with {} and no message", result.code);
            return Err(CopyError::Unit(why));
        }
        Ok(result)
    }

    /// Whether the running daemon needs tokens. One that needs them may be of a version that does
    /// not remember it.
    fn needs_token(&self) -> bool {
        /// What daemons of all versions reply.
        #[derive(Deserialize)]
        struct Keys {
            keys: usize,
        }
        let control = self.serve.control.as_deref().unwrap_or(Path::new(CONTROL_PATH));
        let ask = || {
            let mut session = ControlSession::new(control, Some(STATUS_TIMEOUT));
            session.ask::<Keys>(&ControlRequest::Status {})
        };
        self.service.main_pid.is_some() && ask().is_ok_and(|status| status.keys > 0)
    }

    /// The configuration as the running daemon would load it.
    pub fn load_in_force(&self) -> Option<Loaded> {
        let pid = self.service.main_pid?;
        let variables = variables(pid).ok()?;
        let get = |name: &str| variables.get(&OsString::from(name)).cloned();
        let mut environment = self.serve.environment_from(get);
        // Another unit, such as the one that reloads, has another view of this folder.
        let inside = |folder: PathBuf| {
            let folder = folder.strip_prefix("/").map(Path::to_owned).unwrap_or(folder);
            Path::new("/proc").join(pid.to_string()).join("root").join(folder)
        };
        environment.credentials = environment.credentials.map(inside);
        load(&environment).ok()
    }
}

/// The configuration for a command that prints something about it: what is in force if the
/// service runs. If it does not, the command runs in a copy of the unit, and the result is its
/// exit status.
pub fn load_or_run(args: &ConfigArgs) -> Result<Result<Loaded, ExitCode>, Failure> {
    let unit = match view(args.config.as_deref()) {
        View::Unit(unit) => unit,
        View::Broken(why) => return Err(Failure::new(Exit::Config, SERVICE, why)),
        View::NotLooked(why) => {
            print_not_looked(&why);
            return Ok(Ok(args.load()?));
        }
        View::Alone | View::InCopy(_) => return Ok(Ok(args.load()?)),
    };
    if let Some(loaded) = unit.load_in_force() {
        return Ok(Ok(loaded));
    }
    let utf8 = |word: OsString| word.into_string();
    let words = args_os().skip(1).map(utf8).collect::<Result<Vec<_>, _>>();
    let words = words.map_err(|_| Failure::new(Exit::Usage, "argument", "it is not UTF-8"))?;
    match unit.service.run_copy(&words, false, &unit.service.facts) {
        Ok(CopyResult { code, out, err }) => {
            eprint!("{err}");
            print(&out)?;
            Ok(Err(ExitCode::from(code)))
        }
        Err(CopyError::Unit(why)) => Err(Failure::new(Exit::Config, SERVICE, why)),
        Err(CopyError::Unavailable(why)) => {
            print_not_looked(&why);
            Ok(Ok(args.load()?))
        }
    }
}

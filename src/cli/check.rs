//! `wschat check`.

use std::process::ExitCode;

use clap::Args;
use clap::builder::RangedU64ValueParser;

use super::capacity::print_limits;
use super::failure::{CommandResult, Exit, Failure};
use super::output::print;
use super::own_unit::{OwnUnit, View, print_not_looked, view};
use super::serve::ServeArgs;
use crate::capacity::{System, carried};
use crate::config::{Environment, Loaded, Problem, load, remember_restriction};
use crate::daemon::dry_run::{self, UnitFacts, too_many};
use crate::unit::{CopyError, SERVICE};

#[derive(Debug, Args)]
#[command(after_help = "\
Run by root, it tries everything as the user of wschat.service, in its sandbox and with its
credentials, and looks at its socket units. The options are those of serve.")]
pub struct CheckArgs {
    /// Print how many listeners each limit of the system allows, and what to change for N
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(1..=10_000_000))]
    capacity: Option<u64>,
    /// Print no warnings
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    serve: ServeArgs,
}

/// Prints the problems and warnings of a start, and which files the configuration consists of
/// if there are drop-ins.
pub fn run(args: &CheckArgs) -> CommandResult {
    let view = view(args.serve.config.config.as_deref());
    let code = match &view {
        View::InCopy(facts) => in_copy(args, facts),
        View::Unit(unit) => of_unit(args, unit),
        View::Broken(why) => {
            print_problem(SERVICE, why);
            alone(args)?;
            Ok(Exit::Config.into())
        }
        View::Alone => alone(args),
        View::NotLooked(why) => not_looked(args, why),
    }?;
    let unit = if let View::Unit(unit) = &view { Some(&**unit) } else { None };
    match args.capacity {
        Some(listeners) if !print_limits(listeners, unit, &args.serve)? => Ok(Exit::Config.into()),
        _ => Ok(code),
    }
}

fn not_looked(args: &CheckArgs, why: &str) -> CommandResult {
    if !args.quiet {
        print_not_looked(why);
    }
    alone(args)
}

/// Checks the configuration alone.
fn alone(args: &CheckArgs) -> CommandResult {
    let loaded = load(&args.serve.environment())?.with_usable_keys()?;
    print_warnings(args, &loaded);
    let carried = carried(&System::read(None, None));
    let warning = carried.and_then(|(listeners, limit)| too_many(&loaded, listeners, limit));
    for warning in warning.iter().filter(|_| !args.quiet) {
        eprintln!("{warning}");
    }
    print_files(args, &loaded)
}

/// Checks a start of the unit.
fn of_unit(args: &CheckArgs, unit: &OwnUnit) -> CommandResult {
    for (unit, why) in &unit.service.problems {
        print_problem(unit, why);
    }
    for (unit, what) in unit.service.warnings.iter().filter(|_| !args.quiet) {
        eprintln!("wschat: {unit}: warning: {what}");
    }
    let code = match unit.check(args.quiet, false) {
        Ok(result) => {
            eprint!("{}", result.err);
            print(&result.out)?;
            result.code
        }
        Err(CopyError::Unit(why)) => {
            print_problem(SERVICE, &why);
            Exit::Config as u8
        }
        Err(CopyError::Unavailable(why)) => {
            not_looked(args, &why)?;
            0
        }
    };
    Ok(match code {
        0 if unit.service.problems.is_empty() => ExitCode::SUCCESS,
        0 => Exit::Config.into(),
        code => {
            eprintln!("wschat: that is what {SERVICE} meets, as its user and in its sandbox");
            ExitCode::from(code)
        }
    })
}

/// Tries a start, in a copy of the unit.
fn in_copy(args: &CheckArgs, facts: &UnitFacts) -> CommandResult {
    let was_restricted = facts.restricted;
    let environment = Environment { was_restricted, ..args.serve.environment() };
    if let Some(folder) = environment.state_dir.as_deref().filter(|_| was_restricted) {
        // The running daemon may be of a version that does not remember it. If this fails, the
        // dry run tells why.
        let _ = remember_restriction(folder);
    }
    let loaded = load(&environment)?.with_usable_keys()?;
    print_warnings(args, &loaded);
    let control = args.serve.control.as_deref();
    let found = dry_run::problems(&loaded, &environment, control, facts);
    for problem in found.iter().filter(|problem| !(args.quiet && problem.is_warning())) {
        eprintln!("{problem}");
    }
    if !found.iter().all(Problem::is_warning) {
        return Ok(Exit::Config.into());
    }
    if facts.fingerprints {
        let json = serde_json::to_string(&loaded.fingerprints());
        return print(&json.map_err(|error| Failure::new(Exit::OsError, "check", error))?);
    }
    print_files(args, &loaded)
}

fn print_problem(what: &str, why: &str) {
    eprintln!("{}", Failure::new(Exit::Config, what, why));
}

fn print_warnings(args: &CheckArgs, loaded: &Loaded) {
    for warning in loaded.warnings.iter().filter(|_| !args.quiet) {
        eprintln!("{warning}");
    }
}

fn print_files(args: &CheckArgs, loaded: &Loaded) -> CommandResult {
    if !loaded.has_drop_ins || args.quiet {
        return Ok(ExitCode::SUCCESS);
    }
    let lines = loaded.files.iter().map(|file| format!("read {}\n", file.display()));
    print(&lines.collect::<String>())
}

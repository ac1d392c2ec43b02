//! `wschat check --capacity`: how many listeners each limit allows.

use indicatif::HumanCount;

use super::failure::Failure;
use super::output::print_while_open;
use super::own_unit::OwnUnit;
use super::serve::ServeArgs;
use super::table::{self, number, text};
use crate::address::ListenAddress;
use crate::capacity::{Limit, Plan, System, limits};
use crate::config::load;

/// Prints the limits for a daemon with so many listeners: of the unit, or of one that is started
/// by hand with `serve`. Returns whether all of them are high enough.
pub fn print_limits(
    listeners: u64,
    unit: Option<&OwnUnit>,
    serve: &ServeArgs,
) -> Result<bool, Failure> {
    let service = unit.map(|unit| &unit.service);
    let system = System::read(
        service.map(|service| service.limits.clone()),
        service.and_then(|service| service.main_pid),
    );
    let loaded = match unit {
        Some(unit) => unit.load_in_force().or_else(|| load(&unit.serve.environment()).ok()),
        None => load(&serve.environment()).ok(),
    };
    let config = loaded.map(|loaded| loaded.config);
    let addresses: Vec<ListenAddress> = match (service, &config) {
        (Some(service), _) => service.facts.room.iter().filter_map(|at| at.parse().ok()).collect(),
        (None, Some(config)) => config.listen.addresses.clone(),
        (None, None) => Vec::new(),
    };
    let plan = Plan {
        listeners,
        connections_max: config.as_ref().map(|config| config.limits.connections_max as u64),
        shards: config.as_ref().map_or(1, |config| config.server.shards()),
        is_proxied: !addresses.is_empty() && addresses.iter().all(is_loopback),
    };
    let found = limits(&system, plan);
    print_while_open(&describe(&found, listeners))?;
    Ok(found.iter().all(|limit| limit.allows >= listeners))
}

fn is_loopback(address: &ListenAddress) -> bool {
    matches!(address, ListenAddress::Tcp(address) if address.ip().is_loopback())
}

fn describe(limits: &[Limit], listeners: u64) -> String {
    let count = |count: u64| HumanCount(count).to_string();
    let last = format!("FOR {}", count(listeners));
    let mut lines = table::lines(
        &[text("LIMIT"), number("VALUE"), number("LISTENERS"), text("")],
        &limits.iter().map(|limit| row(limit, listeners)).collect::<Vec<_>>(),
    );
    if let Some(heads) = lines.first_mut() {
        *heads = format!("{}  {last}", heads.trim_end());
    }
    lines.join("\n") + "\n"
}

fn row(limit: &Limit, listeners: u64) -> Vec<String> {
    let count = |count: u64| HumanCount(count).to_string();
    // Such as 2^63 - 1 for fs.file-max.
    let any = |value: u64, text: String| if value > 1 << 50 { "any".to_owned() } else { text };
    let verdict = match limit.allows >= listeners {
        true => "ok".to_owned(),
        false => format!("too low: {}", limit.remedy),
    };
    let Limit { name, value, allows, .. } = *limit;
    vec![name.to_owned(), any(value, value.to_string()), any(allows, count(allows)), verdict]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_as_a_table() {
        let limit = |name, value, allows| Limit { name, value, allows, remedy: "do it".to_owned() };
        let found = [limit("fs.a", 20_000, 19_621), limit("fs.b", 1 << 60, u64::MAX)];
        let want = "LIMIT  VALUE  LISTENERS  FOR 100,000\n\
                    fs.a   20000     19,621  too low: do it\n\
                    fs.b     any        any  ok\n";
        assert_eq!(describe(&found, 100_000), want);
    }
}

//! What systemd knows of the units of the package while no daemon answers.

use std::fmt;

use crate::unit::{Properties, show};

const PROPERTIES: &[&str] = &["Id", "ActiveState", "SubState", "Listen"];

/// The state of the units.
#[derive(Debug, PartialEq, Eq)]
pub enum UnitState {
    /// The socket unit listens on these addresses, and starts the service with the first client.
    Waiting { listening: Vec<String> },
    /// Something else, for people.
    Other(&'static str),
}

impl fmt::Display for UnitState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { listening } => {
                write!(out, "wschat waits for the first client on {}", listening.join(", "))
            }
            Self::Other(why) => out.write_str(why),
        }
    }
}

/// Asks systemd. `None` if there is none, or if it knows nothing that explains more.
pub fn unit_state() -> Option<UnitState> {
    explain(&show(&["wschat.socket", "wschat.service"], PROPERTIES).ok()?)
}

/// The state by the properties of the units.
fn explain(units: &[Properties]) -> Option<UnitState> {
    let unit = |id: &str| units.iter().find(|unit| unit.get("Id") == id);
    let (socket, service) = (unit("wschat.socket")?, unit("wschat.service")?);
    match [service.get("ActiveState"), service.get("SubState")] {
        ["activating", "auto-restart"] => Some(UnitState::Other(
            "wschat.service does not start, and systemd tries again; see 'journalctl -u wschat'",
        )),
        ["activating", _] => Some(UnitState::Other("wschat.service is starting")),
        ["deactivating", _] => Some(UnitState::Other("wschat.service is stopping")),
        ["failed", _] => {
            Some(UnitState::Other("wschat.service has failed; see 'journalctl -u wschat'"))
        }
        ["active", _] => None,
        _ => match socket.get("ActiveState") {
            "active" => {
                let address = |value: &str| value.split(' ').next().map(str::to_owned);
                let listening = socket.all("Listen").filter_map(address).collect();
                Some(UnitState::Waiting { listening })
            }
            "failed" => Some(UnitState::Other(
                "wschat.socket has failed; see 'journalctl -u wschat.socket'",
            )),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_the_units() {
        let check = |socket: &str, service: [&str; 2], want: Option<&str>| {
            let shown = format!(
                "Id=wschat.socket\nActiveState={socket}\nListen=127.0.0.1:8080 (Stream)\n\
                 Listen=[::1]:8080 (Stream)\n\nActiveState={}\nSubState={}\nId=wschat.service\n",
                service[0], service[1]
            );
            let units: Vec<_> = shown.split("\n\n").map(Properties::parse).collect();
            let got = explain(&units).map(|state| state.to_string());
            let is_as_wanted = match (&got, want) {
                (Some(got), Some(want)) => got.contains(want),
                (got, want) => got.is_none() && want.is_none(),
            };
            assert!(is_as_wanted, "{socket} {service:?}: {got:?}, not {want:?}");
        };
        check("active", ["inactive", "dead"], Some("client on 127.0.0.1:8080, [::1]:8080"));
        check("active", ["activating", "auto-restart"], Some("does not start"));
        check("active", ["activating", "start"], Some("is starting"));
        check("active", ["failed", "failed"], Some("wschat.service has failed"));
        check("active", ["active", "running"], None);
        check("failed", ["inactive", "dead"], Some("wschat.socket has failed"));
        check("inactive", ["inactive", "dead"], None);
        assert_eq!(explain(&[]), None);
    }
}

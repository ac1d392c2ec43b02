//! Runs systemctl, with a time limit.

use std::env::var_os;
use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The name of the service.
pub const SERVICE: &str = "wschat.service";

/// How long systemd may take for an answer.
const SHOW_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is looked whether there is one.
const POLL: Duration = Duration::from_millis(2);

/// What systemctl printed.
pub struct Printed {
    /// Whether it succeeded.
    pub success: bool,
    /// Its standard output.
    pub out: String,
    /// Its standard error, as one line.
    pub err: String,
}

/// The properties of a unit.
#[derive(Clone, Debug, Default)]
pub struct Properties(Vec<(String, String)>);

impl Properties {
    /// The properties in a block of `systemctl show`.
    pub fn parse(block: &str) -> Self {
        let pairs = block.lines().filter_map(|line| line.split_once('='));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// The value of a property; empty if there is none.
    pub fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// All values of a property.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The properties of each of `units`.
///
/// # Errors
///
/// systemctl fails, or gives no answer in time.
pub fn show(units: &[&str], properties: &[&str]) -> Result<Vec<Properties>, String> {
    let names = properties.join(",");
    let printed = run(&[&["show", "-p", &names, "--"], units].concat(), SHOW_TIMEOUT)?;
    if !printed.success {
        return Err(printed.err);
    }
    Ok(printed.out.split("\n\n").map(Properties::parse).collect())
}

/// Runs systemctl for at most `timeout`.
///
/// # Errors
///
/// It cannot be run, or takes longer.
pub fn run(arguments: &[&str], timeout: Duration) -> Result<Printed, String> {
    let failed = |error: io::Error| format!("systemctl: {error}");
    let path = var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let mut child = Command::new("systemctl")
        .args(arguments)
        // The environment can have a secret.
        .env_clear()
        .envs([("PATH", path), ("LC_ALL", "C.UTF-8".into())])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let deadline = Instant::now() + timeout;
    // What it prints fits into the pipes, so that it ends before they are read.
    let status = loop {
        match child.try_wait().map_err(failed)? {
            Some(status) => break status,
            None if Instant::now() < deadline => sleep(POLL),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("systemd did not answer within {} s", timeout.as_secs()));
            }
        }
    };
    let (out, err) = read(&mut child).map_err(failed)?;
    let err = err.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(Printed { success: status.success(), out, err })
}

fn read(child: &mut Child) -> io::Result<(String, String)> {
    let (mut out, mut err) = (String::new(), String::new());
    if let Some(pipe) = &mut child.stdout {
        pipe.read_to_string(&mut out)?;
    }
    if let Some(pipe) = &mut child.stderr {
        pipe.read_to_string(&mut err)?;
    }
    Ok((out, err))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_can_have_several_values() {
        let shown = "Id=wschat.socket\nListen=127.0.0.1:80 (Stream)\nListen=/run/a=b (Stream)\n";
        let properties = Properties::parse(shown);
        assert_eq!(properties.get("Id"), "wschat.socket");
        assert_eq!(properties.get("Accept"), "");
        let listen: Vec<_> = properties.all("Listen").collect();
        assert_eq!(listen, ["127.0.0.1:80 (Stream)", "/run/a=b (Stream)"]);
    }
}

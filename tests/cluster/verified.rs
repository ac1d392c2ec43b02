//! A node does not start with a stream or a server that is not as it has to be.

use crate::harness::{Daemon, Setup};
use crate::manager::Manager;
use crate::nodes::{STREAM, create_stream};
use crate::servers::{Servers, wait_for};

fn section(servers: &Servers, stream: &str) -> String {
    let url = format!("nats://{}", servers.addresses()[0]);
    format!("[cluster]\nservers = ['nats://127.0.0.1:1', '{url}']\nstream = '{stream}'\n")
}

fn is_connected(daemon: &Daemon) -> bool {
    let out = daemon.command(&["status", "--json"]).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    status["cluster"]["connected"] == true
}

#[test]
fn a_mismatch_prevents_the_start() {
    let servers = Servers::start(1);
    create_stream(&servers, "");
    let refused = |config: &str, why: &str| {
        let (code, log) = Setup::new(config).spawn().ends_with();
        assert_eq!(code, Some(78), "{log}");
        let last = log.lines().last().unwrap_or_default();
        assert!(last.starts_with(&format!("wschat: cluster: {why}")), "{log}");
    };
    refused(
        &section(&servers, "none"),
        "there is no stream none; create it with 'wschat cluster init'",
    );
    let long = format!("limits.feed_tail_bytes = 134217728\n{}", section(&servers, STREAM));
    refused(&long, "the stream room cannot be used: its max_bytes is 268435456, and must be");

    let small = Servers::with_config(1, "max_payload: 32768");
    refused(
        &section(&small, STREAM),
        &format!("nats://{} cannot be used: its max_payload is 32768", small.addresses()[0]),
    );
    let closed = Servers::with_config(1, "authorization { token: \"t0ken\" }");
    refused(
        &section(&closed, STREAM),
        &format!("nats://{} refused a node without credentials (", closed.addresses()[0]),
    );
}

#[test]
fn a_start_that_fails_leaves_the_connections_in_the_store() {
    let servers = Servers::start(1);
    let mut manager = Manager::with_config("");
    let mut single = manager.start();
    let mut ann = single.connect();
    single.signal(rustix::process::Signal::USR2);
    assert_eq!(single.wait().code(), Some(0), "{}", single.log());
    manager.config = section(&servers, STREAM);
    let (code, log) = manager.setup().spawn().ends_with();
    assert_eq!(code, Some(78), "{log}");

    create_stream(&servers, "");
    let node = manager.start();
    wait_for("the node is connected", || is_connected(&node).then_some(()));
    ann.say("ann", "still here");
    assert_eq!(ann.json()["msg"], "still here");
}

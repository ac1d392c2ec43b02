//! From a room on one machine to a room on two, as docs/cluster.md describes.

use crate::harness::Daemon;
use crate::manager::Manager;
use crate::servers::{Servers, wait_for};

fn wait_until_connected(daemon: &Daemon) {
    wait_for("the node is connected", || {
        let out = daemon.command(&["status", "--json"]).output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&out.stdout).ok()?;
        (status["cluster"]["connected"] == true).then_some(())
    });
}

#[test]
fn a_single_room_becomes_a_cluster_and_loses_no_listener() {
    let servers = Servers::start(1);
    let mut manager = Manager::with_config("");
    let single = manager.start();
    let [mut ann, mut bob] = [single.connect(), single.connect()];
    ann.say("ann", "one");
    let before = [ann.json(), bob.json()];
    assert!(single.command(&["mute", "bob"]).output().unwrap().status.success());

    let url = format!("nats://{}", servers.addresses()[0]);
    let cluster = |name: &str| format!("[cluster]\nservers = ['{url}']\nnode = '{name}'\n");
    single.configure(&cluster("one"));
    let mut init = single.command(&["cluster", "init", "--replicas", "1"]);
    let out = init.arg("--config").arg(single.config_file()).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    manager.config = cluster("one");
    let one = manager.restart(single);
    wait_until_connected(&one);
    let two = Daemon::start(&cluster("two"));
    wait_until_connected(&two);

    // The connections are those of before.
    let mut eve = two.connect();
    ann.say("ann", "two");
    let texts = [ann.text(), bob.text(), eve.text()];
    assert!(texts[0].contains(r#""msg":"two""#), "{texts:?}");
    assert_eq!((&texts[0], &texts[0]), (&texts[1], &texts[2]));
    let after: serde_json::Value = serde_json::from_str(&texts[0]).unwrap();
    assert!(after["tim"].as_str() > before[0]["tim"].as_str(), "{after} {before:?}");
    // The mute holds on both nodes.
    for client in [&mut bob, &mut eve] {
        client.say("bob", "three");
        assert_eq!(client.json()["err"], "muted");
    }
}

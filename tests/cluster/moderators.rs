//! What a moderator or an operator is told of an action while the servers cannot be reached.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use wschat::chat::TokenKey;

use crate::acts::run;
use crate::nodes::{Cluster, Node};
use crate::relay::Way;
use crate::servers::wait_for;

const SECRET: &str = "a secret of thirty-two bytes, yes";

/// Ann is a moderator.
const AUTH: &str =
    "[auth]\njwt_secret = 'a secret of thirty-two bytes, yes'\nmoderator_claim = 'mod'\n";

/// How a moderator acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    WebSocket,
    Post,
    Command,
}

const ALL: [By; 3] = [By::WebSocket, By::Post, By::Command];

/// What is told in each of these ways: `done`, or the code of the notice.
fn mute(node: &Node, by: By, whom: &str) -> String {
    if by == By::Command {
        let (code, said) = run(node, &["mute", whom]);
        let expected = match code {
            Some(0) => "muted",
            Some(69) => "the cluster cannot be reached at the moment",
            Some(75) => "it is not known whether it was done",
            _ => panic!("{code:?}: {said}"),
        };
        assert!(said.contains(expected), "{code:?}: {said}");
        let codes = [(0, "done"), (69, "unavailable"), (75, "unknown")];
        return codes.iter().find(|known| Some(known.0) == code).unwrap().1.to_owned();
    }
    let key = TokenKey::secret(None, Algorithm::HS256, SECRET.as_bytes()).unwrap();
    let jwt = key.sign(&json!({ "sub": "ann", "mod": true }));
    let text = json!({ "usr": "ann", "cmd": { "mute": whom }, "jwt": jwt }).to_string();
    if by == By::Post {
        return post(node, &text);
    }
    let mut client = node.daemon.connect();
    client.0.get_ref().set_read_timeout(Some(Duration::from_secs(45))).unwrap();
    client.send(&text);
    result(&client.json())
}

fn post(node: &Node, text: &str) -> String {
    let mut stream = TcpStream::connect(node.daemon.addr).unwrap();
    let length = text.len();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    stream.write_all((head + text).as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let told = result(&serde_json::from_str(body).unwrap());
    let status = head.split(' ').nth(1).unwrap();
    let statuses = [("done", "200"), ("unavailable", "503"), ("unknown", "504")];
    assert!(statuses.contains(&(&told, status)), "{response}");
    assert_eq!(head.to_lowercase().contains("retry-after: "), told == "unavailable", "{head}");
    told
}

fn result(answer: &Value) -> String {
    let Some(code) = answer.get("err") else {
        assert_eq!(answer["ack"], "mute", "{answer}");
        return "done".into();
    };
    assert_eq!(answer.get("wait").is_some(), code == "unavailable", "{answer}");
    code.as_str().unwrap().to_owned()
}

#[test]
fn an_action_without_servers_is_unavailable_at_once() {
    let cluster = Cluster::with_limits(1, 1, AUTH);
    let node = &cluster.nodes[0];
    for by in ALL {
        assert_eq!(mute(node, by, "bob"), "done", "{by:?}");
    }
    node.relay.cut();
    node.wait_until_away();
    for by in ALL {
        assert_eq!(mute(node, by, "eve"), "unavailable", "{by:?}");
    }
    node.relay.restore();
    node.wait_until_connected();
    let (_, mutes) = run(node, &["mutes"]);
    assert!(mutes.contains("\"bob\"") && !mutes.contains("\"eve\""), "{mutes}");
}

/// Actions on their way when a node is cut off: it cannot know whether they will be done.
#[test]
fn an_action_that_is_lost_from_sight_is_unknown() {
    for way in [Way::Back, Way::There] {
        let cluster = Cluster::with_limits(1, 2, AUTH);
        let node = &cluster.nodes[0];
        node.relay.hold(&[way]);
        let told = thread::scope(|scope| {
            let act = |by: By| scope.spawn(move || mute(node, by, &format!("{by:?}")));
            ALL.map(act).map(|thread| thread.join().unwrap())
        });
        assert_eq!(told, ["unknown"; 3], "{way:?}");
        // What was published is done, everywhere; what was not comes too late.
        node.relay.restore();
        node.wait_until_connected();
        assert_eq!(mute(node, By::Command, "last"), "done");
        for node in &cluster.nodes {
            let mutes = wait_for("the last mute", || {
                Some(run(node, &["mutes"]).1).filter(|mutes| mutes.contains("\"last\""))
            });
            let done = ALL.iter().filter(|by| mutes.contains(&format!("\"{by:?}\""))).count();
            assert_eq!(done, if way == Way::Back { 3 } else { 0 }, "{mutes}");
        }
    }
}

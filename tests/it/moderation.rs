//! Rate limits, moderators in the room and operators at the control socket, also after a
//! crash.

use std::process::Output;

use jsonwebtoken::{EncodingKey, Header};
use rustix::process::Signal;
use serde_json::{Value, json};
use wschat::chat::Tim;

use super::harness::{Client, Daemon, Setup, UNLIMITED, until};
use super::manager::Manager;

const SECRET: &str = "a secret of thirty-two bytes, yes";

fn with_moderators(limits: &str) -> String {
    format!("[auth]\njwt_secret = '{SECRET}'\nmoderator_claim = 'mod'\n[limits]\n{limits}\n")
}

fn token(claims: Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap()
}

/// The next message or notice that a message results in.
fn answer(client: &mut Client, message: &Value) -> Value {
    client.send(&message.to_string());
    client.json()
}

/// `sent`, or the code of the notice.
fn result(client: &mut Client, message: &Value) -> String {
    let answer = answer(client, message);
    answer.get("err").map_or("sent", |code| code.as_str().unwrap()).to_owned()
}

fn operator(daemon: &Daemon, words: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr, .. } = daemon.command(words).output().unwrap();
    (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

#[track_caller]
fn done(daemon: &Daemon, words: &[&str], said: &str) {
    assert_eq!(operator(daemon, words), (Some(0), format!("{said}\n")));
}

#[test]
fn a_rate_limit_covers_all_connections_of_a_speaker() {
    let daemon = Daemon::start("[limits]\nmessages_per_sec = 1\nmessages_burst = 3");
    let mut client = daemon.connect();
    let message = json!({ "usr": "ann", "msg": "hi" });
    for _ in 0..3 {
        assert_eq!(result(&mut client, &message), "sent");
    }
    let notice = answer(&mut client, &message);
    assert_eq!(notice["err"], "rate-limited");
    assert_eq!(notice["wait"], 1);
    assert_eq!(notice["msg"], "not sent: too fast, or the same text again; wait 1 s");
    drop(client);
    let mut again = daemon.connect();
    assert_eq!(result(&mut again, &message), "rate-limited", "the budget is the address's");

    daemon.reload(UNLIMITED);
    for _ in 0..100 {
        assert_eq!(result(&mut again, &message), "sent");
    }
    daemon.reload("[limits]\nmessages_per_sec = 0\nrepeat_secs = 3600");
    assert_eq!(result(&mut again, &json!({ "usr": "ann", "msg": "buy" })), "sent");
    assert_eq!(result(&mut again, &json!({ "usr": "eve", "msg": "buy" })), "rate-limited");
    assert_eq!(result(&mut again, &json!({ "usr": "eve", "msg": "sell" })), "sent");
    assert_eq!(result(&mut again, &json!({ "usr": "ann", "msg": "buy" })), "rate-limited");
    daemon.reload("[limits]\nslow_mode_secs = 3600");
    let notice = answer(&mut again, &json!({ "usr": "ann", "msg": "more" }));
    let wait = notice["wait"].as_u64().unwrap();
    assert!((3500..=3600).contains(&wait), "{notice}");
}

#[test]
fn a_sub_has_its_own_rate_limit() {
    let daemon = Daemon::start(&with_moderators("messages_per_sec = 1\nmessages_burst = 2"));
    let say = |sub: &str| json!({ "usr": "x", "msg": "hi", "jwt": token(json!({ "sub": sub })) });
    let (mut one, mut other) = (daemon.connect(), daemon.connect());
    assert_eq!(result(&mut one, &say("ann")), "sent");
    other.hear();
    assert_eq!(result(&mut other, &say("ann")), "sent");
    one.hear();
    assert_eq!(result(&mut other, &say("ann")), "rate-limited");
    assert_eq!(result(&mut other, &say("bob")), "sent");
}

#[test]
fn moderators_send_commands_in_the_room() {
    let daemon = Daemon::start(&with_moderators("messages_per_sec = 0"));
    let (mut ann, mut bob) = (daemon.connect(), daemon.connect());
    let chief = token(json!({ "sub": "u1", "mod": true }));
    let plain = token(json!({ "sub": "u2" }));
    let command = |cmd: Value| json!({ "usr": "ann", "jwt": chief, "cmd": cmd });
    let say = json!({ "usr": "bob", "msg": "hi", "jwt": plain });

    assert_eq!(
        result(&mut bob, &json!({ "usr": "bob", "jwt": plain, "cmd": { "lock": true } })),
        "not-a-moderator"
    );
    assert_eq!(result(&mut ann, &command(json!({ "dance": true }))), "bad-command");
    let sent = answer(&mut bob, &say);
    assert_eq!(ann.json(), sent);

    let ack = answer(&mut ann, &command(json!({ "mute": "b\u{43e}b", "secs": 600 })));
    assert_eq!(ack["ack"], "mute");
    assert_eq!(ack["msg"], "done: muted \"b\u{43e}b\" for 600 s");
    let notice = answer(&mut bob, &say);
    assert_eq!(notice["err"], "muted");
    assert!((590..=600).contains(&notice["wait"].as_u64().unwrap()), "{notice}");
    assert_eq!(answer(&mut ann, &command(json!({ "unmute": "bob" })))["ack"], "unmute");
    let notice = answer(&mut ann, &command(json!({ "unmute": "bob" })));
    assert_eq!(notice["msg"], "not done: this user or address is not muted");

    // By its sub as well, under any name.
    assert_eq!(answer(&mut ann, &command(json!({ "mute": "u2" })))["ack"], "mute");
    assert_eq!(result(&mut bob, &json!({ "usr": "rob", "msg": "hi", "jwt": plain })), "muted");
    assert_eq!(answer(&mut ann, &command(json!({ "unmute": "u2" })))["ack"], "unmute");

    assert_eq!(answer(&mut ann, &command(json!({ "lock": true })))["ack"], "lock");
    assert_eq!(result(&mut bob, &say), "locked");
    assert_eq!(result(&mut ann, &json!({ "usr": "ann", "msg": "hush", "jwt": chief })), "sent");
    assert_eq!(bob.json()["msg"], "hush");
    assert_eq!(answer(&mut ann, &command(json!({ "unlock": true })))["ack"], "unlock");

    assert_eq!(answer(&mut ann, &command(json!({ "slow": 3600 })))["ack"], "slow");
    assert_eq!(result(&mut bob, &say), "rate-limited");
    assert_eq!(answer(&mut ann, &command(json!({ "slow": null })))["ack"], "slow");
    let again = answer(&mut bob, &say);
    assert_eq!(again["usr"], "bob");
    assert_eq!(ann.json(), again);

    // Everyone gets the retraction, and the moderator a receipt, in any order.
    ann.send(&command(json!({ "retract": sent["tim"] })).to_string());
    let told = [ann.json(), ann.json()];
    assert!(told.iter().any(|told| told["ack"] == "retract"), "{told:?}");
    let retraction = bob.json();
    assert_eq!(retraction["usr"], "wschat");
    assert_eq!(retraction["retract"], sent["tim"]);
    assert!(told.contains(&retraction), "{told:?}");
    assert!(retraction["tim"].as_str() > again["tim"].as_str(), "it has its place in the order");
    let later = json!({ "retract": "2200-01-01T00:00:00.000000000Z" });
    assert_eq!(result(&mut ann, &command(later)), "bad-command");

    assert_eq!(answer(&mut ann, &command(json!({ "kick": "bob" })))["ack"], "kick");
    let (_, code, reason) = bob.closed();
    assert_eq!((code, reason.as_str()), (1008, "kicked"));

    let log = daemon.wait_for_log(r#""ann" (sub "u1") kicked "bob""#);
    let log = log + &daemon.log();
    assert!(!log.contains(&chief) && !log.contains(&plain), "{log}");
}

#[test]
fn what_meets_nobody_is_not_recorded_as_done() {
    let daemon = Daemon::start(UNLIMITED);
    let (mut ann, mut bob) = (daemon.connect(), daemon.connect());
    assert_eq!(result(&mut bob, &json!({ "usr": "bob", "msg": "hi" })), "sent");
    let sent: Tim = ann.json()["tim"].as_str().unwrap().parse().unwrap();
    bob.say("bob", "again");
    bob.hear();
    let between = Tim::from_nanos(sent.nanos() + 1).to_string();
    done(&daemon, &["unlock"], "the room is not locked");
    done(&daemon, &["slow", "configured"], "slow mode is as requested already");
    for (words, why) in [
        (vec!["kick", "nobody"], "\"nobody\" is not connected\n"),
        (vec!["kick", "--address", "192.0.2.7"], "192.0.2.7 is not connected\n"),
        (vec!["kick", "--id", "999999"], "connection 999999 is not connected\n"),
        (vec!["unmute", "bob"], "this user or address is not muted\n"),
        (vec!["retract", &between], "no message with this tim\n"),
    ] {
        let (code, said) = operator(&daemon, &words);
        assert!(code == Some(1) && said.ends_with(why), "{words:?}: {said}");
    }
    done(&daemon, &["lock"], "locked the room: only moderators can send messages");
    done(&daemon, &["lock"], "the room is locked already");
    done(&daemon, &["kick", "bob"], r#"kicked "bob", connections: 1"#);
    let log = daemon.wait_for_log(r#" kicked "bob", connections: 1"#);
    let log = log + &daemon.log();
    for line in [
        r#"asked for unlock, but the room is not locked"#,
        r#"asked for slow, but slow mode is as requested already"#,
        r#"asked for kick, but "nobody" is not connected here"#,
        r#"asked for lock, but the room is locked already"#,
        r#"asked for unmute of "bob", but this user or address is not muted"#,
        r#"asked for retract, but the room has sent no message with this tim"#,
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    for line in ["unlocked", r#"kicked "nobody""#, "unmuted", "retracted", "slow mode as"] {
        assert!(!log.contains(line), "{line}: {log}");
    }
    let (_, metrics) = operator(&daemon, &["metrics"]);
    for (act, count) in [("kick", 1), ("lock", 1), ("unlock", 0), ("retract", 0), ("slow", 0)] {
        let line = format!("wschat_moderation_acts_total{{act=\"{act}\"}} {count}");
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
}

#[test]
fn operators_have_the_same_actions() {
    let daemon = Daemon::start(UNLIMITED);
    let (mut ann, mut bob) = (daemon.connect(), daemon.connect());
    let say = |usr: &str| json!({ "usr": usr, "msg": "hi" });
    assert_eq!(result(&mut bob, &say("Bob")), "sent");
    let sent = ann.json();

    assert_eq!(operator(&daemon, &["mutes"]), (Some(0), "there are no mutes\n".into()));
    done(&daemon, &["mute", "bob", "--for", "10m"], r#"muted "bob" for 600 s"#);
    assert_eq!(result(&mut bob, &say("Bob")), "muted");
    // An invisible character does not make another name.
    assert_eq!(result(&mut bob, &json!({ "usr": "rob" })), "missing-msg");
    let (_, mutes) = operator(&daemon, &["mutes"]);
    assert!(mutes.starts_with("\"bob\" since ") && mutes.contains("uid "), "{mutes}");
    let (_, listed) = operator(&daemon, &["clients", "--json"]);
    let clients: Vec<Value> =
        listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let speaking: Vec<_> =
        clients.iter().map(|client| (&client["usr"], &client["muted"])).collect();
    assert_eq!(speaking, [(&json!(""), &json!(false)), (&json!("Bob"), &json!(true))]);
    let (_, table) = operator(&daemon, &["clients"]);
    assert!(table.lines().any(|row| row.ends_with("  Bob, muted")), "{table}");
    done(&daemon, &["unmute", "bob"], r#"unmuted "bob""#);
    let (code, why) = operator(&daemon, &["unmute", "bob"]);
    assert_eq!(code, Some(1), "{why}");
    assert!(why.ends_with("this user or address is not muted\n"), "{why}");

    done(&daemon, &["mute", "--address", "127.0.0.1"], "muted 127.0.0.1 until unmuted");
    assert_eq!(result(&mut ann, &say("ann")), "muted");
    done(&daemon, &["unmute", "--address", "127.0.0.1"], "unmuted 127.0.0.1");

    done(&daemon, &["lock"], "locked the room: only moderators can send messages");
    assert_eq!(result(&mut ann, &say("ann")), "locked");
    done(&daemon, &["slow", "30"], "set slow mode to 30 s");
    let (_, status) = operator(&daemon, &["status"]);
    assert!(status.contains("\nsenders      moderators only, one message in 30 s\n"), "{status}");
    done(&daemon, &["slow", "configured"], "set slow mode as configured");
    done(&daemon, &["unlock"], "unlocked the room");

    done(&daemon, &["say", "Back", "at", "\"noon\""], r#"said "Back at \"noon\"""#);
    for client in [&mut ann, &mut bob] {
        let said = client.json();
        assert_eq!((&said["usr"], &said["msg"]), (&json!("wschat"), &json!("Back at \"noon\"")));
    }
    let tim = sent["tim"].as_str().unwrap();
    done(&daemon, &["retract", tim], &format!("retracted {tim}"));
    assert_eq!(ann.json()["retract"], tim);
    assert_eq!(operator(&daemon, &["retract", "yesterday"]).0, Some(64));

    assert_eq!(operator(&daemon, &["kick", "nobody"]).0, Some(1));
    done(&daemon, &["kick", "bob"], r#"kicked "bob", connections: 1"#);
    assert_eq!(bob.closed().1, 1008);
    let (_, metrics) = operator(&daemon, &["metrics"]);
    for line in [
        r#"wschat_moderation_acts_total{act="mute"} 2"#,
        r#"wschat_closed_connections_total{reason="kicked"} 1"#,
        r#"wschat_refused_messages_total{code="muted"} 2"#,
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    assert_eq!(operator(&daemon, &["mute"]).0, Some(64), "whom?");
}

#[test]
fn slow_mode_and_last_messages_survive_a_restart() {
    let manager = Manager::with_config("[limits]\nmessages_per_sec = 0\nrepeat_secs = 86400\n");
    let daemon = manager.start();
    let mut ann = daemon.connect();
    let say = |msg: &str| json!({ "usr": "ann", "msg": msg });
    for msg in ["one", "two", "three"] {
        assert_eq!(result(&mut ann, &say(msg)), "sent");
    }
    // Slower than two hours, but only after the first message.
    done(&daemon, &["slow", "20000"], "set slow mode to 20000 s");
    let daemon = manager.restart(daemon);
    let notice = answer(&mut ann, &say("four"));
    assert!((19_000..=20_000).contains(&notice["wait"].as_u64().unwrap()), "{notice}");
    done(&daemon, &["slow", "off"], "switched slow mode off");
    let notice = answer(&mut ann, &say("one"));
    assert!((85_000..=86_400).contains(&notice["wait"].as_u64().unwrap()), "{notice}");
    assert_eq!(result(&mut ann, &say("four")), "sent");
}

#[test]
fn a_speaker_without_messages_is_found_by_its_name() {
    let daemon = Daemon::start(&with_moderators("messages_per_sec = 0"));
    let plain = token(json!({ "sub": "u2" }));
    let say = |jwt: &str, usr: &str| json!({ "usr": usr, "msg": "hi", "jwt": jwt });
    done(&daemon, &["mute", "bob"], r#"muted "bob" until unmuted"#);
    let (mut bob, mut eve) = (daemon.connect(), daemon.connect());
    assert_eq!(result(&mut bob, &say(&plain, "B\u{200b}ob")), "muted");
    assert_eq!(result(&mut eve, &say("no token", "eve")), "jwt-invalid");
    let (_, table) = operator(&daemon, &["clients"]);
    for end in ["  Bob (sub u2), muted", "  eve"] {
        assert!(table.lines().any(|row| row.ends_with(end)), "{table}");
    }
    for (name, client) in [("bob", bob), ("eve", eve)] {
        let mut client = client;
        done(&daemon, &["kick", name], &format!("kicked {name:?}, connections: 1"));
        assert_eq!(client.closed().1, 1008);
    }
}

#[test]
fn any_sub_can_be_muted_exactly() {
    let daemon = Daemon::start(&with_moderators("messages_per_sec = 0"));
    let mut client = daemon.connect();
    let mut result_of = |sub: &str| {
        let jwt = token(json!({ "sub": sub }));
        result(&mut client, &json!({ "usr": "x", "msg": "hi", "jwt": jwt }))
    };
    let long = "u2".repeat(500);
    for sub in ["u2 ", "u2\t", &long] {
        done(&daemon, &["mute", sub], &format!("muted {sub:?} until unmuted"));
        assert_eq!(result_of(sub), "muted");
        assert_eq!(result_of("u2"), "sent");
    }
    // A name that looks alike or ends alike changes nothing.
    done(&daemon, &["mute", "U2", "--for", "600"], r#"muted "U2" for 600 s"#);
    done(&daemon, &["unmute", "U2"], r#"unmuted "U2""#);
    assert_eq!([result_of("u2 "), result_of("u2\t"), result_of("U2")], ["muted", "muted", "sent"]);
    let (_, mutes) = operator(&daemon, &["mutes"]);
    assert!(mutes.lines().any(|line| line.starts_with(r#"sub "u2 " since "#)), "{mutes}");
}

#[test]
fn moderation_survives_a_crash() {
    let mut daemon = Daemon::start(UNLIMITED);
    done(&daemon, &["mute", "bob"], r#"muted "bob" until unmuted"#);
    done(&daemon, &["lock"], "locked the room: only moderators can send messages");
    let file = daemon.control().with_file_name("control.sock.moderation.json");
    until("what is decided to be kept", || {
        let kept: Value = serde_json::from_slice(&std::fs::read(&file).ok()?).ok()?;
        (kept["locked"] == true).then_some(())
    });
    daemon.signal(Signal::KILL);
    daemon.wait();

    // Another daemon with the same control socket.
    let control = format!("--control={}", daemon.control().display());
    let next = Setup::new(UNLIMITED).without_control().arg(&control).start();
    let mut bob = next.connect();
    assert_eq!(result(&mut bob, &json!({ "usr": "bob", "msg": "hi" })), "locked");
    done(&daemon, &["unlock"], "unlocked the room");
    assert_eq!(result(&mut bob, &json!({ "usr": "bob", "msg": "hi" })), "muted");
}

#[test]
fn an_empty_message_gets_a_reply_and_is_no_refusal() {
    let daemon = Daemon::start("");
    let mut page = daemon.connect();
    page.send("");
    assert_eq!(page.json()["err"], "bad-json");
    // A shard counts at the end of its turn.
    let metrics = until("the count", || {
        let (_, metrics) = operator(&daemon, &["metrics"]);
        metrics.lines().any(|line| line == "wschat_probes_total 1").then_some(metrics)
    });
    let line = r#"wschat_refused_messages_total{code="bad-json"} 0"#;
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
}

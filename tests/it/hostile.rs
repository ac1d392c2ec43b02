//! Attacks by clients. During each of them, well-behaved listeners lose nothing and
//! notice nothing, new clients can join, and the daemon's memory is bounded.

use std::collections::VecDeque;
use std::{fs, thread};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use wschat::ws::frame::client_frame;

use crate::attack::{AS_THE_SERVER, Attack, Attacker, Running, descriptors, text};
use crate::harness::{Daemon, UNLIMITED, UPGRADE};

const SECRET: &str = "a secret of thirty-two bytes, yes";

/// Each attacker joins and sends the next of `inputs`, over and over, and joins again if it
/// loses its connection. Every other one reads.
fn send_in_turn(daemon: &Daemon, running: &Running, attackers: usize, inputs: &[Vec<u8>]) {
    send_from(Attacker::join, daemon, running, attackers, inputs);
}

/// As [`send_in_turn`], for connections that `connect` opens.
fn send_from(
    connect: impl Fn(&Daemon) -> Option<Attacker>,
    daemon: &Daemon,
    running: &Running,
    attackers: usize,
    inputs: &[Vec<u8>],
) {
    let mut attackers: Vec<_> = (0..attackers).filter_map(|_| connect(daemon)).collect();
    assert!(!attackers.is_empty());
    for round in 0.. {
        if !running.next_round() {
            return;
        }
        for (number, attacker) in attackers.iter_mut().enumerate() {
            let input = &inputs[(round + number) % inputs.len()];
            let is_connected = attacker.send(input) && (number % 2 == 0 || attacker.drain());
            if !is_connected && let Some(next) = connect(daemon) {
                *attacker = next;
            }
        }
    }
}

/// Opens as many connections as possible, whose requests never become complete.
fn attack_handshake(daemon: &Daemon, running: &Running, heads: &[impl AsRef<[u8]>], more: &[u8]) {
    let most = descriptors().min(2000);
    let mut attackers = VecDeque::new();
    for round in 0.. {
        if !running.next_round() {
            return;
        }
        for head in heads {
            let Some(mut attacker) = Attacker::connect(daemon) else { continue };
            if attacker.send(head.as_ref()) {
                attackers.push_back(attacker);
            }
        }
        while attackers.len() > most {
            attackers.pop_front();
        }
        // A little more now and then, so that the connections look alive.
        let some = attackers.iter_mut().skip(round % 50).step_by(50);
        for attacker in some {
            attacker.send(more);
        }
    }
}

#[test]
fn slow_handshakes() {
    let heads = ["", "G", "GET / HTTP/1.1\r\nHost: h\r\nX-Slow: ", UPGRADE.trim_end()];
    Attack::on("").check(|daemon, running| attack_handshake(daemon, running, &heads, b"x"));
}

#[test]
fn header_bombs() {
    let many: String = (0..1500).map(|n| format!("X-{n}: x\r\n")).collect();
    let same = "X-Forwarded-For: 192.0.2.7, 192.0.2.8\r\n".repeat(300);
    let huge = "x".repeat(15_000);
    let heads = [
        format!("GET / HTTP/1.1\r\nHost: h\r\n{many}\r\n"),
        format!("GET / HTTP/1.1\r\nHost: h\r\n{same}\r\n"),
        format!("GET / HTTP/1.1\r\nHost: h\r\nCookie: {huge}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: h\r\nCookie: {huge}{huge}{huge}{huge}"),
        format!("GET /{huge} HTTP/1.1\r\nHost: h\r\n\r\n"),
        format!("{huge}{huge}{huge}"),
        format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{huge}"),
        format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 999999999\r\n\r\n{huge}"),
        format!("{}Transfer-Encoding: chunked\r\n\r\nffff\r\n{huge}", UPGRADE.trim_end()),
        "GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n obsolete: folding\r\n\r\n".to_owned(),
    ];
    Attack::on("").check(|daemon, running| attack_handshake(daemon, running, &heads, b"xxxxxxxx"));
}

#[test]
fn many_connections_from_one_address() {
    let seed = fastrand::u64(..);
    let most = descriptors().min(4000);
    let most = fastrand::Rng::with_seed(seed).usize(most / 2..most);
    println!("seed {seed}: {most} connections");
    Attack::on("").check(|daemon, running| {
        while running.next_round() {
            let mut connections: Vec<Attacker> = Vec::new();
            while connections.len() < most && running.next_round() {
                connections.extend(Attacker::join_many(daemon, 10));
            }
            // All of them leave at once, and join again.
        }
    });
}

#[test]
fn many_connections_over_the_limit() {
    let limits = "limits.connections_per_address_max = 100\n\
        limits.connects_per_address_per_sec = 100\n";
    Attack::on(limits).check(|daemon, running| {
        let mut connections = Vec::new();
        while running.next_round() {
            connections.extend(Attacker::join_many(daemon, 5));
        }
        assert!((1..=100).contains(&connections.len()), "{} are in", connections.len());
    });
}

#[test]
fn half_frames() {
    let body = vec![b'x'; 8_000];
    let begun = client_frame(0x81, &[b'x'; 16_000]);
    let inputs = [
        // A frame that is never complete, and one more byte of it.
        begun[..8_000].to_vec(),
        b"x".to_vec(),
        // A message that is never complete, of empty fragments.
        client_frame(0x01, b""),
        client_frame(0x00, b"").repeat(50),
        client_frame(0x00, &body),
        // The header of a frame, and half of one.
        begun[..6].to_vec(),
        begun[..1].to_vec(),
        // A frame of the greatest length.
        [&[0x81, 0xff], &u64::MAX.to_be_bytes()[..]].concat(),
    ];
    Attack::on("").check(|daemon, running| send_in_turn(daemon, running, 200, &inputs));
}

#[test]
fn ping_floods() {
    let pings = [client_frame(0x89, &[b'x'; 125]).repeat(5), client_frame(0x89, b"").repeat(20)];
    let pongs = [client_frame(0x8a, &[b'x'; 125]).repeat(5)];
    Attack::on("")
        .check(|daemon, running| send_in_turn(daemon, running, 20, &[&pings[..], &pongs].concat()));
}

#[test]
fn close_floods() {
    let inputs = [
        client_frame(0x88, b""),
        client_frame(0x88, b"\x03\xe8bye").repeat(20),
        client_frame(0x88, b"\x03"),
        client_frame(0x88, b"\x03\xed"),
        client_frame(0x88, b"\x03\xe8\xff\xff"),
        client_frame(0x08, b"\x03\xe8"),
    ];
    Attack::on("").check(|daemon, running| send_in_turn(daemon, running, 5, &inputs));
}

#[test]
fn floods_of_refused_messages() {
    let long = "x".repeat(16_000);
    let inputs = [
        text("{").repeat(10),
        text("[]").repeat(10),
        text(r#"{"usr":"mallory"}"#).repeat(10),
        text(&json!({ "usr": "wschat", "msg": AS_THE_SERVER }).to_string()).repeat(10),
        text(r#"{"usr":"mallory","usr":"m","msg":"twice"}"#).repeat(10),
        client_frame(0x82, b"binary").repeat(10),
        text(&long),
        text(&format!(r#"{{"usr":"{long}"}}"#)),
    ];
    Attack::on("").check(|daemon, running| send_in_turn(daemon, running, 20, &inputs));
}

/// A POST with this body, so often on one connection.
fn posts(fields: &str, body: &str, count: usize) -> Vec<u8> {
    let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n";
    let length = body.len();
    format!("{head}{fields}Content-Length: {length}\r\n\r\n{body}").repeat(count).into_bytes()
}

#[test]
fn floods_of_posts() {
    let long = format!(r#"{{"usr":"mallory","msg":"{}"}}"#, "x".repeat(16_000));
    let inputs = [
        posts("", r#"{"usr":"mallory","msg":"flood"}"#, 20),
        posts("", &long, 2),
        posts("", "{", 20),
        posts("", &json!({ "usr": "wschat", "msg": AS_THE_SERVER }).to_string(), 20),
        posts("Content-Length: 1\r\n", "{}", 1),
        posts("Expect: 100-continue\r\n", &long, 1),
        posts("", &long, 1)[..9_000].to_vec(),
        posts("", "", 1).repeat(50),
    ];
    for limits in ["", UNLIMITED] {
        Attack::on(limits).check(|daemon, running| {
            send_from(Attacker::connect, daemon, running, 100, &inputs);
        });
    }
}

/// More of them than there are places for unfinished requests.
#[test]
fn posts_that_are_never_complete() {
    let heads = [
        posts("", "{}", 1)[..60].to_vec(),
        [&posts("", "{}", 1), &posts("", "{}", 1)[..80]].concat(),
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\
            Transfer-Encoding: chunked\r\n\r\nfff\r\n"
            .to_vec(),
    ];
    Attack::on("").check(|daemon, running| attack_handshake(daemon, running, &heads, b" "));
}

#[test]
fn posts_with_expensive_tokens() {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let mint = |claims| jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key);
    let good = mint(json!({ "sub": "healthy" })).unwrap();
    let other = mint(json!({ "sub": "mallory", "x": "x".repeat(9_000) })).unwrap();
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let body = r#"{"usr":"mallory","msg":"flood"}"#;
    let inputs = [
        posts(&bearer(&other), body, 5),
        posts(&bearer(&(other + "x")), body, 5),
        posts("", body, 20),
    ];
    let attack = Attack::on(&format!("{UNLIMITED}auth.jwt_secret = '{SECRET}'")).token(good);
    attack.check(|daemon, running| send_from(Attacker::connect, daemon, running, 50, &inputs));
}

#[test]
fn deeply_nested_json() {
    let nested = |open: &str, close: &str| {
        let depth = 15_000 / (open.len() + close.len());
        let (open, close) = (open.repeat(depth), close.repeat(depth));
        text(&format!(r#"{{"usr":"mallory","msg":"deep","x":{open}0{close}}}"#))
    };
    let wide: String = (0..1_300).map(|n| format!(",\"{n}\":{n}")).collect();
    let inputs = [
        nested("[", "]"),
        nested("{\"a\":", "}"),
        nested("[{\"a\":", "}]"),
        text(&"[".repeat(16_000)),
        text(&"{\"a\":".repeat(3_200)),
        text(&format!(r#"{{"usr":"wschat","msg":"wide"{wide}}}"#)),
        text(&format!(r#"{{"usr":"wschat","msg":"{}"}}"#, "\\u0041".repeat(2_600))),
    ];
    Attack::on("").check(|daemon, running| send_in_turn(daemon, running, 10, &inputs));
}

#[test]
fn huge_tokens() {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let mint = |claims| jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key);
    let good = mint(json!({ "sub": "healthy" })).unwrap();
    let huge = mint(json!({ "sub": "mallory", "x": "x".repeat(11_900) })).unwrap();
    let (signed, signature) = huge.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut inputs: Vec<_> = (0..8)
        .map(|bit| {
            // Never the same token twice in a row, so that none is remembered.
            signature[bit] ^= 1;
            let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&signature));
            text(&json!({ "usr": "mallory", "msg": "", "jwt": token }).to_string())
        })
        .collect();
    inputs.push(text(&json!({ "usr": "m", "msg": "", "jwt": "e30.".repeat(4_000) }).to_string()));
    let attack = Attack::on(&format!("auth.jwt_secret = '{SECRET}'")).token(good);
    attack.check(|daemon, running| send_in_turn(daemon, running, 4, &inputs));
}

/// Short tokens that take long to verify.
#[test]
fn expensive_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.pem");
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    fs::write(&file, pair.public_key_pem()).unwrap();
    let own = format!("auth.jwt_secret = '{SECRET}'\n");
    let keys = format!("auth.keys = [{{ alg = 'ES384', file = '{}' }}]", file.display());
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let good = jsonwebtoken::encode(&Header::default(), &json!({}), &key).unwrap();
    let signed = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES384"}"#) + ".e30.";
    let inputs: Vec<_> = (0..8)
        .map(|seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            let tokens = (0..10).map(|_| {
                let signature: Vec<u8> = (0..96).map(|_| random.u8(..)).collect();
                let token = signed.clone() + &URL_SAFE_NO_PAD.encode(signature);
                text(&json!({ "usr": "mallory", "msg": "", "jwt": token }).to_string())
            });
            tokens.collect::<Vec<_>>().concat()
        })
        .collect();
    let attack = Attack::on(&(own + &keys)).token(good);
    attack.check(|daemon, running| {
        thread::scope(|scope| {
            // As many as fit behind a request, from ever more connections.
            let early = [UPGRADE.as_bytes(), &inputs.concat()[..12_000]].concat();
            scope.spawn(move || attack_handshake(daemon, running, &[early], b""));
            send_in_turn(daemon, running, 20, &inputs);
        });
    });
}

/// The room sends such names. The tests of the page and of the terminal check that
/// both show them safely. JSON allows no raw control character.
#[test]
fn names_with_controls_and_overrides() {
    let say = |usr: &str| {
        text(&json!({ "usr": usr, "msg": "\u{1b}]0;pwned\u{7}\u{202e}txet\u{2066}" }).to_string())
    };
    let inputs = [
        say("\u{1b}[2J\u{1b}[31mroot"),
        say("\u{202e}nna\u{2066}"),
        say("ann\u{0}\r\n\u{8}\u{7f}\u{9b}31m"),
        say(&"\u{301}".repeat(500)),
        text("{\"usr\":\"\u{1b}[2J\",\"msg\":\"raw\"}"),
        text("{\"usr\":\"ann\",\"msg\":\"\r\n\"}"),
    ];
    Attack::on(UNLIMITED).check(|daemon, running| send_in_turn(daemon, running, 2, &inputs));
}

#[test]
fn names_that_look_like_the_servers() {
    let names = [
        "wschat",
        " WSchat\u{a0}",
        "w\u{455}chat",
        "wsch\u{430}t",
        "\u{ff57}\u{ff53}\u{ff43}\u{ff48}\u{ff41}\u{ff54}",
        "ws\u{200b}chat",
        "w\u{ad}schat\u{202e}",
        "wschat\u{0}",
        "\u{1d4cc}\u{1d4c8}\u{1d4b8}\u{1d4bd}\u{1d4b6}\u{1d4c9}",
        &format!("{}wschat", "\u{200b}".repeat(1_000)),
        "w\u{200a}sch\u{2009}at",
        "ws\u{fff9}ch\u{1d159}a\u{fffc}t",
        "ᴡꜱᴄʜᴀᴛ",
        "ⓦⓢⓒⓗⓐⓣ",
        "ʷˢᶜʰᵃᵗ",
        "🅦🆂🇨ⒽᗅТ",
    ];
    let say = |usr: &&str| json!({ "usr": usr, "msg": AS_THE_SERVER }).to_string();
    let attack = Attack::on(UNLIMITED);
    for name in &names {
        let mut client = attack.newcomer();
        client.send(&say(name));
        assert_eq!(client.json()["err"], "name-reserved", "{name:?}");
    }
    let inputs = names.each_ref().map(|name| text(&say(name)));
    attack.check(|daemon, running| send_in_turn(daemon, running, 10, &inputs));
}

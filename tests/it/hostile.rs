//! Clients that mean harm. Each attack goes on beside healthy listeners, who
//! lose nothing and notice nothing, while newcomers get in and the daemon's
//! memory is bounded.

use std::collections::VecDeque;
use std::{fs, thread};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use crate::harness::{Daemon, UNLIMITED, UPGRADE};
use crate::siege::{AS_THE_SERVER, Foe, Going, Siege, descriptors, frame, text};

const SECRET: &str = "a secret of thirty-two bytes, yes";

/// Each of `foes` sends the next of `strokes`, over and over, and comes back if
/// it is cut off. Every other one reads what is said.
fn storm(daemon: &Daemon, going: &Going, foes: usize, strokes: &[Vec<u8>]) {
    let mut foes = Foe::crowd(daemon, foes);
    assert!(!foes.is_empty());
    for round in 0.. {
        if !going.on() {
            return;
        }
        for (number, foe) in foes.iter_mut().enumerate() {
            let stroke = &strokes[(round + number) % strokes.len()];
            let there = foe.send(stroke) && (number % 2 == 0 || foe.drain());
            if !there && let Some(other) = Foe::enter(daemon) {
                *foe = other;
            }
        }
    }
}

/// As many as possible ask for something that is never complete.
fn besiege_door(daemon: &Daemon, going: &Going, heads: &[impl AsRef<[u8]>], goes_on: &[u8]) {
    let most = descriptors().min(2000);
    let mut guests = VecDeque::new();
    for round in 0.. {
        if !going.on() {
            return;
        }
        for head in heads {
            let Some(mut foe) = Foe::connect(daemon) else { continue };
            if foe.send(head.as_ref()) {
                guests.push_back(foe);
            }
        }
        while guests.len() > most {
            guests.pop_front();
        }
        // Now and then a little more, so that it looks alive.
        let some = guests.iter_mut().skip(round % 50).step_by(50);
        for foe in some {
            foe.send(goes_on);
        }
    }
}

#[test]
fn slow_handshakes() {
    let heads = ["", "G", "GET / HTTP/1.1\r\nHost: h\r\nX-Slow: ", UPGRADE.trim_end()];
    Siege::of("").endures(|daemon, going| besiege_door(daemon, going, &heads, b"x"));
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
    Siege::of("").endures(|daemon, going| besiege_door(daemon, going, &heads, b"xxxxxxxx"));
}

#[test]
fn a_crowd_from_one_address() {
    let seed = fastrand::u64(..);
    let most = descriptors().min(4000);
    let most = fastrand::Rng::with_seed(seed).usize(most / 2..most);
    println!("seed {seed}: {most} connections");
    Siege::of("").endures(|daemon, going| {
        while going.on() {
            let mut crowd: Vec<Foe> = Vec::new();
            while crowd.len() < most && going.on() {
                crowd.extend(Foe::crowd(daemon, 10));
            }
            // All of them leave at once, and come back.
        }
    });
}

#[test]
fn a_crowd_that_may_not_come_in() {
    let limits = "limits.connections_per_address_max = 100\n\
        limits.connects_per_address_per_sec = 100\n";
    Siege::of(limits).endures(|daemon, going| {
        let mut crowd = Vec::new();
        while going.on() {
            crowd.extend(Foe::crowd(daemon, 5));
        }
        assert!((1..=100).contains(&crowd.len()), "{} are in", crowd.len());
    });
}

#[test]
fn half_frames() {
    let body = vec![b'x'; 8_000];
    let begun = frame(0x81, &[b'x'; 16_000]);
    let strokes = [
        // A frame that is never complete, and one more byte of it.
        begun[..8_000].to_vec(),
        b"x".to_vec(),
        // A message that is never complete, of pieces of nothing.
        frame(0x01, b""),
        frame(0x00, b"").repeat(50),
        frame(0x00, &body),
        // The head of a frame, and half of one.
        begun[..6].to_vec(),
        begun[..1].to_vec(),
        // Longer than anything may be.
        [&[0x81, 0xff], &u64::MAX.to_be_bytes()[..]].concat(),
    ];
    Siege::of("").endures(|daemon, going| storm(daemon, going, 200, &strokes));
}

#[test]
fn ping_floods() {
    let pings = [frame(0x89, &[b'x'; 125]).repeat(5), frame(0x89, b"").repeat(20)];
    let pongs = [frame(0x8a, &[b'x'; 125]).repeat(5)];
    Siege::of("").endures(|daemon, going| storm(daemon, going, 20, &[&pings[..], &pongs].concat()));
}

#[test]
fn close_floods() {
    let strokes = [
        frame(0x88, b""),
        frame(0x88, b"\x03\xe8bye").repeat(20),
        frame(0x88, b"\x03"),
        frame(0x88, b"\x03\xed"),
        frame(0x88, b"\x03\xe8\xff\xff"),
        frame(0x08, b"\x03\xe8"),
    ];
    Siege::of("").endures(|daemon, going| storm(daemon, going, 5, &strokes));
}

#[test]
fn floods_of_refused_messages() {
    let long = "x".repeat(16_000);
    let strokes = [
        text("{").repeat(10),
        text("[]").repeat(10),
        text(r#"{"usr":"mallory"}"#).repeat(10),
        text(&json!({ "usr": "wschat", "msg": AS_THE_SERVER }).to_string()).repeat(10),
        text(r#"{"usr":"mallory","usr":"m","msg":"twice"}"#).repeat(10),
        frame(0x82, b"binary").repeat(10),
        text(&long),
        text(&format!(r#"{{"usr":"{long}"}}"#)),
    ];
    Siege::of("").endures(|daemon, going| storm(daemon, going, 20, &strokes));
}

#[test]
fn deeply_nested_json() {
    let nested = |open: &str, close: &str| {
        let depth = 15_000 / (open.len() + close.len());
        let (open, close) = (open.repeat(depth), close.repeat(depth));
        text(&format!(r#"{{"usr":"mallory","msg":"deep","x":{open}0{close}}}"#))
    };
    let wide: String = (0..1_300).map(|n| format!(",\"{n}\":{n}")).collect();
    let strokes = [
        nested("[", "]"),
        nested("{\"a\":", "}"),
        nested("[{\"a\":", "}]"),
        text(&"[".repeat(16_000)),
        text(&"{\"a\":".repeat(3_200)),
        text(&format!(r#"{{"usr":"wschat","msg":"wide"{wide}}}"#)),
        text(&format!(r#"{{"usr":"wschat","msg":"{}"}}"#, "\\u0041".repeat(2_600))),
    ];
    Siege::of("").endures(|daemon, going| storm(daemon, going, 10, &strokes));
}

#[test]
fn huge_tokens() {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let mint = |claims| jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key);
    let good = mint(json!({ "sub": "healthy" })).unwrap();
    let huge = mint(json!({ "sub": "mallory", "x": "x".repeat(11_900) })).unwrap();
    let (signed, signature) = huge.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut strokes: Vec<_> = (0..8)
        .map(|bit| {
            // Never the same token twice in a row: nothing is remembered of it.
            signature[bit] ^= 1;
            let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&signature));
            text(&json!({ "usr": "mallory", "msg": "", "jwt": token }).to_string())
        })
        .collect();
    strokes.push(text(&json!({ "usr": "m", "msg": "", "jwt": "e30.".repeat(4_000) }).to_string()));
    let siege = Siege::of(&format!("auth.jwt_secret = '{SECRET}'")).token(good);
    siege.endures(|daemon, going| storm(daemon, going, 4, &strokes));
}

/// Short, but each of them takes as long to verify as many a long text to read.
#[test]
fn dear_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.pem");
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    fs::write(&file, pair.public_key_pem()).unwrap();
    let own = format!("auth.jwt_secret = '{SECRET}'\n");
    let keys = format!("auth.keys = [{{ alg = 'ES384', file = '{}' }}]", file.display());
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let good = jsonwebtoken::encode(&Header::default(), &json!({}), &key).unwrap();
    let signed = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES384"}"#) + ".e30.";
    let strokes: Vec<_> = (0..8)
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
    let siege = Siege::of(&(own + &keys)).token(good);
    siege.endures(|daemon, going| {
        thread::scope(|scope| {
            // As many as come with the request itself, from ever more connections.
            let early = [UPGRADE.as_bytes(), &strokes.concat()[..12_000]].concat();
            scope.spawn(move || besiege_door(daemon, going, &[early], b""));
            storm(daemon, going, 20, &strokes);
        });
    });
}

/// They are said, for names are free; that page and terminal show them
/// harmlessly is tested there. No raw control character gets through JSON.
#[test]
fn names_with_controls_and_overrides() {
    let say = |usr: &str| {
        text(&json!({ "usr": usr, "msg": "\u{1b}]0;pwned\u{7}\u{202e}txet\u{2066}" }).to_string())
    };
    let strokes = [
        say("\u{1b}[2J\u{1b}[31mroot"),
        say("\u{202e}nna\u{2066}"),
        say("ann\u{0}\r\n\u{8}\u{7f}\u{9b}31m"),
        say(&"\u{301}".repeat(500)),
        text("{\"usr\":\"\u{1b}[2J\",\"msg\":\"raw\"}"),
        text("{\"usr\":\"ann\",\"msg\":\"\r\n\"}"),
    ];
    Siege::of(UNLIMITED).endures(|daemon, going| storm(daemon, going, 2, &strokes));
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
    let siege = Siege::of(UNLIMITED);
    for name in &names {
        let mut client = siege.newcomer();
        client.send(&say(name));
        assert_eq!(client.json()["err"], "name-reserved", "{name:?}");
    }
    let strokes = names.each_ref().map(|name| text(&say(name)));
    siege.endures(|daemon, going| storm(daemon, going, 10, &strokes));
}

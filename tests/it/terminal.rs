//! `wschat join` on a real terminal; the tests compare screens.

use std::process::Command;

use crate::harness::{Daemon, NO_PRESENCE};
use crate::room::Room;
use crate::tmux::Tmux;

#[test]
fn messages_are_above_the_input() {
    let room = Room::start();
    let tmux = join(&room, &[]);
    tmux.wait_for_rows(&[&open(&room), ">"]);
    room.say(r#"{"usr":"eva","msg":"hello","tim":"2020-08-11T22:26:58.118678679Z"}"#);
    tmux.wait_for_rows(&["22:26:58 eva: hello", &open(&room), ">"]);

    tmux.text("hi žluťoučký 漢字");
    tmux.wait_for_rows(&["22:26:58 eva: hello", &open(&room), "> hi žluťoučký 漢字"]);
    assert_eq!(tmux.cursor(), (19, 2));
    tmux.keys(&["Enter"]);
    tmux.wait_for_rows(&[
        "22:26:58 eva: hello",
        "--:--:-- petr: hi žluťoučký 漢字",
        &open(&room),
        ">",
    ]);
}

#[test]
fn messages_cannot_control_the_terminal() {
    let room = Room::start();
    let tmux = join(&room, &[]);
    tmux.wait_for_rows(&[&open(&room), ">"]);
    room.say(r#"{"usr":"\u001b[2Jeva\u202e","msg":"\u001b]0;title\u0007 \u009b2J a\tb\r\nnext"}"#);
    tmux.wait_for_rows(&[
        "--:--:-- ␛[2Jeva�: ␛]0;title␇ �2J a    b",
        "         next",
        &open(&room),
        ">",
    ]);
}

#[test]
fn lines_wrap_between_words_and_long_words_with_the_margin() {
    let room = Room::start();
    let tmux = join_sized(&room, &[], 40, 12);
    tmux.wait_for_rows(&[&open(&room), ">"]);
    room.say(r#"{"usr":"eva","msg":"the quick brown fox jumps over the lazy dog"}"#);
    tmux.wait_for_rows(&[
        "--:--:-- eva: the quick brown fox jumps",
        "         over the lazy dog",
        &open(&room),
        ">",
    ]);
    room.say(r#"{"usr":"eva","msg":"https://example.org/a/rather/long/address"}"#);
    tmux.wait_for_rows(&[
        "--:--:-- eva: the quick brown fox jumps",
        "         over the lazy dog",
        "--:--:-- eva: https://example.org/a/rath",
        "         er/long/address",
        &open(&room),
        ">",
    ]);
}

#[test]
fn no_message_begins_a_row() {
    let room = Room::start();
    let tmux = join_sized(&room, &[], 40, 24);
    tmux.wait_for_rows(&[&open(&room), ">"]);
    // Each has a forged line where a terminal would break its row: behind a long word, many
    // blanks, a row of exact width, wide characters, sequences of emoji, marks.
    let forged = "12:00:00 ann: forged";
    for filler in [
        "x".repeat(26),
        " ".repeat(40),
        format!("{} ", "x".repeat(25)),
        "漢".repeat(13),
        "👩‍👩‍👧‍👦".repeat(4),
        "👩‍".repeat(13),
        "\u{1100}".repeat(13),
        "e\u{301}\u{302}".repeat(26),
        "\u{2601}\u{fe0f}".repeat(13),
        "🇩🇪".repeat(13),
    ] {
        let msg = format!("{filler}{forged}");
        room.say(&serde_json::json!({ "usr": "eva", "msg": msg }).to_string());
    }
    room.say(
        &serde_json::json!({ "usr": format!("{}{forged}", "x".repeat(31)), "msg": "y" })
            .to_string(),
    );
    room.say(r#"{"usr":"eva","msg":"the end"}"#);
    let screen = tmux.wait_for("all", |screen| screen.iter().any(|row| row.ends_with("the end")));
    for row in &screen[..screen.len() - 2] {
        let begins = row.is_empty() || row.starts_with("--:--:-- ") || row.starts_with("   ");
        assert!(begins, "{row:?} {screen:?}");
    }
}

#[test]
fn a_row_of_exact_width_is_followed_by_no_empty_row() {
    let room = Room::start();
    let tmux = join_sized(&room, &[], 40, 12);
    tmux.wait_for_rows(&[&open(&room), ">"]);
    for msg in ["x".repeat(26), format!("{} y", "x".repeat(26)), "漢".repeat(13)] {
        room.say(&serde_json::json!({ "usr": "eva", "msg": msg }).to_string());
    }
    tmux.wait_for_rows(&[
        &format!("--:--:-- eva: {}", "x".repeat(26)),
        &format!("--:--:-- eva: {}", "x".repeat(26)),
        "         y",
        &format!("--:--:-- eva: {}", "漢".repeat(13)),
        &open(&room),
        ">",
    ]);
}

#[test]
fn the_pane_survives_every_size() {
    let room = Room::start();
    let tmux = join(&room, &[]);
    tmux.wait_for_rows(&[&open(&room), ">"]);
    for number in 0..30 {
        room.say(&format!(r#"{{"usr":"eva","msg":"message {number}"}}"#));
    }
    tmux.wait_for("thirty messages", |screen| screen.join(" ").contains("message 29"));
    // So long that its first row shows for which width it was drawn.
    tmux.text(&"x".repeat(100));
    let first_row = |columns: u16| format!("> {}", "x".repeat(usize::from(columns) - 2));
    tmux.wait_for("the text", |screen| screen.concat().matches('x').count() == 100);
    let status = |columns: u16| -> String {
        let status: String = open(&room).chars().take(usize::from(columns)).collect();
        status.trim_end().to_owned()
    };
    for (columns, rows) in [(30, 12), (80, 24), (40, 8), (60, 12)] {
        tmux.resize(columns, rows);
        // The terminal itself might show the same, so a new message must be drawn.
        room.say(&format!(r#"{{"usr":"eva","msg":"{columns} columns"}}"#));
        tmux.wait_for(&format!("the pane at {columns} × {rows}"), |screen| {
            let at = screen.iter().position(|row| row.starts_with('●')).unwrap_or(0);
            // Once, directly below the last message, without remains elsewhere.
            screen.iter().filter(|row| row.contains('●')).count() == 1
                && screen[at] == status(columns)
                && screen[at + 1] == first_row(columns)
                && at > 0
                && screen[at - 1] == format!("--:--:-- eva: {columns} columns")
                && screen.iter().any(|row| row == "--:--:-- eva: message 29")
        });
    }
    // If the window is too small, it reappears when there is space.
    for (columns, rows) in [(10, 5), (50, 3), (1, 1), (70, 12)] {
        tmux.resize(columns, rows);
    }
    tmux.wait_for("the pane", |screen| screen.contains(&first_row(70)));
    tmux.keys(&["Enter"]);
    let said = "--:--:-- petr: xxxxxxxx";
    tmux.wait_for("the message", |screen| screen.iter().any(|row| row.starts_with(said)));
}

#[test]
fn a_paste_of_several_lines_is_one_message_after_enter() {
    let room = Room::start();
    let tmux = join(&room, &[]);
    tmux.wait_for_rows(&[&open(&room), ">"]);
    tmux.paste("fn main() {\n    body\n}\n");
    tmux.wait_for_rows(&[&open(&room), "> fn main() {", "      body", "  }"]);
    assert!(room.messages().is_empty());
    tmux.keys(&["Enter"]);
    tmux.wait_for_rows(&[
        "--:--:-- petr: fn main() {",
        "             body",
        "         }",
        &open(&room),
        ">",
    ]);
    assert_eq!(room.messages()[0]["msg"], "fn main() {\n    body\n}");
}

#[test]
fn history_and_wide_characters_in_the_input() {
    let room = Room::start();
    let tmux = join(&room, &[]);
    tmux.wait_for_rows(&[&open(&room), ">"]);
    tmux.text("漢字");
    tmux.keys(&["Enter"]);
    tmux.wait_for("the message", |screen| screen.len() == 3);
    tmux.keys(&["Up", "BSpace"]);
    tmux.text("!");
    tmux.keys(&["Left", "Left"]);
    tmux.wait_for_rows(&["--:--:-- petr: 漢字", &open(&room), "> 漢!"]);
    tmux.wait_for("the cursor", |_| tmux.cursor() == (2, 2));
}

#[test]
fn a_notice_is_highlighted_and_the_text_is_back_in_the_input() {
    let room = Room::start();
    let tmux = join(&room, &[]);
    tmux.wait_for_rows(&[&open(&room), ">"]);
    tmux.text("refuse");
    tmux.keys(&["Enter"]);
    tmux.wait_for_rows(&["--:--:-- ! not sent: refused", "! not sent: refused", "> refuse"]);
    let coloured = tmux.coloured();
    assert!(coloured[0].contains("\x1b[1m\x1b[33m!"), "{coloured:?}");
    tmux.keys(&["C-u"]);
    tmux.text("better");
    tmux.keys(&["Enter"]);
    tmux.wait_for_rows(&[
        "--:--:-- ! not sent: refused",
        "--:--:-- petr: better",
        &open(&room),
        ">",
    ]);
}

#[test]
fn messages_and_retractions_of_the_server() {
    let room = Room::start();
    let tmux = join(&room, &[]);
    tmux.wait_for_rows(&[&open(&room), ">"]);
    let tim = "2020-08-11T22:26:58.118678679Z";
    room.say(&format!(r#"{{"usr":"eva","msg":"spam","tim":"{tim}"}}"#));
    room.say(r#"{"usr":"wschat","msg":"back soon"}"#);
    room.say(&format!(r#"{{"usr":"wschat","msg":"x","retract":"{tim}"}}"#));
    tmux.wait_for_rows(&[
        "22:26:58 eva: spam",
        "--:--:-- * back soon",
        "--:--:-- * a message by eva of 22:26:58 was retracted",
        &open(&room),
        ">",
    ]);
}

#[test]
fn a_lost_connection_is_shown_and_restored() {
    let room = Room::start();
    let tmux = join(&room, &[]);
    tmux.wait_for_rows(&[&open(&room), ">"]);
    room.refuse_clients(true);
    room.close_all();
    let why = "-- the server closed the connection: it is going away (1001)";
    let lost = format!("✕ {} · ", room.address);
    tmux.wait_for("the loss", |screen| screen[0] == why && screen[1].starts_with(&lost));
    tmux.text("hello?");
    tmux.keys(&["Enter"]);
    tmux.wait_for("the text kept", |screen| {
        screen[1..] == ["not connected: nothing was sent", "> hello?"]
    });
    room.refuse_clients(false);
    let again = "-- connected again";
    tmux.wait_for("the connection", |screen| screen.get(1).is_some_and(|row| row == again));
    tmux.keys(&["Enter"]);
    tmux.wait_for_rows(&[why, again, "--:--:-- petr: hello?", &open(&room), ">"]);
}

#[test]
fn commands() {
    let room = Room::start();
    let tmux = join(&room, &[]);
    tmux.wait_for_rows(&[&open(&room), ">"]);
    tmux.text("/name eva\n/nonsense\n");
    let renamed = format!("● {} · eva", room.address);
    tmux.wait_for_rows(&["no command /nonsense; to send it, type //nonsense", "> /nonsense"]);
    tmux.keys(&["C-u"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "a.b.c\n").unwrap();
    tmux.text(&format!("/token {}\n//said\n", file.display()));
    tmux.wait_for_rows(&["--:--:-- eva: /said", &renamed, ">"]);
    assert_eq!(room.messages()[0]["jwt"], "a.b.c");
    tmux.text("/help\n");
    tmux.wait_for("the help", |screen| screen[1].starts_with("-- /name NAME"));
    tmux.text("/quit\n");
    assert_eq!(tmux.wait_for_end(), 0);
    room.wait_for_clients(0);
}

#[test]
fn leaving_waits_for_unconfirmed_messages() {
    let room = Room::start();
    let tmux = join(&room, &[]);
    tmux.wait_for_rows(&[&open(&room), ">"]);
    tmux.text("one\ntwo\nthree\n/quit\n");
    assert_eq!(tmux.wait_for_end(), 0);
    assert_eq!(room.messages().len(), 3);
    let rows = ["--:--:-- petr: one", "--:--:-- petr: two", "--:--:-- petr: three", "ended: 0"];
    assert_eq!(tmux.screen(), rows);
}

#[test]
fn colours_can_be_disabled() {
    let check = |args: &[&str], environment: &[(&str, &str)], coloured: bool| {
        let room = Room::start();
        let tmux = join_with(&room, args, environment, 60, 12);
        tmux.wait_for_rows(&[&open(&room), ">"]);
        room.say(r#"{"usr":"eva","msg":"hello"}"#);
        tmux.wait_for_rows(&["--:--:-- eva: hello", &open(&room), ">"]);
        assert_eq!(tmux.coloured().concat().contains('\x1b'), coloured, "{args:?}");
    };
    check(&[], &[], true);
    check(&["--no-color"], &[], false);
    check(&[], &[("NO_COLOR", "1")], false);
    check(&[], &[("NO_COLOR", "")], true);
}

#[test]
fn the_terminal_is_restored() {
    let room = Room::start();
    let script = format!(
        "{} join {} --usr petr; stty -a | grep -ow -e '-*icanon' -e '-*echo'; sleep 1000",
        env!("CARGO_BIN_EXE_wschat"),
        room.url(),
    );
    let tmux = Tmux::start(60, 12, &[], &["sh", "-c", &script]);
    tmux.wait_for_rows(&[&open(&room), ">"]);
    tmux.keys(&["C-d"]);
    tmux.wait_for_rows(&["icanon", "echo"]);
}

#[test]
fn it_can_be_suspended() {
    let room = Room::start();
    let tmux = Tmux::start(60, 12, &[("PS1", "$ ")], &["bash", "--norc", "-i"]);
    tmux.wait_for_rows(&["$"]);
    tmux.text(&format!("{} join {} --usr petr\n", env!("CARGO_BIN_EXE_wschat"), room.url()));
    tmux.wait_for("the room", |screen| screen.contains(&open(&room)));
    tmux.text("typed");
    tmux.keys(&["C-z"]);
    tmux.wait_for("the shell", |screen| screen.last().is_some_and(|row| row == "$"));
    assert!(!tmux.screen().contains(&open(&room)));
    tmux.text("clear; fg\n");
    tmux.wait_for("the room again", |screen| {
        screen.ends_with(&[open(&room), "> typed".to_owned()])
    });
    room.say(r#"{"usr":"eva","msg":"hello"}"#);
    tmux.wait_for("the message", |screen| {
        screen.ends_with(&["--:--:-- eva: hello".into(), open(&room), "> typed".into()])
    });
}

#[test]
fn a_pipe_behind_a_terminal_only_listens() {
    let room = Room::start();
    let script = format!("{} join {} --json | cat", env!("CARGO_BIN_EXE_wschat"), room.url());
    let tmux = Tmux::start(60, 12, &[], &["sh", "-c", &script]);
    room.wait_for_clients(1);
    room.say(r#"{"usr":"eva","msg":"hello"}"#);
    tmux.wait_for_rows(&[r#"{"usr":"eva","msg":"hello"}"#]);
    tmux.keys(&["C-c"]);
    room.wait_for_clients(0);
}

#[test]
fn moderators_send_commands_to_a_real_room() {
    let secret = "a secret that is long enough for it";
    let daemon = Daemon::start(&format!(
        "{NO_PRESENCE}[auth]\njwt_secret = \"{secret}\"\nmoderator_claim = \"moderator\"\n"
    ));
    let token = Command::new(env!("CARGO_BIN_EXE_wschat"))
        .args(["token", "--sub", "ann", "--claim", "moderator=true", "--config"])
        .arg(daemon.config_file())
        .output()
        .unwrap();
    let token = String::from_utf8(token.stdout).unwrap();
    let url = format!("ws://{}/", daemon.addr);
    let program = [env!("CARGO_BIN_EXE_wschat"), "join", &url, "--usr", "ann"];
    let environment = [("TZ", "UTC"), ("WSCHAT_TOKEN", token.trim())];
    let tmux = Tmux::start(60, 12, &environment, &program);
    let status = format!("● {} · ann", daemon.addr);
    tmux.wait_for_rows(&[&status, ">"]);
    tmux.text("/mute Bob 600\n");
    tmux.wait_for("the mute", |screen| screen[0].contains(" -- done: "));
    tmux.text("oops\n");
    let screen = tmux.wait_for("the message", |screen| screen[1].ends_with(" ann: oops"));
    let time = &screen[1][..8];
    tmux.text(&format!("/retract {time}\n"));
    let retracted = format!(" * a message by ann of {time} was retracted");
    tmux.wait_for("the retraction", |screen| screen.iter().any(|row| row.ends_with(&retracted)));
}

fn join(room: &Room, args: &[&str]) -> Tmux {
    join_sized(room, args, 60, 12)
}

fn join_sized(room: &Room, args: &[&str], columns: u16, rows: u16) -> Tmux {
    join_with(room, args, &[], columns, rows)
}

fn join_with(
    room: &Room,
    args: &[&str],
    environment: &[(&str, &str)],
    columns: u16,
    rows: u16,
) -> Tmux {
    let url = room.url();
    let program = [&[env!("CARGO_BIN_EXE_wschat"), "join", &url, "--usr", "petr"], args].concat();
    let environment = [&[("TZ", "UTC"), ("WSCHAT_TOKEN", "")], environment].concat();
    Tmux::start(columns, rows, &environment, &program)
}

fn open(room: &Room) -> String {
    format!("● {} · petr", room.address)
}

use super::*;
use crate::client::connection::ConnectionError;
use crate::client::render::Colours;
use crate::zone::Zone;

/// A connected [`App`], and the time.
struct Fixture(App, Instant);

impl Fixture {
    fn new() -> Self {
        let (url, usr) = ("ws://room.example".parse().unwrap(), "petr".into());
        let (token, colours) = (TokenSource::None, Colours(false));
        let zone = Box::leak(Box::new(Zone::Rule(tz::TimeZone::utc())));
        let (since, reconnects, bell) = (None, true, true);
        let options = ClientOptions { url, usr, token, colours, since, reconnects, bell };
        let mut fixture = Self(App::new(options, Renderer::new(zone, colours)), Instant::now());
        fixture.state(ConnectionState::Connecting);
        fixture.state(ConnectionState::Connected);
        fixture
    }

    fn state(&mut self, state: ConnectionState) {
        self.0.event(ConnectionEvent::State(state), self.1);
    }

    fn receive(&mut self, message: Value) -> ScreenAction {
        let message = Incoming::parse(&message.to_string()).unwrap();
        self.0.event(ConnectionEvent::Received(message), self.1)
    }

    fn receive_notice(&mut self) {
        self.receive(json!({"usr": "wschat", "msg": "not sent: no", "err": "test"}));
    }

    fn line(&mut self, line: &str) -> ScreenAction {
        self.0.line(line.into(), self.1)
    }

    fn key(&mut self, code: KeyCode, modifiers: KeyModifiers) {
        self.0.key(KeyEvent::new(code, modifiers), self.1);
    }

    /// The only message that the app sends now.
    fn sent(&mut self) -> Value {
        let commands = self.0.take_commands();
        let [ConnectionCommand::Send(json)] = &commands[..] else { panic!("{commands:?}") };
        serde_json::from_str(json).unwrap()
    }

    #[track_caller]
    fn check_footer(&self, status: &str, text: &str) {
        let footer = self.0.footer(self.1);
        assert_eq!((&*footer.status, footer.text), (status, text));
    }
}

#[test]
fn one_message_is_in_flight_at_a_time() {
    let mut app = Fixture::new();
    app.line("one");
    app.line("two");
    app.check_footer("● room.example · petr · sending 2", "");
    let one = app.sent();
    assert_eq!(one["msg"], "one");
    // The same text from another client is not an answer.
    app.receive(json!({"usr": "petr", "msg": "one"}));
    assert_eq!(app.0.take_commands(), []);
    app.receive(one);
    let two = app.sent();
    assert_eq!(two["msg"], "two");
    app.receive(two);
    app.check_footer("● room.example · petr", "");
}

#[test]
fn after_a_notice_the_message_can_be_edited_and_the_next_one_is_sent() {
    let mut app = Fixture::new();
    app.line("one");
    app.line("two");
    app.sent();
    app.receive_notice();
    app.check_footer("! not sent: no", "one");
    assert_eq!(app.sent()["msg"], "two");
    // The text that is being typed is never replaced.
    app.receive_notice();
    app.check_footer("! not sent: no", "one");
}

#[test]
fn a_command_is_acknowledged() {
    let mut app = Fixture::new();
    app.line("/mute bob 600");
    app.line("next");
    assert_eq!(app.sent(), json!({"usr": "petr", "cmd": {"mute": "bob", "secs": 600}}));
    let text = "done: muted bob for 600 s";
    app.receive(json!({"usr": "wschat", "msg": text, "ack": "mute"}));
    assert_eq!(app.0.take_output(), format!("--:--:-- -- {text}\r\n"));
    assert_eq!(app.sent()["msg"], "next");
}

#[test]
fn a_message_is_retracted_by_an_unambiguous_time() {
    let mut app = Fixture::new();
    let tim = "2020-08-11T23:59:59.000000007Z";
    app.receive(json!({"usr": "eva", "msg": "x", "tim": tim}));
    let other = "2020-08-11T23:59:59.000000008Z";
    let mut check = |argument: &str, want: &str| {
        app.line(&format!("/retract {argument}"));
        assert_eq!(app.sent()["cmd"]["retract"], want);
        app.receive(json!({"usr": "wschat", "msg": "done", "ack": "retract"}));
    };
    check("23:59:59", tim);
    check("23:59:59 EVA", tim);
    check(tim, tim);
    check(other, other);
    app.receive(json!({"usr": "ann", "msg": "y", "tim": other}));
    app.line("/retract 23:59:59 ann");
    assert_eq!(app.sent()["cmd"]["retract"], other);
    app.receive(json!({"usr": "wschat", "msg": "done", "ack": "retract"}));
    app.receive(json!({"usr": "ann", "msg": "y", "tim": "2020-08-11T23:59:59.000000009Z"}));
    for (argument, why) in [
        (
            "23:59:59",
            "several messages have the time 23:59:59; use /retract 23:59:59 NAME, or a tim from --json",
        ),
        (
            "23:59:59 ann",
            "several messages of ann have the time 23:59:59; use /retract ann for all, or a tim from --json",
        ),
        ("23:59:58", "no message with the time 23:59:58 was shown here"),
        ("23:59:59 bob", "no message of bob with the time 23:59:59 was shown here"),
    ] {
        let line = format!("/retract {argument}");
        app.line(&line);
        assert_eq!(app.0.take_commands(), []);
        app.check_footer(why, &line);
        app.key(KeyCode::Char('u'), KeyModifiers::CONTROL);
    }
    app.line("/retract ann");
    assert_eq!(app.sent()["cmd"], json!({"retract": {"name": "ann"}}));
}

#[test]
fn messages_of_a_lost_connection_are_shown_and_not_repeated() {
    let mut app = Fixture::new();
    app.line("one");
    app.0.take_commands();
    let error = ConnectionError::new("gone");
    app.state(ConnectionState::Lost(error, Some(app.1 + Duration::from_millis(2500))));
    assert_eq!(app.0.take_output(), "-- gone\r\n-- perhaps not sent: one\r\n");
    let status = "✕ room.example · gone · next attempt in 3 s, or press Enter";
    app.check_footer(status, "one");
    app.line("");
    assert_eq!(app.0.take_commands(), [ConnectionCommand::Reconnect]);
    app.state(ConnectionState::Connecting);
    app.state(ConnectionState::Connected);
    // The room may have received it.
    assert_eq!(app.0.take_commands(), []);
}

#[test]
fn a_message_that_arrives_after_a_break_leaves_the_input() {
    for (typed, want) in [("", ""), ("!", "one!")] {
        let mut app = Fixture::new();
        app.line("one");
        let one = app.sent();
        let status = |app: &Fixture| app.0.footer(app.1).status;
        app.state(ConnectionState::Lost(ConnectionError::new("gone"), Some(app.1)));
        app.0.paste(typed);
        app.state(ConnectionState::Connected);
        app.receive(json!({"usr": "petr", "msg": "one", "id": "another"}));
        app.check_footer(&status(&app), &format!("one{typed}"));
        app.receive(one);
        app.check_footer(&status(&app), want);
    }
}

#[test]
fn a_message_without_an_answer_times_out() {
    let mut app = Fixture::new();
    app.line("one");
    let start = app.1;
    assert_eq!(app.0.tick(start + ANSWER_TIMEOUT / 2), ScreenAction::None);
    assert_eq!(app.0.tick(start + ANSWER_TIMEOUT), ScreenAction::Draw);
    assert_eq!(app.0.take_output(), "-- no answer from the room to: one\r\n");
    app.check_footer("● room.example · petr", "one");
}

#[test]
fn quitting_waits_for_answers_until_a_time_limit() {
    let mut app = Fixture::new();
    assert_eq!(app.line("/quit"), ScreenAction::Quit);
    app.line("one");
    let one = app.sent();
    assert_eq!(app.line("/quit"), ScreenAction::Draw);
    let start = app.1;
    assert_eq!(app.0.tick(start), ScreenAction::None);
    assert_eq!(app.0.tick(start + QUIT_TIMEOUT), ScreenAction::Quit);
    assert_eq!(app.receive(one), ScreenAction::Quit);
}

#[test]
fn control_keys() {
    use ScreenAction::*;
    for (typed, key, want) in
        [("", 'l', Redraw), ("", 'z', Suspend), ("", 'd', Quit), ("", 'c', Quit), ("x", 'c', Draw)]
    {
        let mut app = Fixture::new();
        app.0.paste(typed);
        let key = KeyEvent::new(KeyCode::Char(key), KeyModifiers::CONTROL);
        assert_eq!(app.0.key(key, app.1), want, "{typed} {key:?}");
        app.check_footer("● room.example · petr", "");
    }
}

#[test]
fn the_state_of_the_room_is_in_the_footer() {
    let mut app = Fixture::new();
    let told = |room: Value| json!({ "usr": "wschat", "msg": "told", "room": room });
    app.line("hello");
    app.receive(told(json!({ "listeners": 2, "title": "Kino", "notice": "be kind" })));
    assert_eq!(app.0.take_output(), "-- Kino: be kind\r\n");
    app.receive(told(json!({ "listeners": 3, "title": "Kino", "notice": "be kind" })));
    app.check_footer("● room.example · petr · sending 1 · 3 here", "");
    app.receive(told(json!({ "listeners": 3, "locked": true, "slow": 5, "token": true })));
    let words = "3 here · locked · slow: 5 s · token needed";
    app.check_footer(&format!("● room.example · petr · sending 1 · {words}"), "");
    app.receive(told(json!("none")));
    assert_eq!(app.0.take_output(), "--:--:-- * told\r\n");
    // Of anybody else it is a message.
    app.receive(json!({ "usr": "bob", "msg": "hi", "room": { "listeners": 9 } }));
    assert_eq!(app.0.take_output(), "--:--:-- bob: hi\r\n");
}

#[test]
fn a_line_separates_days() {
    let mut app = Fixture::new();
    for tim in ["2020-08-11T23:59:59Z", "2020-08-12T00:00:00Z", "2020-08-12T00:00:01Z"] {
        app.receive(json!({"usr": "eva", "msg": "x", "tim": tim}));
    }
    let want =
        "23:59:59 eva: x\r\n── Wednesday, 12 August 2020\r\n00:00:00 eva: x\r\n00:00:01 eva: x\r\n";
    assert_eq!(app.0.take_output(), want);
}

#[test]
fn an_unreadable_token_file_is_reported() {
    let mut app = Fixture::new();
    app.line("/token /nowhere");
    let status = app.0.footer(app.1).status;
    assert!(status.starts_with("token: "), "{status}");
}

#[test]
fn after_a_kick_only_the_user_connects_again() {
    let mut app = Fixture::new();
    app.state(ConnectionState::Lost(ConnectionError::new("kicked"), None));
    app.check_footer("✕ room.example · kicked · press Enter to connect again", "");
    assert_eq!(app.0.take_commands(), []);
    app.line("");
    assert_eq!(app.0.take_commands(), [ConnectionCommand::Reconnect]);
}

#[test]
fn a_room_without_moderators_says_so() {
    let mut app = Fixture::new();
    let notice = json!({"usr": "wschat", "msg": "not sent: no text", "err": "missing-msg"});
    app.line("/mute bob");
    app.receive(notice.clone());
    app.check_footer("! not done: this room has no moderators", "/mute bob");
    app.key(KeyCode::Char('u'), KeyModifiers::CONTROL);
    app.line("hi");
    app.receive(notice);
    app.check_footer("! not sent: no text", "hi");
}

#[test]
fn tab_completes_the_names_of_others() {
    let mut app = Fixture::new();
    for usr in ["eva", "Ann\u{200b}a", "petr"] {
        app.receive(json!({"usr": usr, "msg": "x"}));
    }
    app.0.paste("/mute a");
    app.key(KeyCode::Tab, KeyModifiers::NONE);
    assert_eq!(app.0.footer(app.1).text, "/mute Anna ");
}

#[test]
fn the_bell_rings_when_somebody_calls_the_user() {
    let mut app = Fixture::new();
    let mut rings = |usr: &str, msg: &str| {
        app.receive(json!({"usr": usr, "msg": msg}));
        app.0.take_output().contains('\x07')
    };
    assert!(rings("eva", "hi Petr"));
    assert!(!rings("eva", "hi \x07"));
    assert!(!rings("petr", "I am petr"));
    app.0.options.bell = false;
    app.receive(json!({"usr": "eva", "msg": "hi petr"}));
    assert!(!app.0.take_output().contains('\x07'));
}

#[test]
fn what_the_client_prints_fits_the_terminal() {
    let mut app = Fixture::new();
    app.line("/help");
    assert!(!app.0.take_output().contains("\r\n   "), "no line is wrapped");
    for columns in [20, 40] {
        app.0.resize(Size { columns, rows: 24 });
        app.line("/help");
        app.receive(json!({"usr": "x".repeat(50), "msg": "y".repeat(50)}));
        let output = app.0.take_output();
        for row in output.split("\r\n") {
            assert!(row.chars().count() <= columns, "{row:?}");
            let known = row.is_empty() || row.starts_with([' ', '-']);
            assert!(known, "{row:?}");
        }
    }
}

//! Every message about a file, as data.

use super::super::*;
use super::Scene;

/// `toml` gives exactly the lines `want`, none of them if it is good.
#[track_caller]
fn check(toml: impl AsRef<[u8]>, want: &[&str]) {
    assert_eq!(Scene::new(&toml).messages(), want, "{}", String::from_utf8_lossy(toml.as_ref()));
}

#[test]
fn good_files() {
    check("", &[]);
    check("# only a comment", &[]);
    check("[auth]\n[limits]\n", &[]);
    check("auth.check_exp = true\nauth.leeway_secs = 0", &[]);
    check("limits = { connections_max = 1_000, message_bytes_max = 0x80 }", &[]);
    check("listen.addresses = ['[::]:0', 'unix:/run/wschat/room.sock']", &[]);
    check("\u{feff}[page]\r\nenabled = false\r\n", &[]);
}

#[test]
fn mistakes_of_the_toml_itself() {
    check("[auth\n", &["wschat.toml:1:6: unclosed table, expected `]`"]);
    check(
        "[auth]\njwt_secret = hunter2\nfoo = 1",
        &["wschat.toml:2:14: string values must be quoted, expected literal string"],
    );
    check(
        "[auth]\njwt_secret = \"hunter2\n",
        &["wschat.toml:2:22: invalid basic string, expected `\"`"],
    );
    check(
        "[auth]\njwt_secret = 'a'\njwt_secret = 'b'\n[auth]\n",
        &["wschat.toml:3:1: duplicate key", "wschat.toml:4:2: duplicate key"],
    );
    check("hunter2", &["wschat.toml:1:8: key with no value, expected `=`"]);
    check(b"[auth]\n# \xc3\xa4 \xff", &["wschat.toml:2:5: not UTF-8"]);
}

#[test]
fn unknown_keys() {
    let key = |toml: &str, want: &str| check(toml, &[&format!("wschat.toml:{want}")]);
    key(
        "[limits]\nconections_max = 5",
        "2:1: limits.conections_max: unknown key; did you mean limits.connections_max?",
    );
    key(
        "limits.max_connections = 5",
        "1:8: limits.max_connections: unknown key; did you mean limits.connections_max?",
    );
    key(
        "connections_max = 5",
        "1:1: connections_max: unknown key; did you mean limits.connections_max?",
    );
    key("[auth]\nsecret = 'x'", "2:1: auth.secret: unknown key; did you mean auth.jwt_secret?");
    key("[auth]\nleeway = 3", "2:1: auth.leeway: unknown key; did you mean auth.leeway_secs?");
    key("JWT_SECRET = 'x'", "1:1: JWT_SECRET: unknown key; did you mean auth.jwt_secret?");
    key("[limits]\nthreads = 5", "2:1: limits.threads: unknown key; did you mean server.threads?");
    key("[limit]\nport = 3", "1:2: limit: unknown section; did you mean limits?");
    key("[ http ]", "1:3: http: unknown section");
    key("port = 3", "1:1: port: unknown key");
    key("'ä' = 'ö'", "1:1: ä: unknown key");
    key("\"a\\nb\\u001b[31m\" = 1", "1:1: a\u{fffd}b\u{fffd}[31m: unknown key");
    key(&format!("{} = 1", "x".repeat(300)), &format!("1:1: {}…: unknown key", "x".repeat(200)));
}

#[test]
fn wrong_types() {
    let value = |toml: &str, want: &str| check(toml, &[&format!("wschat.toml:{want}")]);
    value("auth = 5", "1:8: auth: expected a table, found an integer");
    value("[[page]]\nenabled = 1", "1:1: page: expected a table, found an array");
    value("[server.threads]", "1:1: server.threads: expected an integer, found a table");
    value("auth.jwt_secret = 5", "1:19: auth.jwt_secret: expected a string, found an integer");
    value(
        "auth.jwt_secret_file = ['x']",
        "1:24: auth.jwt_secret_file: expected a string, found an array",
    );
    value(
        "auth.algorithms = 'HS256'",
        "1:19: auth.algorithms: expected an array of strings, found a string",
    );
    value(
        "auth.algorithms = ['HS256', 256]",
        "1:29: auth.algorithms: expected a string, found an integer",
    );
    value("auth.check_exp = 1", "1:18: auth.check_exp: expected true or false, found an integer");
    value("page.enabled = 'yes'", "1:16: page.enabled: expected true or false, found a string");
    value("log.level = true", "1:13: log.level: expected a string, found a boolean");
    value("server.threads = 1.0", "1:18: server.threads: expected an integer, found a float");
    value(
        "server.threads = 2020-08-11",
        "1:18: server.threads: expected an integer, found a date or time",
    );
}

#[test]
fn out_of_range() {
    let value = |toml: &str, want: &str| check(toml, &[&format!("wschat.toml:{want}")]);
    value(
        "\n\n[auth]\n\n\n\nleeway_secs = 900",
        "7:15: auth.leeway_secs: 900 is out of range, 0 to 300",
    );
    value("auth.leeway_secs = -1", "1:20: auth.leeway_secs: -1 is out of range, 0 to 300");
    value(
        "auth.leeway_secs = 99999999999999999999",
        "1:20: auth.leeway_secs: 99999999999999999999 is out of range, 0 to 300",
    );
    value(
        &format!("auth.leeway_secs = {}", "9".repeat(50)),
        "1:20: auth.leeway_secs: the number is out of range, 0 to 300",
    );
    value("auth.algorithms = []", "1:19: auth.algorithms: empty; it takes at least one");
    value(
        "auth.algorithms = [\n  'HS256',\n  'HS265' ]",
        "3:3: auth.algorithms: not one of HS256, HS384, HS512; did you mean HS256?",
    );
    value("auth.algorithms = ['none']", "1:20: auth.algorithms: not one of HS256, HS384, HS512");
    value(
        "log.level = 'inof'",
        "1:13: log.level: not one of error, warn, info, debug, trace; did you mean info?",
    );
    value(
        "log.level = 'INFO'",
        "1:13: log.level: not one of error, warn, info, debug, trace; did you mean info?",
    );
    value("listen.addresses = []", "1:20: listen.addresses: empty; it takes at least one");
    value(
        "listen.addresses = ['127.0.0.1:1', 'localhost:2']",
        "1:36: listen.addresses: not an address, which is IP:PORT, [IP6]:PORT or unix:/PATH",
    );
    value(
        &format!("listen.addresses = ['unix:/{}']", "a".repeat(107)),
        "1:21: listen.addresses: the path of a Unix socket has at most 107 bytes",
    );
}

#[test]
fn proxies_and_origins() {
    let value = |toml: &str, want: &str| check(toml, &[&format!("wschat.toml:{want}")]);
    check("listen.trusted_proxies = []\nlisten.origins = []", &[]);
    check("listen.trusted_proxies = ['127.0.0.1', '10.0.0.0/8', '::1', 'unix']", &[]);
    check("listen.origins = ['https://chat.example', 'http://localhost:8080']", &[]);
    value(
        "listen.trusted_proxies = ['unix', 'localhost']",
        "1:35: listen.trusted_proxies: not a proxy, which is IP, IP/BITS or unix",
    );
    value(
        "listen.origins = ['chat.example']",
        "1:19: listen.origins: not an origin, which is http://HOST[:PORT] or https://HOST[:PORT]",
    );
}

#[test]
fn paths() {
    let value = |toml: &str, want: &str| check(toml, &[&format!("wschat.toml:1:14: {want}")]);
    check("record.dir = '/var/log/wschat'", &[]);
    value("record.dir = ''", "record.dir: empty; leave the key out to have none");
    value("record.dir = 'log'", "record.dir: not an absolute path");
    value("record.dir = '~/log'", "record.dir: not an absolute path");
    value("record.dir = \"/a\\u0000\"", "record.dir: not an absolute path");
}

#[test]
fn every_number_at_its_bounds() {
    let numbers = KEYS.iter().filter_map(|key| match key.kind {
        keys::Kind::Number { min, max, .. } => Some((key, min, max)),
        _ => None,
    });
    for (key, min, max) in numbers {
        let messages = |n: u64| {
            // What the other side of a contradiction needs to be content.
            let other = match key.name {
                "limits.ping_interval_secs" => "limits.idle_timeout_secs = 7200\n",
                "limits.idle_timeout_secs" => "limits.ping_interval_secs = 1\n",
                _ => "",
            };
            Scene::new(format!("{other}{} = {n}", key.name)).messages()
        };
        assert!(messages(min).is_empty(), "{}: {:?}", key.name, messages(min));
        assert!(messages(max).is_empty(), "{}: {:?}", key.name, messages(max));
        let over = format!("{}: {} is out of range, {min} to {max}", key.name, max + 1);
        assert!(messages(max + 1)[0].ends_with(&over), "{:?}", messages(max + 1));
        if let Some(under) = min.checked_sub(1) {
            let text = format!("{}: {under} is out of range, {min} to {max}", key.name);
            assert!(messages(under)[0].ends_with(&text), "{:?}", messages(under));
        }
    }
}

#[test]
fn contradictions() {
    check(
        "[auth]\njwt_secret = 'x'\njwt_secret_file = 'y'",
        &[
            "wschat.toml:3:19: auth.jwt_secret_file: jwt_secret is set too, in line 2; keep one of them",
        ],
    );
    check(
        "[auth]\njwt_secret_file = 'y'\njwt_secret = 'x'",
        &[
            "wschat.toml:3:14: auth.jwt_secret: jwt_secret_file is set too, in line 2; keep one of them",
        ],
    );
    check(
        "limits.idle_timeout_secs = 25",
        &[
            "wschat.toml:1:28: limits.idle_timeout_secs: idle_timeout_secs, 25, has to be over ping_interval_secs, 25",
        ],
    );
    check(
        "limits.ping_interval_secs = 90",
        &[
            "wschat.toml:1:29: limits.ping_interval_secs: idle_timeout_secs, 60, has to be over ping_interval_secs, 90",
        ],
    );
    check(
        "limits.message_bytes_max = 16385\nlimits.feed_tail_bytes = 65536",
        &[
            "wschat.toml:2:26: limits.feed_tail_bytes: feed_tail_bytes, 65536, has to be at least 4 x message_bytes_max, 16385",
        ],
    );
    // A value that is wrong by itself contradicts nothing.
    check(
        "limits.ping_interval_secs = 90\nlimits.idle_timeout_secs = 0",
        &["wschat.toml:2:28: limits.idle_timeout_secs: 0 is out of range, 2 to 7200"],
    );
}

#[test]
fn all_problems_at_once_in_the_order_of_the_file() {
    check(
        "[limits]\nidle_timeout_secs = 20\nconections_max = 1\n[auth]\njwt_secret = ''\n\
         algorithms = ['a', 'HS256', 3]\n[page]\nenabled = 'on'\n[pages]\n",
        &[
            "wschat.toml:2:21: limits.idle_timeout_secs: idle_timeout_secs, 20, has to be over ping_interval_secs, 25",
            "wschat.toml:3:1: limits.conections_max: unknown key; did you mean limits.connections_max?",
            "wschat.toml:5:14: auth.jwt_secret: empty; leave the key out to have no secret",
            "wschat.toml:6:15: auth.algorithms: not one of HS256, HS384, HS512",
            "wschat.toml:6:29: auth.algorithms: expected a string, found an integer",
            "wschat.toml:8:11: page.enabled: expected true or false, found a string",
            "wschat.toml:9:2: pages: unknown section; did you mean page?",
        ],
    );
}

#[test]
fn columns_count_characters() {
    check("'ä' . 'ö' = 1", &["wschat.toml:1:1: ä: unknown section"]);
    check(
        "log = { level = 'ä', 'öß' = '€', x = 1 }",
        &[
            "wschat.toml:1:17: log.level: not one of error, warn, info, debug, trace",
            "wschat.toml:1:22: log.öß: unknown key",
            "wschat.toml:1:34: log.x: unknown key",
        ],
    );
    check("\u{feff}port = 1", &["wschat.toml:1:1: port: unknown key"]);
    check("\r\n\r\n\tport = 1", &["wschat.toml:3:2: port: unknown key"]);
}

#[test]
fn no_message_shows_the_secret() {
    let hidden = "hunter2hunter2";
    for toml in [
        format!("[auth]\njwt_secret = {hidden}"),
        format!("[auth]\njwt_secret = \"{hidden}"),
        format!("[auth]\njwt_secret = '{hidden}' x"),
        format!("[auth]\njwt_secret = '''{hidden}"),
        format!("[auth]\njwt_secret : '{hidden}'"),
        format!("[auth]\njwt_secret = '{hidden}'\njwt_secret = '{hidden}'"),
        format!("[auth]\njwt_secret = ['{hidden}']"),
        format!("[auth]\njwt_secret = '{hidden}'\njwt_secret_file = '{hidden}'"),
        format!("[auth]\njwt_secret_file = '{hidden}'"),
        format!("[auth]\njwt_secrt = '{hidden}'"),
        format!("[auth]\nalgorithms = ['{hidden}']\nleeway_secs = '{hidden}'"),
        format!("log.level = '{hidden}'\nlisten.addresses = ['{hidden}']"),
    ] {
        let scene = Scene::new(&toml);
        assert!(!scene.messages().join("\n").contains(hidden), "{toml}: {:?}", scene.messages());
        assert!(!format!("{:?}", scene.load()).contains(hidden), "{toml}");
    }
    let good = Scene::new(format!("auth.jwt_secret = '{hidden}'"));
    assert!(!format!("{:?}", good.load()).contains(hidden));
}

proptest::proptest! {
    /// Nothing that a file may hold makes the reader fail, and what is wrong
    /// stands inside of the file.
    #[test]
    fn any_text_is_read(text in "([\\[\\]a-z_.='\"#{},0-9\n\r\tä€-]|auth|limits|jwt_secret){0,40}") {
        let draft = read::read(std::path::Path::new("f"), &text);
        for problem in draft.problems {
            let (_, position) = problem.place.unwrap();
            let line = text.split('\n').nth(position.line - 1).unwrap();
            assert!(position.column <= line.chars().count() + 1, "{text:?}");
        }
    }
}

#[test]
fn the_shipped_file_cut_anywhere_is_read() {
    let text = include_str!("../../../etc/wschat.toml").replace("\n#", "\n");
    for (offset, _) in text.char_indices() {
        read::read(std::path::Path::new("f"), &text[..offset]);
    }
}

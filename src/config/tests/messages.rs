//! Every message about a file, as data.

use std::iter::from_fn;
use std::path::Path;

use super::super::*;
use super::Scene;

/// Checks cases: a line of a file and after `  > ` the only message about it, or several lines
/// and below them all messages, each after `> `. `wschat.toml:` is left out.
#[track_caller]
pub(super) fn check(scene: fn(&str) -> Scene, cases: &str) {
    let cases = cases.trim().replace("  > ", "\n> ");
    let mut lines = cases.lines().peekable();
    while lines.peek().is_some() {
        let toml: Vec<_> = from_fn(|| lines.next_if(|line| !line.starts_with("> "))).collect();
        let want: Vec<_> = from_fn(|| lines.next_if(|line| line.starts_with("> "))).collect();
        let want: Vec<_> = want.iter().map(|line| line.replacen("> ", "wschat.toml:", 1)).collect();
        assert_eq!(scene(&toml.join("\n")).messages(), want, "{}", toml.join("\n"));
    }
}

#[test]
fn good_files() {
    for toml in [
        "",
        "# only a comment",
        "[auth]\n[limits]\n",
        "auth.check_exp = true\nauth.leeway_secs = 0",
        "limits = { connections_max = 1_000, message_bytes_max = 0x80 }",
        "listen.addresses = ['[::]:0', 'unix:/run/wschat/room.sock']",
        "listen.addresses = ['0.0.0.0:8080']\nmetrics.address = '[::]:8080'",
        "listen.trusted_proxies = []\nlisten.origins = []",
        "listen.trusted_proxies = ['127.0.0.1', '10.0.0.0/8', '::1', 'unix']",
        "listen.origins = ['https://chat.example', 'http://localhost:8080']",
        "record.dir = '/var/log/wschat'",
        "\u{feff}[page]\r\nenabled = false\r\n",
    ] {
        Scene::new(toml).gives(&[]);
    }
}

#[test]
fn unknown_keys_and_malformed_toml() {
    let cases = r#"
[auth  > 1:6: unclosed table, expected `]`
[auth]
jwt_secret = hunter2
foo = 1
> 2:14: string values must be quoted, expected literal string
[auth]
jwt_secret = "hunter2
> 2:22: invalid basic string, expected `"`
[auth]
jwt_secret = 'a'
jwt_secret = 'b'
[auth]
> 3:1: auth.jwt_secret: duplicate key, first on line 2; keep one of them
> 4:2: auth: duplicate key, first on line 1; keep one of them
[limits]
messages_burst = 5
[log]
level = 'info'
[limits] # again
"messages_burst" = 6
> 5:2: limits: duplicate key, first on line 1; keep one of them
> 6:1: limits.messages_burst: duplicate key, first on line 2; keep one of them
[limits]
messages_burst = 5
"messages\u005fburst" = 6
> 3:1: limits.messages_burst: duplicate key, first on line 2; keep one of them
[limits]
"a\"b\\" = 5
"a\"b\\" = 6
> 3:1: limits.a"b\: duplicate key, first on line 2; keep one of them
[[auth.keys]]
file = 'a'
[[auth.keys]]
file = 'b'
file = 'c'
> 5:1: auth.keys.file: duplicate key, first on line 4; keep one of them
log = { level = 'info', level = 'warn' }
> 1:25: log.level: duplicate key, first on line 1; keep one of them
log.level = 'info'
[log]
level = 'warn'
> 2:2: log: duplicate key, first on line 1; keep one of them
> 3:1: log.level: duplicate key, first on line 1; keep one of them
hunter2  > 1:8: key with no value, expected `=`
[limits]
conections_max = 5
> 2:1: limits.conections_max: unknown key; did you mean limits.connections_max?
limits.max_connections = 5  > 1:8: limits.max_connections: unknown key; did you mean limits.connections_max?
connections_max = 5  > 1:1: connections_max: unknown key; did you mean limits.connections_max?
auth = { secret = 'x', leeway = 3 }
> 1:10: auth.secret: unknown key; did you mean auth.jwt_secret?
> 1:24: auth.leeway: unknown key; did you mean auth.leeway_secs?
JWT_SECRET = 'x'  > 1:1: JWT_SECRET: unknown key; did you mean auth.jwt_secret?
limits.threads = 5  > 1:8: limits.threads: unknown key; did you mean server.threads?
[limit]
port = 3
[ http ]
> 1:2: limit: unknown section; did you mean limits?
> 3:3: http: unknown section
[record]
limits.threads = 5
> 2:1: record.limits: unknown section; limits is a section of its own, and a line below [record] is in record
port = 3
'ä' = 'ö'
> 1:1: port: unknown key
> 2:1: ä: unknown key
'ä' . 'ö' = 1  > 1:1: ä: unknown section
auth."".issuer = 'x'  > 1:6: auth.: unknown section
auth."" = 5  > 1:6: auth.: unknown key
log = { level = 'ä', 'öß' = '€', x = 1 }
> 1:17: log.level: not one of error, warn, info, debug, trace
> 1:22: log.öß: unknown key
> 1:34: log.x: unknown key
"#;
    check(|toml| Scene::new(toml), cases);
    Scene::new(b"[auth]\n# \xc3\xa4 \xff").gives(&["wschat.toml:2:5: not UTF-8"]);
    Scene::new("\u{feff}port = 1").gives(&["wschat.toml:1:1: port: unknown key"]);
    Scene::new("\r\n\r\n\tport = 1").gives(&["wschat.toml:3:2: port: unknown key"]);
    let controls = "wschat.toml:1:1: a\u{fffd}b\u{fffd}[31m: unknown key";
    Scene::new("\"a\\nb\\u001b[31m\" = 1").gives(&[controls]);
    let long = format!("wschat.toml:1:1: {}…: unknown key", "x".repeat(200));
    Scene::new(format!("{} = 1", "x".repeat(300))).gives(&[&long]);
}

#[test]
fn wrong_types_and_values() {
    let cases = r#"
auth = 5  > 1:8: auth: expected table, found integer
[[page]]
enabled = 1
> 1:1: page: expected table, found array
[server.threads]  > 1:1: server.threads: expected integer, found table
auth = { jwt_secret = 5, jwt_secret_file = ['x'], check_exp = 1 }
> 1:23: auth.jwt_secret: expected string, found integer
> 1:44: auth.jwt_secret_file: expected string, found array
> 1:44: auth.jwt_secret_file: jwt_secret is set too; keep one of them
> 1:63: auth.check_exp: expected true or false, found integer
auth.algorithms = 'HS256'  > 1:19: auth.algorithms: expected array, found string
auth.algorithms = ['HS256', 256]  > 1:29: auth.algorithms: expected string, found integer
room.title = ''  > 1:14: room.title: empty; leave it out
room.title = 1  > 1:14: room.title: expected string, found integer
room.notice = "a\nb"  > 1:15: room.notice: it has a line break or another control character
page.enabled = 'yes'
log.level = true
> 1:16: page.enabled: expected true or false, found string
> 2:13: log.level: expected string, found boolean
server.threads = 1.0  > 1:18: server.threads: expected integer, found float
server.threads = 2020-08-11  > 1:18: server.threads: expected integer, found datetime
auth.leeway_secs = -1  > 1:20: auth.leeway_secs: -1 is out of range, 0 to 300
auth.leeway_secs = 99999999999999999999  > 1:20: auth.leeway_secs: 99999999999999999999 is out of range, 0 to 300
auth.leeway_secs = 99999999999999999999999999999999999999999999999999  > 1:20: auth.leeway_secs: the number is out of range, 0 to 300
auth.issuer = ''  > 1:15: auth.issuer: empty; leave it out
auth.algorithms = []
listen.addresses = []
> 1:19: auth.algorithms: empty; it takes at least one
> 2:20: listen.addresses: empty; it takes at least one
auth.algorithms = [
  'HS256', 'HS265', 'none' ]
> 2:12: auth.algorithms: not one of HS256, HS384, HS512; did you mean HS256?
> 2:21: auth.algorithms: not one of HS256, HS384, HS512
log.level = 'inof'  > 1:13: log.level: not one of error, warn, info, debug, trace; did you mean info?
log.level = 'INFO'  > 1:13: log.level: not one of error, warn, info, debug, trace; did you mean info?
listen.addresses = ['127.0.0.1:1', 'localhost:2']  > 1:36: listen.addresses: not an address, which is IP:PORT, [IP6]:PORT or unix:/PATH
listen.addresses = ['0.0.0.0:80', '[::]:80', '[::1]:80', '1.2.3.4:80']
> 1:20: listen.addresses: cannot listen at both [::]:80 and [::1]:80
> 1:20: listen.addresses: cannot listen at both 0.0.0.0:80 and 1.2.3.4:80
metrics.address = '0.0.0.0:8080'  > 1:19: metrics.address: cannot listen at both 127.0.0.1:8080 and 0.0.0.0:8080
listen.trusted_proxies = ['unix', 'localhost']
listen.origins = ['chat.example']
> 1:35: listen.trusted_proxies: not a proxy, which is IP, IP/BITS or unix
> 2:19: listen.origins: not an origin, which is http://HOST[:PORT] or https://HOST[:PORT]
record.keep_days = 7  > 1:20: record.keep_days: warning: it has no effect without record.dir
record.dir = 'log'  > 1:14: record.dir: not an absolute path
record.dir = '~/log'  > 1:14: record.dir: not an absolute path
record.dir = "/a\u0000"  > 1:14: record.dir: not an absolute path
[auth]
jwt_secret = 'x'
jwt_secret_file = 'y'
> 3:19: auth.jwt_secret_file: jwt_secret is set too; keep one of them
[auth]
jwt_secret = 1
jwt_secret_file = 'y'
> 2:14: auth.jwt_secret: expected string, found integer
> 3:19: auth.jwt_secret_file: jwt_secret is set too; keep one of them
limits.idle_timeout_secs = 25  > 1:28: limits.idle_timeout_secs: idle_timeout_secs, 25, must be over ping_interval_secs, 25
limits.ping_interval_secs = 90  > 1:29: limits.ping_interval_secs: idle_timeout_secs, 60, must be over ping_interval_secs, 90
limits.message_bytes_max = 16385
limits.feed_tail_bytes = 65536
> 2:26: limits.feed_tail_bytes: feed_tail_bytes, 65536, must be at least 4 x message_bytes_max, 16385
# A value that is wrong by itself contradicts nothing.
limits.ping_interval_secs = 90
limits.idle_timeout_secs = 0
> 3:28: limits.idle_timeout_secs: 0 is out of range, 2 to 7200
# Problems are in the order of the file.
limits.idle_timeout_secs = 20
limits.conections_max = 1
auth.jwt_secret = ''
> 2:28: limits.idle_timeout_secs: idle_timeout_secs, 20, must be over ping_interval_secs, 25
> 3:8: limits.conections_max: unknown key; did you mean limits.connections_max?
> 4:19: auth.jwt_secret: empty; leave it out
"#;
    check(|toml| Scene::new(toml), cases);
}

#[test]
fn every_number_at_its_bounds() {
    for key in KEYS {
        let allowed = (key.allowed)();
        let bounds = allowed.split_once(" to ").map(|(min, max)| (min.parse(), max.parse()));
        let Some((Ok::<i64, _>(min), Ok::<i64, _>(max))) = bounds else { continue };
        // The other key of a contradiction allows both bounds, or gives it an effect.
        let other = match key.name {
            "limits.ping_interval_secs" => "limits.idle_timeout_secs = 7200",
            "limits.idle_timeout_secs" => "limits.ping_interval_secs = 1",
            "record.keep_days" => "record.dir = '/var/log/wschat'",
            _ => "",
        };
        for (number, is_good) in [(min - 1, false), (min, true), (max, true), (max + 1, false)] {
            let messages = Scene::new(format!("{other}\n{} = {number}", key.name)).messages();
            let wrong = format!("{}: {number} is out of range, {min} to {max}", key.name);
            let has_it = messages.iter().any(|message| message.ends_with(&wrong));
            assert!(if is_good { messages.is_empty() } else { has_it }, "{number}: {messages:?}");
        }
    }
}

#[test]
fn a_file_full_of_mistakes_is_cut_short() {
    let keys = |count| (0..count).map(|n| format!("k{n} = 1\n")).collect::<String>();
    let last = "wschat.toml:1001:1: k1000: unknown key";
    assert_eq!(Scene::new(keys(1_001)).messages()[1_000], last);
    let messages = Scene::new(keys(70_000)).messages();
    assert_eq!(messages.len(), 1_001);
    assert_eq!(messages[1_000], "wschat.toml:1001:1: and 69000 more mistakes from here on");
}

#[test]
fn no_message_shows_the_secret() {
    for toml in [
        "jwt_secret = HUNTER2",
        "jwt_secret = \"HUNTER2",
        "jwt_secret = 'HUNTER2' x",
        "jwt_secret = '''HUNTER2",
        "jwt_secret : 'HUNTER2'",
        "jwt_secret = 'HUNTER2'\njwt_secret = 'HUNTER2'",
        "jwt_secret = ['HUNTER2']",
        "jwt_secret = 'HUNTER2'\njwt_secret_file = 'HUNTER2'",
        "jwt_secret_file = 'HUNTER2'",
        "jwt_secrt = 'HUNTER2'",
        "algorithms = ['HUNTER2']\nleeway_secs = 'HUNTER2'",
        "[log]\nlevel = 'HUNTER2'\n[listen]\naddresses = ['HUNTER2']",
        "keys = [{ alg = 'HS256', secret_file = 'HUNTER2' }, { kid = 'x', secret = 'HUNTER2' }]",
        "jwt_secret = 'HUNTER2'",
    ] {
        let scene = Scene::new(format!("[auth]\n{toml}"));
        assert!(!scene.messages().join("\n").contains("HUNTER2"), "{:?}", scene.messages());
        assert!(!format!("{:?}", scene.load()).contains("HUNTER2"), "{toml}");
    }
}

proptest::proptest! {
    /// No text makes the reader fail, and every problem is at a place in the text.
    #[test]
    fn any_text_is_read(text in "([\\[\\]a-z_.='\"#{},0-9\n\r\tä€-]|auth|limits|jwt_secret){0,40}") {
        let problems = parse(Path::new("f"), &text).err().map_or_else(Vec::new, |it| it.list);
        for problem in problems {
            let (_, position) = problem.place.unwrap();
            let line = text.split('\n').nth(position.line - 1).unwrap();
            assert!(position.column <= line.chars().count() + 1, "{text:?}");
        }
    }
}

#[test]
fn the_reference_cut_anywhere_is_read() {
    let text = include_str!("../../../etc/wschat.toml.reference").replace("\n#", "\n");
    for (offset, _) in text.char_indices() {
        let _ = parse(Path::new("f"), &text[..offset]);
    }
}

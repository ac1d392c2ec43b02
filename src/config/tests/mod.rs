//! Files, secrets and command lines as data, each in a folder of its own.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

mod messages;
mod tokens;

/// A secret that is long enough for nobody to warn of it.
const LONG: &str = "0123456789abcdef0123456789abcdef";

/// A folder with `wschat.toml` in it, and what is outside of the folder.
struct Scene {
    folder: TempDir,
    outside: Environment,
}

impl Scene {
    fn new(toml: impl AsRef<[u8]>) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("wschat.toml");
        let scene = Self { outside: Environment { file, ..Environment::default() }, folder };
        scene.file("wschat.toml", toml)
    }

    fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.folder.path().join(name), content).unwrap();
        self.mode(name, 0o600)
    }

    fn mode(self, name: &str, mode: u32) -> Self {
        let path = self.folder.path().join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    fn credential(mut self, content: &str) -> Self {
        self.outside.credentials = Some(self.folder.path().to_owned());
        self.file(CREDENTIAL, content)
    }

    fn variable(mut self, value: &str) -> Self {
        self.outside.jwt_secret = Some(OsString::from(value));
        self
    }

    fn load(&self) -> Result<Loaded, Problems> {
        load(&self.outside)
    }

    /// All that is printed, the file's folder left out.
    fn messages(&self) -> Vec<String> {
        let lines = match self.load() {
            Ok(loaded) => loaded.warnings.iter().map(Warning::to_string).collect(),
            Err(problems) => problems.list.iter().map(Problem::to_string).collect::<Vec<_>>(),
        };
        let folder = format!("{}/", self.folder.path().display());
        lines.into_iter().map(|line| line.replace(&folder, "")).collect()
    }

    fn secret(&self) -> Option<Vec<u8>> {
        self.load().unwrap().config.auth.secret.map(|secret| secret.bytes().to_vec())
    }

    fn value(&self, name: &str) -> String {
        let loaded = self.load().unwrap();
        let value = loaded.values.iter().find(|value| value.name == name).unwrap();
        value.to_string().replace(&format!("{}/", self.folder.path().display()), "")
    }
}

#[test]
fn values_reach_the_configuration() {
    let toml = "auth.algorithms = ['HS512', 'HS384']\nauth.leeway_secs = 300\nlog.level = 'trace'
        [limits]\nping_interval_secs = 1\nidle_timeout_secs = 2\n[server]\nshutdown_timeout_secs = 0";
    let config = Scene::new(toml).load().unwrap().config;
    assert_eq!(config.auth.algorithms, [Algorithm::HS512, Algorithm::HS384]);
    assert_eq!(config.auth.leeway, Duration::from_secs(300));
    assert_eq!(config.log.level, Level::TRACE);
    assert_eq!(config.limits.ping_interval, Duration::from_secs(1));
    assert_eq!(config.limits.idle_timeout, Duration::from_secs(2));
    assert_eq!(config.server.shutdown_timeout, Duration::ZERO);
}

#[test]
fn secrets_in_their_order() {
    let all = |toml: &str| {
        Scene::new(toml).file("key", "from a file").credential("from systemd").variable("from env")
    };
    let check = |scene: Scene, secret: &str, source: &str| {
        assert_eq!(scene.secret().as_deref(), Some(secret.as_bytes()));
        assert_eq!(scene.value("auth.jwt_secret"), format!("auth.jwt_secret = set  # {source}"));
    };
    check(all("auth.jwt_secret = 'in the text'"), "in the text", "wschat.toml:1");
    check(all("\nauth.jwt_secret_file = 'key'"), "from a file", "wschat.toml:2");
    check(all(""), "from systemd", "credential wschat.jwt_secret");
    check(Scene::new("").variable("from env"), "from env", "environment variable JWT_SECRET");
    // A folder of credentials without ours is like none.
    let mut others = Scene::new("").variable("from env");
    others.outside.credentials = Some(others.folder.path().to_owned());
    check(others, "from env", "environment variable JWT_SECRET");
    // It is one only where systemd can have put it.
    for (folder, messages) in [
        ("", &[][..]),
        (".", &["wschat: CREDENTIALS_DIRECTORY: warning: not an absolute path; ignored"]),
        ("src/../.", &["wschat: CREDENTIALS_DIRECTORY: warning: not an absolute path; ignored"]),
    ] {
        let mut relative = Scene::new("").variable(LONG);
        relative.outside.credentials = Some(folder.into());
        assert_eq!(relative.messages(), messages);
        check(relative, LONG, "environment variable JWT_SECRET");
    }
    let open = Scene::new("");
    assert_eq!(open.secret(), None);
    assert_eq!(open.value("auth.jwt_secret"), "auth.jwt_secret = none  # default");
}

#[test]
fn secret_files() {
    let secret = |content: &str| {
        Scene::new("auth.jwt_secret_file = 'key'").file("key", content).secret().unwrap()
    };
    assert_eq!(secret("a"), b"a");
    assert_eq!(secret("a\n"), b"a");
    assert_eq!(secret("a\n\n"), b"a\n");
    assert_eq!(secret(" a \n"), b" a ");
    assert_eq!(Scene::new("").credential("a\n").secret().unwrap(), b"a");
    assert_eq!(Scene::new("").variable("a\n").secret().unwrap(), b"a\n");

    let absolute = TempDir::new().unwrap();
    let key = absolute.path().join("key");
    fs::write(&key, [0, 255]).unwrap();
    let scene = Scene::new(format!("auth.jwt_secret_file = '{}'", key.display()));
    assert_eq!(scene.secret().unwrap(), [0, 255]);
    let shown = format!("auth.jwt_secret_file = \"{}\"  # wschat.toml:1", key.display());
    assert_eq!(scene.value("auth.jwt_secret_file"), shown);
}

#[test]
fn secrets_that_cannot_be_had() {
    let check = |scene: Scene, want: &str| assert_eq!(scene.messages(), [want]);
    check(
        Scene::new("auth.jwt_secret = ''").variable(LONG),
        "wschat.toml:1:19: auth.jwt_secret: empty; leave the key out to have no secret",
    );
    check(
        Scene::new("auth.jwt_secret_file = ''").variable(LONG),
        "wschat.toml:1:24: auth.jwt_secret_file: empty; leave the key out to have no secret",
    );
    check(
        Scene::new("auth.jwt_secret_file = 'hunter2'").variable(LONG),
        "wschat.toml:1:24: auth.jwt_secret_file: the file cannot be read: \
         No such file or directory (os error 2)",
    );
    check(
        Scene::new("auth.jwt_secret_file = '/dev/zero'"),
        "wschat.toml:1:24: auth.jwt_secret_file: the file cannot be read: not a regular file",
    );
    check(
        Scene::new("auth.jwt_secret_file = 'key'").file("key", "\n"),
        "wschat.toml:1:24: auth.jwt_secret_file: the secret is empty",
    );
    check(
        Scene::new("").credential("").variable(LONG),
        "wschat: credential wschat.jwt_secret: the secret is empty",
    );
    check(Scene::new("").variable(""), "wschat: JWT_SECRET: the secret is empty");
}

#[test]
fn addresses_that_exclude_each_other_are_a_problem() {
    let check = |scene: Scene, want: &[&str]| assert_eq!(scene.messages(), want);
    check(
        Scene::new("[listen]\naddresses = ['0.0.0.0:80', '[::]:80', '[::1]:80', '1.2.3.4:80']"),
        &[
            "wschat.toml:2:13: listen.addresses: [::1]:80 cannot be listened at beside [::]:80",
            "wschat.toml:2:13: listen.addresses: 1.2.3.4:80 cannot be listened at beside 0.0.0.0:80",
        ],
    );
    check(
        Scene::new("metrics.address = '0.0.0.0:8080'"),
        &["wschat.toml:1:19: metrics.address: 0.0.0.0:8080 cannot be listened at beside \
           127.0.0.1:8080"],
    );
    check(Scene::new("metrics.address = '[::]:8080'"), &[]);
}

#[test]
fn warnings() {
    let check = |scene: Scene, want: &[&str]| assert_eq!(scene.messages(), want);
    let short = "warning: the secret is shorter than 32 bytes and may be guessed";
    let open = "warning: everybody on this machine may read the secret; chmod o= the file";
    let text = format!("[auth]\njwt_secret = '{LONG}'");
    check(Scene::new(&text), &[]);
    check(Scene::new(&text).mode("wschat.toml", 0o640), &[]);
    check(
        Scene::new(&text).mode("wschat.toml", 0o604),
        &[&format!("wschat.toml:2:14: auth.jwt_secret: {open}")],
    );
    check(
        Scene::new(format!("auth.jwt_secret = '{}'", &LONG[1..])),
        &[&format!("wschat.toml:1:19: auth.jwt_secret: {short}")],
    );
    // A file without the secret itself is for everybody to read.
    let file = || Scene::new("auth.jwt_secret_file = 'key'").mode("wschat.toml", 0o644);
    check(file().file("key", LONG), &[]);
    check(
        file().file("key", "short").mode("key", 0o644),
        &[
            &format!("wschat.toml:1:24: auth.jwt_secret_file: {open}"),
            &format!("wschat.toml:1:24: auth.jwt_secret_file: {short}"),
        ],
    );
    check(Scene::new("").variable(LONG), &[]);
    check(Scene::new("").variable("short"), &[&format!("wschat: JWT_SECRET: {short}")]);
    check(
        Scene::new("").credential("short"),
        &[&format!("wschat: credential wschat.jwt_secret: {short}")],
    );
    // No secret at all is for the daemon to warn of.
    check(Scene::new(""), &[]);
}

#[test]
fn descriptors() {
    let check = |toml: &str, max: u64, want: &[&str]| {
        let mut scene = Scene::new(toml);
        scene.outside.descriptors_max = Some(max);
        assert_eq!(scene.messages(), want);
    };
    let two = "server.threads = 2\nlimits.connections_max";
    check(&format!("{two} = 940"), 1024, &[]);
    check(
        &format!("{two} = 941"),
        1024,
        &[
            "wschat.toml:2:26: limits.connections_max: warning: 941 is more than the 1024 descriptors \
           of the process allow, which is 940 connections (LimitNOFILE= or ulimit -Hn)",
        ],
    );
    // Nobody chose the default.
    check("", 1024, &[]);
}

#[test]
fn missing_files() {
    let mut scene = Scene::new("");
    fs::remove_file(&scene.outside.file).unwrap();
    let loaded = scene.load().unwrap();
    assert_eq!((loaded.config.clone(), loaded.file_found), (Config::default(), false));

    scene.outside.file_required = true;
    let problems = scene.load().unwrap_err();
    assert!(problems.unreadable);
    assert_eq!(
        problems.to_string(),
        format!("wschat: {}: No such file or directory (os error 2)", scene.outside.file.display())
    );

    // A file that was there at the start may not vanish before a reload.
    let scene = Scene::new("");
    let again = scene.outside.clone().for_reload(&scene.load().unwrap());
    fs::remove_file(&scene.outside.file).unwrap();
    assert!(load(&again).unwrap_err().unreadable);
}

#[test]
fn command_line_over_file() {
    let mut scene = Scene::new("server.threads = 2\nlisten.addresses = ['[::1]:1']");
    assert_eq!(scene.value("server.threads"), "server.threads = 2  # wschat.toml:1");
    scene.outside.threads = Some(3);
    scene.outside.listen = vec!["127.0.0.1:0".parse().unwrap()];
    assert_eq!(scene.value("server.threads"), "server.threads = 3  # --threads");
    let shown = r#"listen.addresses = ["127.0.0.1:0"]  # --listen"#;
    assert_eq!(scene.value("listen.addresses"), shown);
    assert_eq!(scene.load().unwrap().config.server.threads, 3);
}

#[test]
fn the_record_of_the_file_over_that_of_the_environment() {
    let check = |toml: &str, variable: &str, want: &str| {
        let mut scene = Scene::new(toml);
        scene.outside.log_dir = Some(variable.into());
        assert_eq!(scene.value("record.dir"), format!("record.dir = {want}"));
    };
    check("record.dir = '/a'", "/b", "\"/a\"  # wschat.toml:1");
    check("", "/b", "\"/b\"  # environment variable LOG_DIR");
    check("", "", "none  # default");
}

#[test]
fn defaults_are_what_the_table_takes() {
    for key in KEYS {
        let Some(shown) = key.show(&Config::default()) else { continue };
        let scene = Scene::new(format!("{} = {shown}", key.name));
        assert_eq!(scene.load().unwrap().config, Config::default(), "{}", key.name);
        let line = format!("{} = {shown}  # wschat.toml:1", key.name);
        assert_eq!(scene.value(key.name), line);
    }
}

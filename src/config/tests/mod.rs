//! Files, secrets and command lines as data, each in a folder of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use tempfile::TempDir;
use tracing::Level;

use super::*;

mod cluster;
mod docs;
mod drop_ins;
mod messages;
mod required;
mod tokens;

/// A secret that is long enough for no warning.
const LONG: &str = "0123456789abcdef0123456789abcdef";

/// A folder with `wschat.toml` and files that it may name, and what is outside of it.
struct Scene {
    folder: TempDir,
    outside: Environment,
}

impl Scene {
    fn new(toml: impl AsRef<[u8]>) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("wschat.toml");
        let host_name = "host".into();
        let outside = Environment { file, host_name, ..Environment::default() };
        let scene = Self { outside, folder };
        let scene = scene.file("wschat.toml", toml).file("key", LONG).file("empty", "\r\n");
        scene.file("weak", "short").mode("weak", 0o604)
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
        self.file("wschat.jwt_secret", content)
    }

    fn variable(mut self, value: &str) -> Self {
        self.outside.jwt_secret = Some(value.into());
        self
    }

    fn load(&self) -> Result<Loaded, Problems> {
        load(&self.outside)
    }

    fn config(&self) -> Config {
        self.load().unwrap().config
    }

    fn secret(&self) -> Vec<u8> {
        self.config().auth.secret.unwrap().bytes().to_vec()
    }

    /// All that is printed, without the folder.
    fn messages(&self) -> Vec<String> {
        let problems = self.load().map_or_else(|problems| problems.list, |loaded| loaded.warnings);
        problems.iter().map(|problem| self.without_folder(&problem.to_string())).collect()
    }

    #[track_caller]
    fn gives(self, want: &[&str]) {
        assert_eq!(self.messages(), want);
    }

    /// The line of `wschat config` for the key `name`, without the folder.
    fn value(&self, name: &str) -> String {
        let values = self.load().unwrap().values;
        let start = format!("{name} = ");
        self.without_folder(values.iter().find(|value| value.starts_with(&start)).unwrap())
    }

    fn without_folder(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.folder.path().display()), "")
    }
}

#[test]
fn values_reach_the_configuration() {
    let toml = "auth.algorithms = ['HS512', 'HS384']\nauth.leeway_secs = 300\nlog.level = 'trace'
        listen.addresses = ['0.0.0.0:80', '[::]:80', '[::]:81']";
    let config = Scene::new(toml).config();
    assert_eq!(config.auth.algorithms, [Algorithm::HS512, Algorithm::HS384]);
    assert_eq!(config.auth.leeway, Duration::from_secs(300));
    assert_eq!(config.log.level, Level::TRACE);
    let v6_only = config.listen.addresses.iter().map(|address| config.is_v6_only(address));
    assert_eq!(v6_only.collect::<Vec<_>>(), [false, true, false]);
}

#[test]
fn defaults_are_what_the_table_takes() {
    for key in KEYS {
        let shown = (key.show)(&Config::default());
        if shown != "none" {
            let scene = Scene::new(format!("{} = {shown}", key.name));
            assert_eq!(scene.config(), Config::default(), "{}", key.name);
            let line = format!("{} = {shown}  # wschat.toml:1", key.name);
            assert_eq!(scene.value(key.name), line);
        }
    }
}

#[test]
fn only_some_keys_need_a_restart() {
    let old = Config::default();
    let mut new = old.clone();
    new.server.threads = 4;
    new.page.enabled = false;
    assert_eq!(needs_restart(&old, &new), ["server.threads"]);
}

#[test]
fn secrets_in_their_order() {
    let all = |toml: &str| Scene::new(toml).credential("from systemd").variable("from env");
    let check = |scene: Scene, secret: &str, source: &str| {
        assert_eq!(scene.secret(), secret.as_bytes());
        assert_eq!(scene.value("auth.jwt_secret"), format!("auth.jwt_secret = set  # {source}"));
    };
    check(all("auth.jwt_secret = 'in the text'"), "in the text", "wschat.toml:1");
    check(all("\nauth.jwt_secret_file = 'key'"), LONG, "wschat.toml:2");
    check(all(""), "from systemd", "credential wschat.jwt_secret");
    let variable = "environment variable JWT_SECRET";
    check(Scene::new("").variable("from env\n"), "from env\n", variable);
    // A folder of credentials without the secret counts as none,
    let mut others = Scene::new("").variable("from env");
    others.outside.credentials = Some(others.folder.path().to_owned());
    check(others, "from env", variable);
    // and systemd names it by an absolute path.
    let ignored = "wschat: CREDENTIALS_DIRECTORY: warning: not an absolute path; ignored";
    for (folder, messages) in [("", &[][..]), (".", &[ignored]), ("src/../.", &[ignored])] {
        let mut relative = Scene::new("").variable(LONG);
        relative.outside.credentials = Some(folder.into());
        assert_eq!(relative.messages(), messages);
        check(relative, LONG, variable);
    }
    let open = Scene::new("");
    assert_eq!(open.config().auth.secret, None);
    assert_eq!(open.value("auth.jwt_secret"), "auth.jwt_secret = none  # default");
}

#[test]
fn a_secret_ends_before_its_newline() {
    for (content, want) in [
        ("a", "a"),
        ("a\n", "a"),
        ("a\n\n", "a\n"),
        (" a \n", " a "),
        ("a\r\n", "a"),
        ("a\r\n\r\n", "a\r\n"),
        ("a\n\r\n", "a\n"),
        ("a\r", "a\r"),
        ("\ra", "\ra"),
    ] {
        let key = Scene::new("auth.keys = [{ alg = 'HS256', secret_file = 'key' }]");
        let key = key.file("key", content).config().auth.signing_key().unwrap();
        assert_eq!(key.secret_bytes(), Some(want.as_bytes()), "{content:?}");
        let file = Scene::new("auth.jwt_secret_file = 'key'").file("key", content);
        assert_eq!(file.secret(), want.as_bytes(), "{content:?}");
        let credential = Scene::new("").credential(content);
        assert_eq!(credential.secret(), want.as_bytes(), "{content:?}");
    }
    // A path can be absolute, and a secret of any bytes.
    let scene = Scene::new("").file("key", [0, 255]);
    let path = scene.folder.path().join("key").display().to_string();
    let scene = scene.file("wschat.toml", format!("auth.jwt_secret_file = '{path}'"));
    assert_eq!(scene.secret(), [0, 255]);
    let shown = "auth.jwt_secret_file = \"key\"  # wschat.toml:1";
    assert_eq!(scene.value("auth.jwt_secret_file"), shown, "the folder is left out");
}

#[test]
fn secrets_that_are_wrong_or_weak() {
    let cases = "
auth.jwt_secret = '0123456789abcdef0123456789abcde'  > 1:19: auth.jwt_secret: warning: the secret is shorter than 32 bytes and may be guessed
auth.jwt_secret = ''  > 1:19: auth.jwt_secret: empty; leave it out
auth.jwt_secret_file = ''  > 1:24: auth.jwt_secret_file: empty; leave it out
auth.jwt_secret_file = 'weak'
> 1:24: auth.jwt_secret_file: warning: all users of this machine can read the secret; chmod o= the file
> 1:24: auth.jwt_secret_file: warning: the secret is shorter than 32 bytes and may be guessed
auth.jwt_secret_file = 'empty'  > 1:24: auth.jwt_secret_file: the secret is empty
auth.jwt_secret_file = 'hunter2'  > 1:24: auth.jwt_secret_file: the file cannot be read: No such file or directory (os error 2)
auth.jwt_secret_file = '/dev/zero'  > 1:24: auth.jwt_secret_file: the file cannot be read: not a regular file
";
    messages::check(|toml| Scene::new(toml).variable(LONG), cases);
    let text = || Scene::new(format!("auth.jwt_secret = '{LONG}'"));
    text().mode("wschat.toml", 0o640).gives(&[]);
    let open = "warning: all users of this machine can read the secret; chmod o= the file";
    text()
        .mode("wschat.toml", 0o604)
        .gives(&[&format!("wschat.toml:1:19: auth.jwt_secret: {open}")]);
    // A file without the secret itself can be readable for all users.
    Scene::new("auth.jwt_secret_file = 'key'").mode("wschat.toml", 0o644).gives(&[]);
    let short = "warning: the secret is shorter than 32 bytes and may be guessed";
    for (secret, why) in [("short", short), ("", "the secret is empty")] {
        let variable = format!("wschat: environment variable JWT_SECRET: {why}");
        Scene::new("").variable(secret).gives(&[&variable]);
        let credential = format!("wschat: credential wschat.jwt_secret: {why}");
        Scene::new("").credential(secret).variable(LONG).gives(&[&credential]);
    }
    // The daemon warns if there is no secret at all.
    Scene::new("").gives(&[]);
}

#[test]
fn descriptors_for_connections() {
    let warning = "wschat.toml:2:26: limits.connections_max: warning: 941 is more than the 1024 \
        descriptors of the process allow, which is 940 connections (LimitNOFILE= or ulimit -Hn)";
    let two = "server.threads = 2\nlimits.connections_max";
    // No warning about a default.
    for (toml, want) in
        [("", &[][..]), (&format!("{two} = 940"), &[]), (&format!("{two} = 941"), &[warning])]
    {
        let mut scene = Scene::new(toml);
        scene.outside.descriptors_max = Some(1024);
        scene.gives(want);
    }
}

#[test]
fn sources_outside_of_the_file() {
    let mut scene = Scene::new("server.threads = 2\nlisten.addresses = ['[::1]:1']");
    assert_eq!(scene.value("server.threads"), "server.threads = 2  # wschat.toml:1");
    scene.outside.threads = Some(3);
    scene.outside.listen = vec!["127.0.0.1:0".parse().unwrap()];
    assert_eq!(scene.value("server.threads"), "server.threads = 3  # --threads");
    let shown = r#"listen.addresses = ["127.0.0.1:0"]  # --listen"#;
    assert_eq!(scene.value("listen.addresses"), shown);
    assert_eq!(scene.config().server.threads, 3);
    scene.outside.listen = ["0.0.0.0:80", "127.0.0.1:80"].map(|text| text.parse().unwrap()).into();
    scene.gives(&["wschat: --listen: cannot listen at both 0.0.0.0:80 and 127.0.0.1:80"]);

    for (toml, variable, want) in [
        ("record.dir = '/a'", "/b", "\"/a\"  # wschat.toml:1"),
        ("", "/b", "\"/b\"  # environment variable LOG_DIR"),
        ("", "", "none  # default"),
    ] {
        let mut scene = Scene::new(toml);
        scene.outside.log_dir = Some(variable.into());
        assert_eq!(scene.value("record.dir"), format!("record.dir = {want}"));
    }

    let mut scene = Scene::new("");
    assert!(scene.load().unwrap().file_found);
    fs::remove_file(&scene.outside.file).unwrap();
    let loaded = scene.load().unwrap();
    assert_eq!((loaded.config, loaded.file_found), (Config::default(), false));
    scene.outside.file_required = true;
    assert!(scene.load().unwrap_err().unreadable);
    scene.gives(&["wschat: wschat.toml: No such file or directory (os error 2)"]);
}

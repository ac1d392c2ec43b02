//! `[cluster]`: servers, credentials, names.

use super::super::*;
use super::messages::check;
use super::{Scene, fs};
use crate::cluster::options::{Credentials, EngineOptions};

/// The seed of an nkey of a user, and of one of an account.
const SEED: &str = "SUAIO3FHUX5PNV2LQIIP7TZ3N4L7TX3W53MQGEIVYFIGA635OZCKEYHFLM";
const ACCOUNT: &str = "SAANWFZ3JINNPERWT3ALE45U7GYT2ZDW6GJUIVPDKUF6GKAX6AISZJMAS4";

fn authority() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.self_signed(&key).unwrap().pem()
}

fn scene(toml: &str) -> Scene {
    Scene::new(toml).file("user.nk", SEED).file("account.nk", ACCOUNT)
}

fn options(toml: &str) -> EngineOptions {
    scene(toml).config().engine_options().unwrap()
}

#[test]
fn a_single_room_has_no_engine() {
    for toml in ["", "cluster.servers = []", "[cluster]"] {
        assert_eq!(scene(toml).config().engine_options(), None);
        scene(toml).gives(&[]);
        assert_eq!(scene(toml).value("cluster.node"), "cluster.node = none  # default");
    }
    // Not even the credential is read.
    let mut scene = scene("").file("wschat.nats", "hunter2");
    scene.outside.credentials = Some(scene.folder.path().to_owned());
    scene.gives(&[]);
}

#[test]
fn what_the_engine_is_told() {
    let short = options("cluster.servers = ['nats://a']");
    assert_eq!(short.servers, ["nats://a".parse().unwrap()]);
    assert_eq!((short.stream.as_str(), short.node.as_str()), ("wschat", "host"));
    assert_eq!((short.credentials, short.tls_ca_file), (None, None));
    let limits = Config::default().limits;
    assert_eq!(short.feed_tail_bytes, limits.feed_tail_bytes);
    assert_eq!(short.message_bytes_max, limits.message_bytes_max);

    let scene = scene(
        "[cluster]\nservers = ['tls://a', 'tls://b:1']\nstream = 'lobby'\n\
         credentials_file = 'user.nk'\ntls_ca_file = 'ca.pem'\nnode = 'web1.example'\n",
    );
    let scene = scene.file("ca.pem", authority() + &authority());
    scene.load().unwrap();
    let long = scene.config().engine_options().unwrap();
    assert_eq!(long.servers, ["tls://a", "tls://b:1"].map(|url| url.parse().unwrap()));
    assert_eq!((long.stream.as_str(), long.node.as_str()), ("lobby", "web1.example"));
    assert_eq!(long.credentials, Some(Credentials::Seed(SEED.into())));
    assert_eq!(long.tls_ca_file, Some(scene.folder.path().join("ca.pem")));
    scene.gives(&[]);
}

#[test]
fn credentials_in_their_order() {
    let check = |scene: &Scene, path: &str, source: &str| {
        let want = Some(Credentials::Seed(SEED.into()));
        assert_eq!(scene.config().engine_options().unwrap().credentials, want);
        let shown = format!("cluster.credentials_file = \"{path}\"  # {source}");
        assert_eq!(scene.value("cluster.credentials_file"), shown);
    };
    let servers = "cluster.servers = ['tls://a']";
    let mut file = scene(&format!("{servers}\ncluster.credentials_file = 'user.nk'"));
    file.outside.credentials = Some(file.folder.path().to_owned());
    check(&file, "user.nk", "wschat.toml:2");
    check(&file.file("wschat.nats", ACCOUNT), "user.nk", "wschat.toml:2");
    let mut credential = scene(servers).file("wschat.nats", SEED);
    credential.outside.credentials = Some(credential.folder.path().to_owned());
    check(&credential, "wschat.nats", "credential wschat.nats");
    // A folder of credentials without this one counts as none.
    fs::remove_file(credential.folder.path().join("wschat.nats")).unwrap();
    credential.gives(&[]);
    let mut relative = scene(servers);
    relative.outside.credentials = Some(".".into());
    relative.gives(&["wschat: CREDENTIALS_DIRECTORY: warning: not an absolute path; ignored"]);
    let mut wrong = scene(servers).file("wschat.nats", "hunter2");
    wrong.outside.credentials = Some(wrong.folder.path().to_owned());
    let neither =
        "the file is neither a .creds file nor the seed of a user's nkey, which starts with SU";
    wrong.gives(&[&format!("wschat: credential wschat.nats: {neither}")]);

    // A URL can have a login of its own.
    let [one, two] = ["tls://u:p@a", "tls://b"].map(|url| url.parse().unwrap());
    let toml = "[cluster]\nservers = ['tls://u:p@a', 'tls://b']\ncredentials_file = 'user.nk'";
    assert_eq!(options(toml).servers, [one, two]);
    scene(toml).gives(&[]);
}

#[test]
fn invalid_clusters() {
    let cases = "
cluster.servers = ['http://a', 5, '']
> 1:20: cluster.servers: must start with nats:// or tls://
> 1:32: cluster.servers: expected string, found integer
> 1:35: cluster.servers: empty; leave it out
cluster.servers = 'nats://a'  > 1:19: cluster.servers: expected array, found string
[cluster]
servers = ['nats://a']
stream = 'lobby.*'
node = 'web 1'
> 3:10: cluster.stream: not the name of a stream, which is 1 to 64 letters, digits, - and _, starts with a letter or a digit, and does not start with KV_
> 4:8: cluster.node: not the name of a node, which is 1 to 64 letters, digits, -, _ and ., and starts with a letter or a digit
[cluster]
stream = 'lobby'
node = 'web1'
credentials_file = 'gone'
> 2:10: cluster.stream: warning: it has no effect without cluster.servers
> 3:8: cluster.node: warning: it has no effect without cluster.servers
> 4:20: cluster.credentials_file: warning: it has no effect without cluster.servers
[cluster]
servers = ['nats://a']
credentials_file = 'gone'
tls_ca_file = 'gone'
> 3:20: cluster.credentials_file: the file cannot be read: No such file or directory (os error 2)
> 4:15: cluster.tls_ca_file: the file cannot be read: No such file or directory (os error 2)
[cluster]
servers = ['nats://a']
credentials_file = 'account.nk'
tls_ca_file = 'user.nk'
> 3:20: cluster.credentials_file: the file is neither a .creds file nor the seed of a user's nkey, which starts with SU
> 4:15: cluster.tls_ca_file: the file has no certificate in PEM
[cluster]
servers = ['nats://u:p@a']
credentials_file = 'user.nk'
> 3:20: cluster.credentials_file: warning: it has no effect: every URL of cluster.servers has a login
cluster.server = ['nats://a']  > 1:9: cluster.server: unknown key; did you mean cluster.servers?
";
    check(scene, cases);
    let ca = |content: &str| {
        scene("cluster = { servers = ['nats://a'], tls_ca_file = 'ca.pem' }")
            .file("ca.pem", content)
    };
    ca(&authority()).gives(&[]);
    let at = "wschat.toml:1:51: cluster.tls_ca_file";
    let block = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    ca(&(authority() + block)).gives(&[&format!(
        "{at}: a certificate cannot be used: invalid peer certificate: BadEncoding"
    )]);
    let mut unnamed = scene("cluster.servers = ['nats://a']");
    unnamed.outside.host_name = "(none)".into();
    unnamed
        .gives(&["wschat: host name: not the name of a node, which is 1 to 64 letters, digits, \
        -, _ and ., and starts with a letter or a digit; set cluster.node"]);
}

#[test]
fn files_that_all_users_may_read() {
    let warning = "warning: all users of this machine can read the secret; chmod o= the file";
    let toml = "cluster.servers = ['nats://u:p@a']";
    scene(toml)
        .mode("wschat.toml", 0o644)
        .gives(&[&format!("wschat.toml:1:19: cluster.servers: {warning}")]);
    scene("cluster.servers = ['nats://a']").mode("wschat.toml", 0o644).gives(&[]);
    let toml = "cluster = { servers = ['nats://a'], credentials_file = 'user.nk' }";
    scene(toml)
        .mode("user.nk", 0o644)
        .gives(&[&format!("wschat.toml:1:56: cluster.credentials_file: {warning}")]);
}

#[test]
fn no_password_is_shown() {
    for toml in [
        "servers = ['tls://user:HUNTER2@a', 'tls://user:HUNTER2@b']",
        "servers = ['tls://HUNTER2@a']",
        "servers = ['tls://user:HUNTER2@a', 'tls://b']",
        "servers = ['tls://user:HUNTER2/x@a']",
        "servers = ['user:HUNTER2@a']",
        "servers = ['tls://user:HUNTER2@a'",
        "servers = 'tls://user:HUNTER2@a'",
        "servers = ['tls://a']\ncredentials_file = 'HUNTER2'\ntls_ca_file = 'HUNTER2'",
        "servers = ['tls://a']\ncredentials_file = 'hunter'",
        "servers = ['tls://user:HUNTER2@a']\ncredentials_file = 'user.nk'",
        "servers = ['tls://a']\nstream = 'HUNTER2!'\nnode = 'HUNTER2!'",
    ] {
        let scene = scene(&format!("[cluster]\n{toml}")).file("hunter", "HUNTER2");
        let loaded = scene.load();
        let options = loaded.as_ref().ok().and_then(|loaded| loaded.config.engine_options());
        let shown = format!("{:?}\n{loaded:?}\n{options:?}", scene.messages());
        assert!(!shown.contains("HUNTER2"), "{shown}");
    }
    let toml = "cluster = { servers = ['nats://a'], credentials_file = 'user.nk' }";
    let config = scene(toml).config();
    assert!(!format!("{config:?} {:?}", config.engine_options()).contains(SEED));
    let shown = r#"cluster.servers = ["tls://user:********@a:4222"]  # wschat.toml:1"#;
    assert_eq!(scene("cluster.servers = ['tls://user:HUNTER2@a']").value("cluster.servers"), shown);
}

#[test]
fn every_change_needs_a_restart() {
    let changed = |old: &str, new: &str| {
        let [old, new] = [old, new].map(|toml| scene(&format!("[cluster]\n{toml}")).config());
        needs_restart(&old, &new)
    };
    assert_eq!(changed("", "servers = ['tls://a']"), ["cluster.servers", "cluster.node"]);
    let named = "node = 'x'\nservers";
    // What is not shown counts too.
    let passwords = ["tls://u:p@a", "tls://u:q@a"].map(|url| format!("{named} = ['{url}']"));
    assert_eq!(changed(&passwords[0], &passwords[1]), ["cluster.servers"]);
    let old = format!("{named} = ['tls://a']");
    let stream = format!("{old}\nstream = 'lobby'");
    assert_eq!(changed(&old, &stream), ["cluster.stream"]);
    assert_eq!(changed(&stream, &stream), [""; 0]);
    let config = |seed: &str| {
        let scene = scene(&format!("[cluster]\n{old}\ncredentials_file = 'user.nk'"));
        scene.file("user.nk", seed).config()
    };
    let other = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
    assert_eq!(needs_restart(&config(SEED), &config(other)), ["cluster.credentials_file"]);
}

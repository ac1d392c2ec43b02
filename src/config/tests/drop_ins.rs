//! Drop-ins: which files are read, which value wins, and where a problem is.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;
use crate::config::problem::INCLUDE_PROBLEMS_MAX;
use crate::config::read::Draft;

/// A scene with these files in the folder of drop-ins.
fn with(toml: &str, drop_ins: &[(&str, &str)]) -> Scene {
    let scene = Scene::new(toml);
    fs::create_dir(scene.folder.path().join("wschat.d")).unwrap();
    drop_ins.iter().fold(scene, |scene, (name, text)| scene.file(&format!("wschat.d/{name}"), text))
}

impl Scene {
    /// The files that were read, without the folder.
    fn files(&self) -> Vec<String> {
        let files = self.load().unwrap().files;
        files.iter().map(|file| self.without_folder(&file.display().to_string())).collect()
    }
}

#[test]
fn later_files_replace_values_key_by_key() {
    let main = "limits = { connections_max = 1, messages_burst = 1, repeat_secs = 1 }
        listen.addresses = ['127.0.0.1:1', '127.0.0.1:2']";
    let scene = with(
        main,
        &[
            ("9.toml", "limits.messages_burst = 9"),
            ("10.toml", "limits = { messages_burst = 10 }\nlisten.addresses = ['127.0.0.1:3']"),
            ("B.toml", "[limits]\nconnections_max = 5"),
            ("a.toml", ""),
        ],
    );
    scene.load().unwrap();
    for (key, line) in [
        ("limits.connections_max", "5  # wschat.d/B.toml:2"),
        ("limits.messages_burst", "9  # wschat.d/9.toml:1"),
        ("limits.repeat_secs", "1  # wschat.toml:1"),
        ("listen.addresses", r#"["127.0.0.1:3"]  # wschat.d/10.toml:2"#),
        ("limits.messages_per_sec", "20  # default"),
    ] {
        assert_eq!(scene.value(key), format!("{key} = {line}"));
    }
    let files = ["wschat.toml", "wschat.d/10.toml", "wschat.d/9.toml", "wschat.d/B.toml"];
    assert_eq!(scene.files(), [&files[..], &["wschat.d/a.toml"]].concat());
}

#[test]
fn only_names_of_drop_ins_are_read() {
    let wrong = "this is not TOML";
    let names = [".a.toml", ".a.toml.swp", "a.toml~", "a.toml.dpkg-new", "a.toml.dpkg-old"];
    let more = ["a.toml.rpmnew", "a.toml.bak", "a.conf", "toml", "atoml", "a.TOML", "secret"];
    let ignored: Vec<_> = [&names[..], &more].concat().iter().map(|name| (*name, wrong)).collect();
    let scene = with("", &ignored);
    scene.load().unwrap();
    assert_eq!(scene.files(), ["wschat.toml"]);
    let warning = "warning: it is not read, because its name does not end with .toml";
    let expected = |name| format!("wschat: wschat.d/{name}: {warning}");
    assert_eq!(scene.messages(), ["a.TOML", "a.conf"].map(expected));
}

#[test]
fn the_folder_belongs_to_its_file() {
    for (file, folder) in [
        ("wschat.toml", "wschat.d"),
        ("wschat", "wschat.d"),
        ("wschat.conf", "wschat.conf.d"),
        ("wschat.d", "wschat.d.d"),
        ("a.toml.toml", "a.toml.d"),
    ] {
        let mut scene = Scene::new("");
        scene.outside.file = scene.folder.path().join(file);
        fs::create_dir(scene.folder.path().join(folder)).unwrap();
        let drop_in = format!("{folder}/x.toml");
        let scene = scene.file(file, "").file(&drop_in, "page.enabled = false");
        assert_eq!(scene.files(), [file.to_owned(), drop_in]);
        assert!(!scene.config().page.enabled);
    }
    // The folder can be a link.
    let scene = with("", &[]);
    let (folder, other) = (scene.folder.path().join("wschat.d"), TempDir::new().unwrap());
    fs::remove_dir(&folder).unwrap();
    symlink(other.path(), &folder).unwrap();
    fs::write(other.path().join("x.toml"), "page.enabled = false").unwrap();
    assert!(!scene.config().page.enabled);
}

#[test]
fn drop_ins_without_the_file() {
    let mut scene = with("", &[("a.toml", "page.enabled = false")]);
    fs::remove_file(&scene.outside.file).unwrap();
    let loaded = scene.load().unwrap();
    assert!(!loaded.config.page.enabled && !loaded.file_found);
    assert_eq!(scene.files(), ["wschat.d/a.toml"]);
    let missing = "wschat: wschat.toml: No such file or directory (os error 2)";
    scene.outside.file_required = true;
    assert_eq!(scene.messages(), [missing]);
    // A link to nothing is not a missing file.
    scene.outside.file_required = false;
    symlink("nothing", &scene.outside.file).unwrap();
    scene.gives(&[missing]);
}

#[test]
fn what_cannot_be_read_is_never_left_out() {
    let scene = with("", &[("c.toml", ""), ("huge.toml", &" ".repeat((1 << 20) + 1))]);
    let at = |name: &str| scene.folder.path().join("wschat.d").join(name);
    symlink("nothing", at("b.toml")).unwrap();
    symlink("/dev/null", at("d.toml")).unwrap();
    mknodat(CWD, at("fifo.toml"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    fs::create_dir(at("folder.toml")).unwrap();
    assert!(scene.load().unwrap_err().unreadable);
    scene.gives(&[
        "wschat: wschat.d/b.toml: No such file or directory (os error 2)",
        "wschat: wschat.d/d.toml: not a regular file",
        "wschat: wschat.d/fifo.toml: not a regular file",
        "wschat: wschat.d/folder.toml: not a regular file",
        "wschat: wschat.d/huge.toml: larger than 1 MiB",
    ]);
    for (name, why) in [
        ("file", "Not a directory (os error 20)"),
        ("nothing", "No such file or directory (os error 2)"),
        ("wschat.d", "Too many levels of symbolic links (os error 40)"),
    ] {
        let scene = Scene::new("").file("file", "");
        symlink(name, scene.folder.path().join("wschat.d")).unwrap();
        scene.gives(&[&format!("wschat: wschat.d: {why}")]);
    }
    let names: Vec<_> = (0..257).map(|n| n.to_string()).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    with("", &files[..256]).gives(&[]);
    with("", &files).gives(&["wschat: wschat.d: more than 256 entries"]);
}

#[test]
fn problems_are_at_their_places_in_the_order_of_the_files() {
    with(
        "auth.leeway_secs = 900\n\n\nprot = 1",
        &[
            ("1.toml", "\n\nlimits.conections_max = 1\nauth.leeway_secs = 30"),
            ("2.toml", "x"),
            ("3.toml", "page.enabled = true\npage.enabled = false"),
        ],
    )
    .gives(&[
        "wschat.toml:1:20: auth.leeway_secs: 900 is out of range, 0 to 300",
        "wschat.toml:4:1: prot: unknown key",
        "wschat.d/1.toml:3:8: limits.conections_max: unknown key; did you mean \
         limits.connections_max?",
        "wschat.d/2.toml:1:2: key with no value, expected `=`",
        "wschat.d/3.toml:2:6: page.enabled: duplicate key, first on line 1; keep one of them",
    ]);
    let scene = with("", &[("1.toml", "a = 1")]).file("wschat.d/2.toml", b"\n# \xff");
    scene.gives(&["wschat.d/1.toml:1:1: a: unknown key", "wschat.d/2.toml:2:3: not UTF-8"]);
    let many: String = (0..100).map(|n| format!("k{n} = 1\n")).collect();
    let messages = with("", &[("1.toml", &many)]).messages();
    assert_eq!(messages.len(), INCLUDE_PROBLEMS_MAX + 1);
    assert_eq!(messages[20], "wschat.d/1.toml:21:1: and 80 more mistakes from here on");
    // A name cannot begin a line.
    with("", &[("a\nb.toml", "a = 1")]).gives(&["wschat.d/a\u{fffd}b.toml:1:1: a: unknown key"]);
}

#[test]
fn contradictions_name_both_places() {
    let secret = format!("auth.jwt_secret = '{LONG}'");
    with(&secret, &[("1.toml", "\nauth.jwt_secret_file = '../key'")]).gives(&[
        "wschat.d/1.toml:2:24: auth.jwt_secret_file: jwt_secret is set too; keep one of them \
         (auth.jwt_secret: wschat.toml:1:19)",
    ]);
    with("limits.ping_interval_secs = 90", &[("1.toml", "limits.idle_timeout_secs = 70")]).gives(
        &["wschat.d/1.toml:1:28: limits.idle_timeout_secs: idle_timeout_secs, 70, must be over \
         ping_interval_secs, 90 (limits.ping_interval_secs: wschat.toml:1:29)"],
    );
    with("listen.addresses = ['[::]:80']", &[("1.toml", "metrics.address = '[::1]:80'")]).gives(&[
        "wschat.d/1.toml:1:19: metrics.address: cannot listen at both [::]:80 and [::1]:80 \
         (listen.addresses: wschat.toml:1:20)",
    ]);
    // Nothing is known about the values of a malformed file, so it contradicts nothing.
    with("limits.idle_timeout_secs = 200\nx", &[("1.toml", "limits.ping_interval_secs = 90")])
        .gives(&["wschat.toml:2:2: key with no value, expected `=`"]);
}

#[test]
fn relative_paths_start_at_the_file_that_contains_them() {
    let scene = with("", &[("1.toml", "auth.jwt_secret_file = 'own'"), ("own", LONG)]);
    assert_eq!(scene.secret(), LONG.as_bytes());
    let keys = "auth.keys = [{ alg = 'HS256', secret_file = 'own' }, { file = 'none' }]";
    with("", &[("1.toml", keys), ("own", LONG)]).gives(&[
        "wschat.d/1.toml:1:63: auth.keys.file: the file cannot be read: No such file or directory \
         (os error 2)",
    ]);
    let revoked = "auth.revoked_file = 'revoked'";
    with("", &[("1.toml", revoked), ("revoked", "revoked = 1")])
        .gives(&["wschat.d/revoked:1:1: revoked: the file is to hold only revoked = […]"]);
    // Arrays are replaced as a whole, with all their files.
    let scene = with("auth.keys = [{ file = 'none' }]", &[("1.toml", keys), ("own", LONG)]);
    let scene =
        scene.file("wschat.d/2.toml", "auth.keys = [{ alg = 'HS256', secret_file = 'own' }]");
    assert_eq!(scene.config().auth.keys.len(), 1);
}

#[test]
fn a_drop_in_with_the_secret_is_private() {
    let secret = format!("auth.jwt_secret = '{LONG}'");
    let open = "warning: all users of this machine can read the secret; chmod o= the file";
    let drop_in = || with("", &[("1.toml", &secret), ("2.toml", "")]);
    drop_in().mode("wschat.toml", 0o644).mode("wschat.d/2.toml", 0o644).gives(&[]);
    let scene = drop_in().mode("wschat.d/1.toml", 0o644);
    scene.gives(&[&format!("wschat.d/1.toml:1:19: auth.jwt_secret: {open}")]);
}

#[derive(Clone, Debug)]
struct Setting {
    file: usize,
    key: usize,
    value: u64,
}

fn setting() -> impl Strategy<Value = Setting> {
    (0..4usize, 0..4usize, 0..300u64).prop_map(|(file, key, value)| Setting { file, key, value })
}

proptest! {
    /// Several files are like one that has the last value of each key.
    #[test]
    fn files_are_like_one_with_the_last_values(settings in prop::collection::vec(setting(), 0..12)) {
        const LEAVES: [&str; 4] = ["slow_mode_secs", "resume_secs", "repeat_secs", "messages_per_sec"];
        let mut last = [const { [None; 4] }; 4];
        for Setting { file, key, value } in settings {
            last[file][key] = Some(value);
        }
        let toml = |values: &[Option<u64>; 4]| {
            let lines = values.iter().zip(LEAVES);
            lines.filter_map(|(value, leaf)| Some(format!("{leaf} = {}\n", (*value)?)))
                .fold("[limits]\n".to_owned(), |all, line| all + &line)
        };
        let mut draft = Draft::default();
        for (n, values) in last.iter().enumerate() {
            draft.read(&PathBuf::from(n.to_string()), &toml(values), 1);
        }
        let merged = std::array::from_fn(|key| last.iter().rev().find_map(|values| values[key]));
        let whole = parse(Path::new("f"), &toml(&merged)).unwrap();
        prop_assert_eq!(draft.finish().unwrap().0, whole);
    }
}

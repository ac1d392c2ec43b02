//! A lost key does not open the room.

use std::path::Path;

use super::*;
use crate::config::restriction;

/// A scene with a state directory, in which a key was in force or not.
fn with_state(toml: &str, was_restricted: bool) -> Scene {
    let mut scene = Scene::new(toml);
    let folder = scene.folder.path().join("state");
    fs::create_dir(&folder).unwrap();
    if was_restricted {
        restriction::remember(&folder).unwrap();
    }
    scene.outside.state_dir = Some(folder);
    scene
}

/// Whether everybody can send messages, nobody, or those with a token; or there is an error.
fn who_can_send(scene: &Scene) -> &'static str {
    let Ok(loaded) = scene.load() else { return "error" };
    let auth = &loaded.config.auth;
    let is_closed = auth.is_closed();
    assert_eq!(is_closed, !loaded.unusable_keys.is_empty() && auth.token_keys().is_empty());
    assert_eq!(loaded.clone().with_usable_keys().is_err(), !loaded.unusable_keys.is_empty());
    match (is_closed, auth.token_keys().is_empty()) {
        (true, _) => "nobody",
        (_, true) => "everybody",
        (_, false) => "bearers",
    }
}

#[test]
fn without_a_key_the_room_is_open_only_if_it_always_was() {
    let unreadable = "auth.jwt_secret_file = 'none'\n";
    for (toml, without, fresh, restricted) in [
        ("", "everybody", "everybody", "nobody"),
        ("auth.required = false", "everybody", "everybody", "everybody"),
        ("auth.required = true", "nobody", "nobody", "nobody"),
        ("auth.jwt_secret_file = 'key'", "bearers", "bearers", "bearers"),
        (unreadable, "error", "nobody", "nobody"),
        ("auth.jwt_secret_file = 'empty'", "error", "nobody", "nobody"),
        ("auth.keys = [{ file = 'weak' }]", "error", "nobody", "nobody"),
        ("auth.keys = [{ alg = 'HS256', secret_file = 'empty' }]", "error", "nobody", "nobody"),
        (&format!("{unreadable}auth.required = false"), "error", "error", "error"),
        (&format!("{unreadable}auth.required = true"), "nobody", "nobody", "nobody"),
        (
            "auth.keys = [{ alg = 'HS256', secret_file = 'none' }, { alg = 'HS256', secret_file = \
             'key' }]",
            "error",
            "bearers",
            "bearers",
        ),
        ("auth.jwt_secret = ''", "error", "error", "error"),
        ("auth.required = 1", "error", "error", "error"),
    ] {
        assert_eq!(who_can_send(&Scene::new(toml)), without, "without a directory: {toml}");
        assert_eq!(who_can_send(&with_state(toml, false)), fresh, "fresh: {toml}");
        assert_eq!(who_can_send(&with_state(toml, true)), restricted, "restricted: {toml}");
    }
    // The file is gone, too.
    let scene = with_state("", true);
    fs::remove_file(&scene.outside.file).unwrap();
    assert_eq!(who_can_send(&scene), "nobody");
    assert_eq!(who_can_send(&with_state("", true).credential("")), "nobody");
    assert_eq!(who_can_send(&with_state("", true).variable("")), "nobody");
    assert_eq!(who_can_send(&with_state("", true).variable(LONG)), "bearers");
}

#[test]
fn what_the_process_knows_counts_with_a_state_directory() {
    for (toml, want) in [
        ("", "nobody"),
        ("auth.required = false", "everybody"),
        ("auth.jwt_secret_file = 'key'", "bearers"),
    ] {
        let mut scene = with_state(toml, false);
        let mut loaded = scene.load().unwrap();
        loaded.restrict();
        assert_eq!(loaded.config.auth.is_closed(), want == "nobody", "{toml}");
        assert_eq!(loaded.unusable_keys.is_empty(), want != "nobody", "{toml}");
        scene.outside.was_restricted = true;
        assert_eq!(who_can_send(&scene), want, "{toml}");
        fs::remove_dir(scene.outside.state_dir.as_ref().unwrap()).unwrap();
        assert_eq!(who_can_send(&scene), want, "deleted: {toml}");
    }
    let mut scene = Scene::new("");
    scene.outside.was_restricted = true;
    assert_eq!(who_can_send(&scene), "everybody");
}

#[test]
fn a_key_in_force_is_remembered() {
    let scene = with_state("", false);
    let folder = scene.outside.state_dir.as_deref();
    scene.load().unwrap().remember_restriction(folder);
    assert_eq!(who_can_send(&scene), "everybody", "there was no key");
    let scene = scene.file("wschat.toml", "auth.jwt_secret_file = 'key'");
    let folder = scene.outside.state_dir.clone();
    for _ in 0..2 {
        let mut loaded = scene.load().unwrap();
        loaded.remember_restriction(folder.as_deref());
        assert_eq!(loaded.warnings, []);
    }
    let scene = scene.file("wschat.toml", "");
    assert_eq!(who_can_send(&scene), "nobody");
    let loaded = scene.load().unwrap();
    let text = loaded.unusable_keys[0].to_string();
    assert_eq!(loaded.why_closed(), Some(text.clone()));
    let loaded = with_state("auth.jwt_secret_file = 'none'", false).load().unwrap();
    let why = loaded.why_closed().unwrap();
    assert!(why.contains("No such file"), "{why}");
    assert!(why.ends_with("; if everybody may, remove it and set auth.required = false"));
    assert_eq!(
        text,
        "wschat: auth.required: there is no secret and no key any more, so nobody can send messages; \
         set auth.required = false if everybody may"
    );

    // A room that was closed, or whose file of this memory leads nowhere, was restricted.
    let scene = with_state("auth.required = true", false);
    scene.load().unwrap().remember_restriction(scene.outside.state_dir.as_deref());
    assert_eq!(who_can_send(&scene.file("wschat.toml", "")), "nobody");
    let scene = with_state("", false);
    let file = scene.outside.state_dir.as_ref().unwrap().join("speaking-restricted");
    std::os::unix::fs::symlink("/nonexistent", file).unwrap();
    assert_eq!(who_can_send(&scene), "nobody");

    let mut loaded = Scene::new("auth.jwt_secret_file = 'key'").load().unwrap();
    loaded.remember_restriction(Some(Path::new("/nonexistent")));
    let text = loaded.warnings[0].to_string();
    let start = "wschat: auth.required: warning: that a token is needed cannot be remembered in \
         /nonexistent: No such file";
    assert!(text.starts_with(start), "{text}");
}

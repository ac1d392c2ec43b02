use super::*;

const ROOT: Actor = Actor::operator(0);
const THERE: AddressBlock = AddressBlock([7; 16]);

fn at(secs: u64) -> Tim {
    Tim::from_nanos(secs * 1_000_000_000)
}

fn mute(target: Target, secs: Option<u32>) -> ModAction {
    ModAction::Mute { target, secs }
}

/// Applies `TIME {command}` or `TIME there SECS`, a mute of an address.
fn apply(moderation: &mut Moderation, action: &str) -> Result<bool, ModActionError> {
    let (secs, action) = action.split_once(' ').unwrap();
    let action = match action.strip_prefix("there ") {
        Some(secs) => mute(Target::Address(THERE), Some(secs.parse().unwrap())),
        None => ModAction::from_command(action).unwrap(),
    };
    moderation.apply(&action, &ROOT, at(secs.parse().unwrap()))
}

fn after(actions: &[&str]) -> Moderation {
    let mut moderation = Moderation::default();
    for action in actions {
        apply(&mut moderation, action).unwrap();
    }
    moderation
}

/// The result for `NAME`, `NAME/SUB`, `NAME@there` or `NAME*`, a moderator.
fn result(moderation: &Moderation, speaker: &str, secs: u64) -> String {
    let (speaker, address) = match speaker.strip_suffix("@there") {
        Some(speaker) => (speaker, THERE),
        None => (speaker, AddressBlock::default()),
    };
    let (usr, is_moderator) = speaker.strip_suffix('*').map_or((speaker, false), |usr| (usr, true));
    let (usr, sub) = usr.split_once('/').map_or((usr, None), |(usr, sub)| (usr, Some(sub)));
    let id = SpeakerId { usr, sub, address, is_moderator };
    let result = moderation.check(&id, at(secs));
    let is_muted = result.is_err_and(|refused| refused.refusal == Refusal::Muted);
    assert_eq!(moderation.is_muted(&id, at(secs)), is_muted);
    match result {
        Ok(()) => "ok".into(),
        Err(Refused { refusal, wait_secs: None }) => refusal.code().into(),
        Err(Refused { wait_secs: Some(secs), .. }) => secs.to_string(),
    }
}

#[track_caller]
fn check(actions: &[&str], speakers: &[(&str, u64, &str)]) {
    let moderation = after(actions);
    for (speaker, secs, want) in speakers {
        assert_eq!(result(&moderation, speaker, *secs), *want, "{speaker:?} at {secs}");
    }
}

#[test]
fn an_action_says_whether_it_changes_anything() {
    let mut moderation = Moderation::default();
    for (action, changes) in [
        (r#"1 {"unlock":true}"#, false),
        (r#"1 {"lock":true}"#, true),
        (r#"2 {"lock":true}"#, false),
        (r#"3 {"unlock":true}"#, true),
        (r#"4 {"slow":null}"#, false),
        (r#"4 {"slow":0}"#, true),
        (r#"4 {"slow":0}"#, false),
        (r#"5 {"slow":9}"#, true),
        (r#"6 {"slow":null}"#, true),
        (r#"7 {"mute":"bob"}"#, true),
        // It begins anew, in the name of another operator perhaps.
        (r#"8 {"mute":"bob"}"#, true),
        (r#"9 {"unmute":"bob"}"#, true),
        (r#"9 {"kick":"bob"}"#, true),
    ] {
        assert_eq!(apply(&mut moderation, action), Ok(changes), "{action}");
    }
}

#[test]
fn a_mute_is_for_all_names_that_look_alike_until_it_is_over() {
    check(
        &[r#"100 {"mute":"Bob","secs":60}"#],
        &[
            ("bob", 101, "59"),
            (" BOB", 101, "59"),
            ("b\u{43e}b", 101, "59"),
            ("b\u{3c3}b", 101, "59"),
            ("ann", 101, "ok"),
            ("bob", 160, "ok"),
        ],
    );
    let later = [r#"100 {"mute":"bob","secs":60}"#, r#"200 {"mute":"ann"}"#];
    assert_eq!(after(&later).mutes.len(), 1, "the old one is removed");
    check(&later, &[("ann", 1 << 33, "muted")]);
    // The newest mute of a target replaces the older one.
    let again = [r#"0 {"mute":"bob"}"#, r#"0 {"mute":"bob","secs":5}"#];
    assert_eq!(after(&again).mutes(at(1)).count(), 1);
    check(&again, &[("bob", 5, "ok")]);
    // A name of which nothing is visible looks like no other.
    check(&[r#"0 {"mute":"\u200b"}"#], &[("", 1, "ok")]);
}

#[test]
fn a_mute_is_for_exactly_one_sub_and_for_an_address() {
    check(
        &[r#"0 {"mute":"user-1"}"#, "0 there 9"],
        &[
            ("x/user-1", 1, "muted"),
            ("x/user-l", 1, "ok"),
            ("user-l", 1, "muted"),
            ("y@there", 1, "8"),
        ],
    );
    // The mute that ends last counts, also if it is of a name that looks alike.
    check(
        &[r#"0 {"mute":"user-1"}"#, r#"0 {"mute":"USER-l","secs":5}"#],
        &[
            ("x/user-1", 1, "muted"),
            ("user-1", 1, "muted"),
            ("user-l", 1, "muted"),
            ("x/USER-l", 1, "4"),
            ("x/user-l", 1, "ok"),
            ("x/user-1", 5, "muted"),
            ("user-1", 5, "muted"),
            ("user-l", 5, "muted"),
            ("x/USER-l", 5, "ok"),
        ],
    );
    check(&[r#"0 {"mute":"bob","secs":60}"#, "0 there 600"], &[("bob@there", 100, "500")]);
}

#[test]
fn an_unmute_of_a_name_keeps_the_mutes_of_other_subs() {
    for name in ["BOB", "b\u{3c3}b"] {
        let unmute = format!(r#"1 {{"unmute":"{name}"}}"#);
        assert_eq!(after(&[r#"0 {"mute":"bob"}"#, &unmute]), Moderation::default(), "{name}");
    }
    let actions = [r#"0 {"mute":"bob"}"#, r#"0 {"mute":"B0B"}"#, r#"0 {"unmute":"B0B"}"#];
    check(&actions, &[("B0B", 1, "ok"), ("x/B0B", 1, "ok"), ("x/bob", 1, "muted")]);
    let mut moderation = after(&actions);
    let targets: Vec<_> = moderation.mutes(at(1)).map(|mute| mute.target.to_string()).collect();
    assert_eq!(targets, [r#"sub "bob""#]);
    // What remains is not a mute of a name, and only its `sub` ends it.
    let not_muted = Err(ModActionError::NotMuted);
    assert_eq!(apply(&mut moderation, r#"1 {"unmute":"b0b"}"#), not_muted);
    apply(&mut moderation, r#"1 {"unmute":"bob"}"#).unwrap();
    assert_eq!(moderation, Moderation::default());
}

#[test]
fn a_sub_is_muted_as_it_is() {
    let long = format!("auth0|{}", "x".repeat(5_000));
    for sub in ["bob ", " bob", r"a\tb", r"bob\u200b", &long] {
        let mute = format!(r#"0 {{"mute":"{sub}"}}"#);
        let speaker = format!("x/{}", sub.replace(r"\t", "\t").replace(r"\u200b", "\u{200b}"));
        check(&[&mute], &[(&speaker, 1, "muted"), ("x/bob", 1, "ok")]);
        let unmute = mute.replace("mute", "unmute");
        assert_eq!(after(&[&mute, &unmute]), Moderation::default(), "{sub}");
    }
}

#[test]
fn a_lock_is_not_for_moderators_who_are_not_muted() {
    let lock = r#"0 {"lock":true}"#;
    check(&[lock], &[("bob", 0, "locked"), ("ann*", 0, "ok")]);
    check(&[lock, r#"0 {"mute":"ann","secs":1}"#], &[("ann*", 0, "1")]);
    check(&[lock, r#"1 {"unlock":true}"#], &[("bob", 1, "ok")]);
}

#[test]
fn actions_that_cannot_be_done_change_nothing() {
    let mut moderation = Moderation::default();
    let (bob, one) = (|| Target::name("bob"), Target::Connection(7));
    for (action, error) in [
        (ModAction::Unmute { target: bob() }, ModActionError::NotMuted),
        (mute(one.clone(), None), ModActionError::Connection),
        (ModAction::Unmute { target: one }, ModActionError::Connection),
    ] {
        assert_eq!(moderation.apply(&action, &ROOT, at(0)), Err(error));
    }
    assert_eq!(moderation, Moderation::default());
    for n in 0..Moderation::MUTES_MAX {
        let target = Target::Name(format!("guest {n}"));
        let key = MuteKey::of(&target).unwrap();
        let mute = Mute { target, since_secs: 0, until_secs: None, by: String::new() };
        moderation.mutes.insert(key, mute);
    }
    let full = moderation.clone();
    let too_many = Err(ModActionError::TooMany);
    assert_eq!(moderation.apply(&mute(bob(), None), &ROOT, at(0)), too_many);
    assert_eq!(moderation, full);
    apply(&mut moderation, r#"0 {"mute":"guest 5","secs":1}"#).unwrap();
}

#[test]
fn the_texts_of_mutes_are_bounded() {
    let mut moderation = Moderation::default();
    let result = (0..1_000).find_map(|n| {
        let target = Target::Name(format!("{n}{}", "x".repeat(15_000)));
        moderation.apply(&mute(target, None), &ROOT, at(0)).err()
    });
    assert_eq!(result, Some(ModActionError::TooMany));
    assert!((500..600).contains(&moderation.mutes.len()), "{}", moderation.mutes.len());
    apply(&mut moderation, r#"0 {"lock":true}"#).unwrap();
}

#[test]
fn the_stored_form_is_complete() {
    let mut moderation = after(&[
        r#"5 {"mute":"bob","secs":600}"#,
        r#"5 {"mute":"B0B"}"#,
        r#"5 {"mute":"tim"}"#,
        r#"5 {"mute":"T1M"}"#,
        r#"5 {"unmute":"tim"}"#,
        "5 there 600",
        r#"5 {"lock":true}"#,
        r#"5 {"slow":30}"#,
    ]);
    let by = Actor::Moderator { usr: "a\"nn".into(), sub: Some("u7".into()) };
    moderation.apply(&mute(Target::name("eve"), None), &by, at(5)).unwrap();
    let by: Vec<_> = moderation.mutes(at(5)).map(|mute| mute.by.as_str()).collect();
    assert!(by.contains(&"uid 0") && by.contains(&r#""a\"nn" (sub "u7")"#), "{by:?}");
    let json = serde_json::to_string(&moderation).unwrap();
    assert_eq!(serde_json::from_str::<Moderation>(&json).unwrap(), moderation);
    let bytes = postcard::to_stdvec(&moderation).unwrap();
    assert_eq!(postcard::from_bytes::<Moderation>(&bytes).unwrap(), moderation);
}

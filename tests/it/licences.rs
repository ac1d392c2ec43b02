//! `wschat licences` lists the crates of Cargo.lock. `packaging/crates check` compares all of
//! the list with the crates themselves.

use std::collections::BTreeSet;
use std::process::Command;

/// What the command prints.
fn list(name: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_wschat")).arg(name).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The crates that the list names, as `name version`.
fn crates(list: &str) -> BTreeSet<String> {
    let before_texts = list.split("\n-----").next().unwrap();
    let entries = before_texts.split("\n\n").skip(2).filter(|entry| !entry.is_empty());
    entries.map(|entry| entry.split(": ").next().unwrap().trim().to_owned()).collect()
}

#[test]
fn every_crate_has_the_version_of_cargo_lock() {
    let lock: toml::Table = include_str!("../../Cargo.lock").parse().unwrap();
    let packages = lock["package"].as_array().unwrap().iter();
    let locked: BTreeSet<String> = packages
        .map(|it| format!("{} {}", it["name"].as_str().unwrap(), it["version"].as_str().unwrap()))
        .collect();
    let listed = crates(&list("licences"));
    let unknown: Vec<_> = listed.difference(&locked).collect();
    assert!(unknown.is_empty(), "run packaging/crates update: {unknown:?}");
    let manifest: toml::Table = include_str!("../../Cargo.toml").parse().unwrap();
    for dependency in manifest["dependencies"].as_table().unwrap().keys() {
        let found = listed.iter().any(|it| it.split(' ').next() == Some(dependency));
        assert!(found, "run packaging/crates update: {dependency}");
    }
}

#[test]
fn every_text_that_a_crate_names_is_there() {
    let list = list("licences");
    let mut seen = 0;
    for line in list.lines().filter_map(|line| line.strip_prefix("    texts: ")) {
        for number in line.split(", ") {
            assert!(list.contains(&format!("- {number} -")), "{number}");
            seen += 1;
        }
    }
    assert!(seen > 200, "{seen}");
}

#[test]
fn both_spellings_print_the_list() {
    assert_eq!(list("licences"), list("licenses"));
}

//! Rules for the page's files.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

fn files() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("static");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// What a browser would transfer.
#[test]
fn the_files_are_small() {
    let compressed = |name: &str| {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("static").join(name);
        let output =
            Command::new("gzip").args(["-9", "--stdout", "--"]).arg(path).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout.len()
    };
    let total: usize = files().iter().map(|(name, _)| compressed(name)).sum();
    assert!(total <= 24 * 1024, "{total} bytes");
}

#[test]
fn there_is_no_eval_and_no_inline_code() {
    let forbidden = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "DOMParser",
        "srcdoc",
        "<style",
        "style=",
        "onclick=",
        "javascript:",
        "@import",
    ];
    for (name, text) in files() {
        for word in forbidden {
            assert!(!text.contains(word), "{name}: {word}");
        }
        assert_eq!(
            text.matches("<script").count(),
            text.matches("<script type=\"module\" src=").count()
        );
    }
}

#[test]
fn there_are_no_external_resources() {
    for (name, text) in files() {
        for (index, _) in text.match_indices("//") {
            let address = text[..index].ends_with("http:") || text[..index].ends_with("https:");
            let named = text[index..].starts_with("//www.w3.org/2000/svg");
            assert!(!address || named, "{name}: {}", &text[index..].lines().next().unwrap());
        }
    }
}

//! Rules for the page's files.

use std::fs;
use std::path::PathBuf;

use crate::harness::Daemon;

fn files() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("static");
    let entries = ["", "page"].into_iter().flat_map(|part| {
        fs::read_dir(folder.join(part)).unwrap().map(|entry| entry.unwrap().path())
    });
    entries
        .filter(|path| path.is_file())
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// What a browser transfers, and what other pages can use.
#[test]
fn the_files_are_small() {
    let daemon = Daemon::start("");
    let length = |path: &str| -> usize {
        let head = daemon
            .http(&format!("HEAD {path} HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n"));
        assert!(head.contains("\r\ncontent-encoding: gzip\r\n"), "{head}");
        let value = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        value.unwrap().parse().unwrap()
    };
    let total: usize = ["/", "/icon.svg", "/wschat.js"].map(length).iter().sum();
    assert!(total <= 24 * 1024, "{total} bytes");
}

/// What the page needs comes with it, so that it needs one request.
#[test]
fn the_page_loads_nothing_but_its_icon() {
    let daemon = Daemon::start("");
    let page = daemon.http("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let (document, script) = page.split_once("<script type=\"module\">").unwrap();
    // Others lead to a place in the page.
    assert_eq!(document.replace("href=\"#", "").matches("href=").count(), 1);
    assert!(document.contains("<link rel=\"icon\" href=\"icon.svg\">"));
    for word in [" src=", "<link rel=\"stylesheet\"", "url("] {
        assert!(!page.contains(word), "{word}");
    }
    for word in ["\nimport ", "import(", "\nexport ", "/**"] {
        assert!(!script.contains(word), "{word}");
    }
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
                + text.matches("<script src=").count()
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

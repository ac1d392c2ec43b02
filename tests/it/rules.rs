//! Rules of ARCHITECTURE.md that the compiler does not know.

use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust source file below `folder`, with its text up to its tests.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ext| ext == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap().to_owned();
            found.push((path, code));
        }
    }
    found
}

/// Lines that are neither comments nor documentation.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn pure_layers_use_no_socket_no_file_no_runtime_and_no_clock() {
    let forbidden = [
        "tokio",
        "mio::",
        "std::net",
        "std::fs",
        "Instant::now",
        "SystemTime::now",
        "Utc::now",
        "Local::now",
    ];
    for layer in ["src/chat", "src/wire", "src/feed"] {
        for (path, text) in sources(Path::new(layer)) {
            if path.components().any(|part| part.as_os_str() == "tests") {
                continue;
            }
            for line in code(&text) {
                let word = forbidden.iter().find(|word| line.contains(*word));
                assert_eq!(word, None, "{}: {line}", path.display());
            }
        }
    }
}

#[test]
fn what_the_network_sends_meets_no_unwrap_and_no_expect() {
    for layer in ["src/chat", "src/wire", "src/net", "src/control"] {
        for (path, text) in sources(Path::new(layer)) {
            if path.components().any(|part| part.as_os_str() == "tests") {
                continue;
            }
            for line in code(&text) {
                let panics = line.contains(".unwrap()") || line.contains(".expect(");
                assert!(!panics, "{}: {line}", path.display());
            }
        }
    }
}

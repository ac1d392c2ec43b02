//! ARCHITECTURE.md names only what exists, and every folder of `src`.

use std::fs;
use std::path::Path;

use crate::rules::files;

const PAGE: &str = include_str!("../../ARCHITECTURE.md");

/// What stands in `backticks` on the page, but for blocks of code.
fn terms() -> Vec<&'static str> {
    let prose = PAGE.split("```").step_by(2);
    prose.flat_map(|text| text.split('`').skip(1).step_by(2)).collect()
}

/// Whether the term looks like a path of this project.
fn is_path(term: &str) -> bool {
    let has_ending = [".rs", ".py", ".toml", ".md", ".7", ".8"].iter().any(|e| term.ends_with(e));
    !term.starts_with('/') && !term.contains(' ') && (term.ends_with('/') || has_ending)
}

#[test]
fn every_path_on_the_page_exists() {
    let paths: Vec<_> =
        terms().into_iter().filter(|term| is_path(term) && *term != "*.rs").collect();
    assert!(paths.len() > 50, "{paths:?}");
    // Some are given without the folder that the row or the sentence is about.
    let sources = files(Path::new("src"));
    for path in paths {
        let at_root = Path::new(path).exists() || Path::new("src").join(path).exists();
        let somewhere = || sources.iter().any(|source| source.ends_with(&format!("/{path}")));
        assert!(at_root || somewhere(), "{path}");
    }
}

#[test]
fn every_function_on_the_page_exists() {
    let (mut text, modules) = (String::new(), files(Path::new("src")));
    for folder in ["src", "tests"] {
        for file in files(Path::new(folder)) {
            if let Ok(more) = fs::read_to_string(file) {
                text += &more;
            }
        }
    }
    for script in ["tests/system/restart.py", "tests/system/life.py"] {
        text += &fs::read_to_string(script).unwrap().replace("def ", "fn ");
    }
    let is_name =
        |word: &str| word.bytes().all(|b| b.is_ascii_alphanumeric() || b"_:".contains(&b));
    let mut seen = 0;
    for term in terms().into_iter().filter(|term| is_name(term)) {
        let last = term.rsplit("::").next().unwrap_or(term);
        let is_function = last.contains('_') || term.contains("::");
        if is_function && last.starts_with(|c: char| c.is_ascii_lowercase()) {
            seen += 1;
            let is_lint = text.contains(&format!("clippy::{last}"));
            let is_module = modules.iter().any(|path| path.ends_with(&format!("/{last}.rs")));
            let is_function = text.contains(&format!("fn {last}"));
            assert!(is_lint || is_module || is_function, "{term}");
        } else if term.contains("::") {
            let last = format!(" {last}");
            assert!(text.contains(&last), "{term}");
        }
    }
    assert!(seen > 40, "{seen}");
}

#[test]
fn every_file_of_src_is_on_the_map() {
    let (_, map) = PAGE.split_once("## The map of `src/`").unwrap();
    let (map, _) = map.split_once("\n## ").unwrap();
    let rows: Vec<_> = map.lines().filter_map(|line| line.strip_prefix("| ")).collect();
    for file in files(Path::new("src")) {
        let path = Path::new(file.strip_prefix("src/").unwrap());
        let (folder, name) = (path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap());
        let is_plain = matches!(name, "mod.rs" | "lib.rs" | "main.rs")
            // A subcommand has the name of its file.
            || folder == Path::new("cli");
        if file.contains("/tests/") || name == "tests.rs" {
            continue;
        }
        // `load/` is described in the row of its parent.
        let folder = if folder.ends_with("load") { folder.parent().unwrap() } else { folder };
        let start = match folder.to_str().unwrap() {
            "" => "files |".to_owned(),
            folder => format!("`{folder}/` |"),
        };
        let row = rows.iter().find(|row| row.starts_with(&start));
        let row = row.unwrap_or_else(|| panic!("no row {start}"));
        assert!(is_plain || row.contains(&format!("`{name}`")), "{file} is not in {row}");
    }
}

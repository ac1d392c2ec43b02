//! Joins the files of the chat page into one response, and compresses what is served: so a
//! browser needs one request, and the daemon no time and no memory for compression.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use zopfli::{Format, Options};

/// Elements of index.html, and the files that take their place.
const STYLE: &str = "<link rel=\"stylesheet\" href=\"wschat.css\">";
const EARLY: &str = "<script src=\"page/early.js\"></script>";
const SCRIPT: &str = "<script type=\"module\" src=\"page/main.js\"></script>";

fn main() {
    println!("cargo::rerun-if-changed=static");
    let style =
        format!("<style>\n{}</style>", compact(&without_comments(&read("wschat.css")), OF_STYLE));
    let early = format!("<script>\n{}</script>", without_comments(&read("page/early.js")));
    let (mut script, mut modules) = (String::new(), Vec::new());
    append_module("page/main.js", &mut modules, &mut script);
    check_names(modules.iter().map(String::as_str).chain(["page/early.js"]));
    assert!(!script.contains("</script") && !script.contains("<!--"), "the script would end here");
    let script = compact(&script, OF_SCRIPT);
    let script = format!("<script type=\"module\">\n{script}</script>");
    let page = [(STYLE, style), (EARLY, early), (SCRIPT, script)]
        .iter()
        .fold(without_comments(&read("index.html")), |page, (element, content)| {
            replace(&page, element, content)
        });
    // The first lines have the settings of the server: they are not compressed.
    let (end, _) = page.match_indices('\n').nth(1).expect("index.html has lines");
    let (first_lines, rest) = page.split_at(end + 1);
    write("index-first-lines.html", first_lines);
    // The first comments of the module have its licence.
    let module = read("wschat.js");
    let (notice, rest_of_module) = module.split_once("\n\n").expect("wschat.js begins so");
    let module = format!("{notice}\n\n{}", without_comments(rest_of_module));
    for (name, text) in [
        ("index-rest.html", rest),
        ("wschat.js", &module),
        ("wschat.d.ts", &read("wschat.d.ts")),
        ("icon.svg", &read("icon.svg")),
    ] {
        compress(&write(name, text));
    }
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new("static").join(name))
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn write(name: &str, text: &str) -> PathBuf {
    let path = Path::new(&std::env::var_os("OUT_DIR").expect("cargo sets it")).join(name);
    fs::write(&path, text).unwrap_or_else(|error| panic!("{name}: {error}"));
    path
}

fn replace(page: &str, element: &str, content: &str) -> String {
    assert_eq!(page.matches(element).count(), 1, "index.html has not one {element}");
    page.replace(element, content)
}

/// Appends a module after those that it imports, each once. Each import is one line.
fn append_module(path: &str, done: &mut Vec<String>, script: &mut String) {
    if done.iter().any(|other| other == path) {
        return;
    }
    done.push(path.to_owned());
    let text = without_comments(&read(path));
    let (imports, own): (Vec<_>, Vec<_>) =
        text.lines().partition(|line| line.starts_with("import "));
    for line in imports {
        let module = line.rsplit('"').nth(1).expect("the import is one line");
        append_module(&resolve(path, module), done, script);
    }
    for line in own {
        script.push_str(line.strip_prefix("export ").unwrap_or(line));
        script.push('\n');
    }
}

/// All modules share one scope. A name that two of them declare would stop the page.
fn check_names<'a>(paths: impl Iterator<Item = &'a str>) {
    let mut declared: HashMap<String, &str> = HashMap::new();
    for path in paths {
        for line in read(path).lines() {
            let line = line.strip_prefix("export ").unwrap_or(line);
            let line = line.strip_prefix("async ").unwrap_or(line);
            let kinds = ["const ", "let ", "function ", "class "];
            let Some(rest) = kinds.iter().find_map(|kind| line.strip_prefix(kind)) else {
                continue;
            };
            let names = rest.split(['=', '(']).next().unwrap_or(rest);
            for name in names.trim_matches(['{', '}', '[', ']', ';', ' ']).split(',') {
                let name = name.rsplit(':').next().and_then(|name| name.split_whitespace().next());
                let Some(name) = name else { continue };
                if let Some(other) = declared.insert(name.to_owned(), path) {
                    panic!("{path} and {other} both declare {name}");
                }
            }
        }
    }
}

/// The path in `static/` of a module that the module of this path imports.
fn resolve(importer: &str, module: &str) -> String {
    let (folder, _) = importer.rsplit_once('/').unwrap_or_default();
    match module.strip_prefix("../") {
        Some(above) => above.to_owned(),
        None => format!("{folder}/{}", module.trim_start_matches("./")),
    }
}

/// The text without empty lines and without comments that have lines of their own.
fn without_comments(text: &str) -> String {
    let mut is_comment = false;
    let mut rest = String::new();
    for line in text.lines() {
        let start = line.trim_start();
        is_comment |= start.starts_with("/*");
        if !is_comment && !start.starts_with("//") && !start.is_empty() {
            rest.push_str(start);
            rest.push('\n');
        }
        is_comment &= !line.trim_end().ends_with("*/");
    }
    rest
}

/// White space of a style sheet that means nothing; no string in it has these.
const OF_STYLE: &[(&str, &str)] = &[
    ("\n", ""),
    (" { ", "{"),
    (" {", "{"),
    ("; }", "}"),
    (";}", "}"),
    ("; ", ";"),
    (", ", ","),
    (": ", ":"),
];

/// Ends of lines of a script that mean nothing; no string and no comment in it ends so.
const OF_SCRIPT: &[(&str, &str)] = &[(";\n}", "}"), ("{\n", "{"), (",\n", ",")];

/// The text with the short forms of these.
fn compact(text: &str, pairs: &[(&str, &str)]) -> String {
    pairs.iter().fold(text.to_owned(), |text, (long, short)| text.replace(long, short))
}

/// Writes the file once more, compressed, with `.gz` at the end of its name.
fn compress(path: &Path) {
    let mut compressed = Vec::new();
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    zopfli::compress(Options::default(), Format::Gzip, text.as_slice(), &mut compressed)
        .expect("memory can be written");
    let name = format!("{}.gz", path.display());
    fs::write(&name, compressed).unwrap_or_else(|error| panic!("{name}: {error}"));
}

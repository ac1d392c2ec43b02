//! No two files of `src` import each other.
//!
//! A name that a module only passes on (`pub use`) counts as an import of the file that
//! defines it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use crate::rules::sources;

/// One file of `src`.
struct Module {
    file: String,
    /// The words of the code without `use` items.
    words: Vec<String>,
    defines: HashSet<String>,
    imports: Vec<Import>,
}

/// One name of a `use` item; `*` for all names of a module.
struct Import {
    name: String,
    path: Vec<String>,
    is_public: bool,
}

/// All modules by their path: `["ws", "frame"]`.
struct Modules(BTreeMap<Vec<String>, Module>);

impl Modules {
    fn new(files: Vec<(String, Vec<String>)>) -> Self {
        Self(
            files
                .into_iter()
                .map(|(file, words)| (module_path(&file), parse(file, words)))
                .collect(),
        )
    }

    /// The file that defines what `path` names in the module `at`; `None` if it names a
    /// module, a local name, or something of another crate.
    fn resolve(&self, at: &[String], path: &[String], depth: usize) -> Option<&str> {
        let (head, rest) = path.split_first()?;
        match head.as_str() {
            "crate" => return self.resolve(&[], rest, depth),
            "self" => return self.resolve(at, rest, depth),
            "super" => return self.resolve(at.split_last()?.1, rest, depth),
            _ => {}
        }
        let child = [at, &path[..1]].concat();
        if self.0.contains_key(&child) {
            return self.resolve(&child, rest, depth);
        }
        let module = self.0.get(at)?;
        if module.defines.contains(head) {
            return Some(&module.file);
        }
        // Modules may import names from each other in a circle.
        let depth = depth.checked_sub(1)?;
        module.imports.iter().find_map(|import| match import.name.as_str() {
            "*" => self.resolve(at, &[&import.path, path].concat(), depth),
            name if name == head => self.resolve(at, &[&import.path, rest].concat(), depth),
            _ => None,
        })
    }

    /// Which files the module at `path` imports.
    fn imported(&self, path: &[String]) -> BTreeSet<&str> {
        let module = &self.0[path];
        let mut names: Vec<Vec<String>> = Vec::new();
        for import in module.imports.iter().filter(|import| !import.is_public) {
            names.push(import.path.clone());
        }
        let mut at = 0;
        while at < module.words.len() {
            let name = path_at(&module.words[at..]);
            let is_member = at > 0 && module.words[at - 1] == ".";
            at += (3 * name.len()).saturating_sub(2).max(1);
            if !is_member {
                names.push(name);
            }
        }
        let files = names.iter().filter_map(|name| self.resolve(path, name, 8));
        files.filter(|file| *file != module.file).collect()
    }

    /// The pairs of files that import each other.
    fn pairs(&self) -> BTreeSet<(&str, &str)> {
        let imports: BTreeMap<&str, BTreeSet<&str>> =
            self.0.iter().map(|(path, module)| (&*module.file, self.imported(path))).collect();
        let all = imports.iter().flat_map(|(a, files)| files.iter().map(|b| (*a, *b)));
        all.filter(|(a, b)| a < b && imports[b].contains(a)).collect()
    }
}

/// `src/ws/mod.rs` is the module `ws`.
fn module_path(file: &str) -> Vec<String> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let path = path.trim_end_matches("mod").trim_end_matches('/');
    match path {
        "lib" => Vec::new(),
        path => path.split('/').map(str::to_owned).collect(),
    }
}

fn parse(file: String, words: Vec<String>) -> Module {
    let mut module =
        Module { file, words: Vec::new(), defines: HashSet::new(), imports: Vec::new() };
    let mut rest = &words[..];
    let mut is_public = false;
    while let Some((word, behind)) = rest.split_first() {
        rest = behind;
        match (word.as_str(), behind) {
            // `impl Trait + use<'_>` is no item.
            ("use", [next, ..]) if next != "<" => {
                let end = rest.iter().position(|word| word == ";").unwrap_or(rest.len());
                add_imports(&[], &rest[..end], is_public, &mut module.imports);
                rest = &rest[end..];
            }
            ("mod", [_, next, ..]) if next == ";" => rest = &rest[1..],
            (
                "fn" | "struct" | "enum" | "trait" | "const" | "static" | "type" | "union" | "mod",
                [name, ..],
            ) => {
                module.defines.insert(name.clone());
            }
            _ => module.words.push(word.clone()),
        }
        // `pub(crate)` is public here.
        is_public =
            word == "pub" || is_public && matches!(&**word, "(" | ")" | "crate" | "super" | "in");
    }
    module
}

/// The imports of a `use` tree.
fn add_imports(prefix: &[String], tree: &[String], is_public: bool, imports: &mut Vec<Import>) {
    let path = path_at(tree);
    let rest = &tree[(3 * path.len()).saturating_sub(2)..];
    let mut full = [prefix, &path].concat();
    let rest = rest.strip_prefix(&[":", ":"].map(String::from)[..]).unwrap_or(rest);
    match rest.first().map(String::as_str) {
        Some("{") => {
            let mut depth = 0;
            let is_comma = |word: &String| {
                depth += i32::from(word == "{") - i32::from(word == "}");
                word == "," && depth == 0
            };
            for part in rest[1..rest.len() - 1].split(is_comma) {
                add_imports(&full, part, is_public, imports);
            }
        }
        Some("*") => imports.push(Import { name: "*".into(), path: full, is_public }),
        renamed => {
            full.pop_if(|name| name == "self");
            let name = renamed.and(rest.get(1)).or(full.last()).cloned().unwrap_or_default();
            imports.push(Import { name, path: full, is_public });
        }
    }
}

/// The names at the beginning of `words` that `::` joins.
fn path_at(words: &[String]) -> Vec<String> {
    let is_name = |word: &String| word.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let mut path = Vec::new();
    let mut rest = words;
    while let Some((name, behind)) = rest.split_first().filter(|(name, _)| is_name(name)) {
        path.push(name.clone());
        match behind {
            [a, b, next, ..] if a == ":" && b == ":" && is_name(next) => rest = &behind[2..],
            _ => break,
        }
    }
    path
}

#[test]
fn no_two_files_import_each_other() {
    let modules = Modules::new(sources(Path::new("src")));
    let pairs = modules.pairs();
    assert!(pairs.is_empty(), "these files import each other: {pairs:#?}");
}

#[test]
fn imports_are_found_through_every_kind_of_path() {
    let modules = |b: &str| {
        let files = [
            ("src/lib.rs", "mod a; mod b; mod c;"),
            ("src/a/mod.rs", "mod inner; pub use inner::{Inner, f as g}; pub use crate::c::*;"),
            ("src/a/inner.rs", "use crate::b::B; pub struct Inner; pub fn f() {}"),
            ("src/b.rs", b),
            ("src/c.rs", "use crate::b::B; pub struct C;"),
        ];
        let files = files.map(|(file, text)| (file.to_owned(), crate::rules::code(text)));
        let modules = Modules::new(files.into());
        modules.pairs().into_iter().map(|(a, b)| format!("{a} {b}")).collect::<Vec<_>>().join(", ")
    };
    let inner = "src/a/inner.rs src/b.rs";
    for (b, want) in [
        ("pub struct B;", ""),
        ("pub struct B; use crate::a::Inner;", inner),
        ("pub struct B; use super::a::{g, Other};", inner),
        ("pub struct B; use crate::a::{inner::{self, x}, y};", ""),
        ("pub struct B; use crate::a::inner; fn h() { inner::f() }", inner),
        ("pub struct B; use crate::a as z; fn h() { m!(z::inner::f) }", inner),
        ("pub struct B; fn h() { x.g(crate::a::g()) }", inner),
        ("pub struct B; pub use crate::a::Inner;", ""),
        ("pub struct B; pub(crate) use crate::a::Inner; fn h(inner: Inner) {}", inner),
        ("pub struct B; use crate::a::C;", "src/b.rs src/c.rs"),
        ("pub struct B; use crate::a::*; fn h() -> C { C }", "src/b.rs src/c.rs"),
        ("pub struct B; #[cfg(test)] mod tests { use crate::a::Inner; }", ""),
    ] {
        assert_eq!(modules(b), want, "{b}");
    }
}

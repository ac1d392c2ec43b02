//! wschat(8) and the completions contain every command and every option; wschat(8) explains
//! every problem that the daemon logs.

use std::path::Path;
use std::process::Command;

use clap::CommandFactory;
use wschat::cli::Cli;

use crate::rules::sources;

const MANUAL: &str = include_str!("../../man/wschat.8");

/// The commands that are not for packagers only, with their long options.
fn commands() -> Vec<(String, Vec<String>)> {
    let definition = Cli::command();
    let visible = definition.get_subcommands().filter(|command| !command.is_hide_set());
    visible.flat_map(|command| with_subcommands("", command)).collect()
}

/// A command, or the subcommands that it has, each with its full name.
fn with_subcommands(parent: &str, command: &clap::Command) -> Vec<(String, Vec<String>)> {
    let name = format!("{parent}{}", command.get_name());
    if command.has_subcommands() {
        let parent = format!("{name} ");
        return command.get_subcommands().flat_map(|it| with_subcommands(&parent, it)).collect();
    }
    let options = command.get_arguments().filter_map(|option| option.get_long());
    vec![(name, options.map(str::to_owned).collect())]
}

/// The manual's words on one command: from its entry in the list of commands
/// to the next one.
fn entry(name: &str) -> Option<&'static str> {
    let list = MANUAL.split_once("The commands are as follows.\n")?.1.split_once("\n.Sh ")?.0;
    let start = list.find(&format!(".It Cm {name}"))?;
    let rest = &list[start..];
    Some(rest.find("\n.It Cm ").map_or(rest, |end| &rest[..end]))
}

#[test]
fn the_manual_documents_every_command_and_option() {
    for (command, options) in commands() {
        let entry = entry(&command).unwrap_or_else(|| panic!("no entry for {command}"));
        for option in options {
            assert!(entry.contains(&format!("Fl -{option}")), "{command} --{option}");
        }
    }
}

/// What the completions of one shell have for one command.
fn completions<'a>(text: &'a str, shell: &str, command: &str) -> String {
    let between = |start: &str, end: &str| -> &'a str {
        let rest = text.split_once(start).map_or("", |(_, rest)| rest);
        rest.split(end).next().unwrap_or_default()
    };
    match shell {
        "bash" => {
            let command = command.replace(' ', "__subcmd__");
            between(&format!("\n        wschat__subcmd__{command})\n"), "\n            if ").into()
        }
        "zsh" => {
            let command = command.rsplit(' ').next().unwrap_or_default();
            between(&format!("({command})\n_arguments"), "\n;;\n").into()
        }
        _ => {
            let command = command.replace(' ', "; and __fish_seen_subcommand_from ");
            let of = format!("__fish_wschat_using_subcommand {command}\"");
            text.lines().filter(|line| line.contains(&of)).collect::<Vec<_>>().join("\n")
        }
    }
}

#[test]
fn completions_have_every_command_and_option() {
    for shell in ["bash", "zsh", "fish"] {
        let program = env!("CARGO_BIN_EXE_wschat");
        let output = Command::new(program).args(["completions", shell]).output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        for (command, options) in commands() {
            let words = completions(&text, shell, &command);
            // Nothing follows the name of an option that could go on with it.
            let words: Vec<_> = words.split(|c: char| c != '-' && !c.is_alphanumeric()).collect();
            for option in options.into_iter().chain(["help".into()]) {
                let has = match shell {
                    "fish" => words.windows(2).any(|pair| pair == ["-l", &*option]),
                    _ => words.contains(&&*format!("--{option}")),
                };
                assert!(has, "{shell}: {command} --{option}");
            }
        }
    }
}

/// The parts of the text of a log line that do not differ: between the values.
fn fixed_parts(literal: &str) -> Vec<String> {
    let lines = literal.trim_matches('"').split("\\\n").enumerate();
    let text: String =
        lines.map(|(number, line)| if number > 0 { line.trim_start() } else { line }).collect();
    let outside = text.split('{').enumerate().map(|(number, part)| match number {
        0 => part,
        _ => part.split_once('}').map_or("", |(_, after)| after),
    });
    outside.map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// The texts of the lines with level warning or error that `words` log: the last literal of a
/// call that is no value of a field.
fn problems(words: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, start) in words.windows(3).enumerate() {
        if !matches!(start[0].as_str(), "warn" | "error") || start[1] != "!" || start[2] != "(" {
            continue;
        }
        let (mut depth, mut text) = (0, None);
        for (index, word) in words.iter().enumerate().skip(at + 2) {
            depth += match word.as_str() {
                "(" | "{" | "[" => 1,
                ")" | "}" | "]" => -1,
                _ => 0,
            };
            if depth == 0 {
                break;
            }
            if depth == 1 && word.starts_with('"') && matches!(words[index - 1].as_str(), "(" | ",")
            {
                text = Some(word);
            }
        }
        found.extend(text.cloned());
    }
    found
}

fn has_parts(entry: &str, parts: &[String]) -> bool {
    let rest = parts.iter().try_fold(entry, |rest, part| rest.split_once(&**part).map(|it| it.1));
    rest.is_some()
}

#[test]
fn the_manual_explains_every_problem_in_the_log() {
    let section = MANUAL.split_once(".Sh TROUBLESHOOTING\n").unwrap().1;
    let section = section.split_once("\n.Ss Start\n").unwrap().0;
    let entries =
        section.lines().filter_map(|line| line.strip_prefix(".It Sy \"")?.strip_suffix('"'));
    // The first one is about all problems of the configuration, which have texts of their own.
    let mut unused: Vec<_> = entries.clone().skip(1).collect();
    let mut missing = Vec::new();
    for (path, words) in sources(Path::new("src")) {
        // Programs have no log.
        if path.contains("/bench/") || path.contains("/client/") {
            continue;
        }
        for problem in problems(&words) {
            let parts = fixed_parts(&problem);
            let is_explained = |entry: &&str| has_parts(entry, &parts);
            if !parts.is_empty() && !entries.clone().any(|entry| is_explained(&entry)) {
                missing.push(format!("{path}: {problem}"));
            }
            unused.retain(|entry| parts.is_empty() || !is_explained(entry));
        }
    }
    assert!(missing.is_empty(), "not in wschat(8), TROUBLESHOOTING:\n{}", missing.join("\n"));
    assert!(unused.is_empty(), "logged nowhere: {unused:#?}");
}

#[test]
fn texts_of_log_lines_are_found_in_code() {
    let text = r#"
        fn f() {
            warn!(%dir, why = "not this", "cannot write \
                   in {dir}: {error}; it goes on");
            error!(%error, "{what} of {}", call("nor this"));
            info!("no problem");
        }
    "#;
    let found: Vec<_> =
        problems(&crate::rules::code(text)).iter().map(|it| fixed_parts(it)).collect();
    assert_eq!(found, [vec!["cannot write in", ":", "; it goes on"], vec!["of"]]);
    assert!(has_parts("cannot write in DIR: ERROR; it goes on", &found[0]));
    assert!(!has_parts("cannot write in DIR: ERROR", &found[0]));
}

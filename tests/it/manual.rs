//! wschat(8) and the completions contain every command and every option.

use std::process::Command;

use clap::CommandFactory;
use wschat::cli::Cli;

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

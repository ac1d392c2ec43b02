//! The parts of the files of a unit that a copy of it needs (systemd.syntax(7)).

/// Assignments that tie a unit to others.
const LEFT_OUT: &[&str] = &["Sockets", "BusName", "PIDFile", "FailureAction", "SuccessAction"];

/// Lines of a unit and of its drop-ins.
#[derive(Debug, Default)]
pub struct Sections {
    /// The conditions and assertions, one on each line.
    pub conditions: String,
    /// The sections `[Service]`.
    pub service: String,
    /// The last value of `ExecStart=` that is not empty.
    exec_start: Option<String>,
}

/// The command of a unit, as its file has it.
#[derive(Debug, PartialEq, Eq)]
pub struct ExecStart<'a> {
    /// `:` and `+` and the like, which decide how systemd runs it.
    pub prefix: String,
    /// What follows the program and `serve`.
    pub options: &'a str,
}

impl Sections {
    /// Adds a file, after those that systemd has read before.
    pub fn add(&mut self, text: &str) {
        let mut section = String::new();
        let mut assignment = String::new();
        for line in text.trim_start_matches('\u{feff}').lines() {
            let line = line.trim();
            if line.starts_with(['#', ';']) || (assignment.is_empty() && line.is_empty()) {
                // A comment between the lines of a value does not end it.
                continue;
            }
            if assignment.is_empty() && line.starts_with('[') {
                line.clone_into(&mut section);
                continue;
            }
            match line.strip_suffix('\\') {
                Some(begin) => assignment += &format!("{begin} "),
                None => {
                    assignment += line;
                    self.assign(&section, &assignment);
                    assignment.clear();
                }
            }
        }
        if !assignment.is_empty() {
            self.assign(&section, &assignment);
        }
    }

    fn assign(&mut self, section: &str, assignment: &str) {
        let (key, value) = assignment.split_once('=').unwrap_or((assignment, ""));
        let (key, value) = (key.trim(), value.trim());
        match section {
            "[Unit]" if key.starts_with("Condition") || key.starts_with("Assert") => {
                self.conditions += &format!("{key}={value}\n");
            }
            "[Service]" if !LEFT_OUT.contains(&key) => {
                if key == "ExecStart" && !value.is_empty() {
                    self.exec_start = Some(value.to_owned());
                }
                self.service += &format!("{key}={value}\n");
            }
            _ => {}
        }
    }

    /// The command.
    pub fn exec_start(&self) -> Option<ExecStart<'_>> {
        let command = self.exec_start.as_deref()?;
        let rest = command.trim_start_matches(['@', '-', ':', '+', '!']);
        let prefix = command.strip_suffix(rest)?;
        let mut options = after_word(rest);
        if prefix.contains('@') {
            // The name under which the program runs.
            options = after_word(options);
        }
        let options = options.strip_prefix("serve").unwrap_or(options).trim_start();
        let prefix = prefix.replace(['@', '-'], "");
        Some(ExecStart { prefix, options })
    }
}

/// What follows the first word of `text`.
fn after_word(text: &str) -> &str {
    text.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sections(files: &[&str]) -> Sections {
        let mut sections = Sections::default();
        files.iter().for_each(|text| sections.add(text));
        sections
    }

    #[test]
    fn only_what_a_copy_needs_is_taken() {
        let text = "[Unit]\nRequires=a\nConditionPathExists = /a\n[Service]\nUser=a\n# a comment\n\
             Environment=A=1 \\\n# b\n[Unit] B=2\nSockets=a.socket\nPIDFile = \\\n/run/a\nGroup=b\n\
             [Install]\nAlias=c\n";
        let got = sections(&[text]);
        assert_eq!(got.service, "User=a\nEnvironment=A=1  [Unit] B=2\nGroup=b\n");
        assert_eq!(got.conditions, "ConditionPathExists=/a\n");
        assert_eq!(sections(&["[Service]\nUser=a"]).service, "User=a\n");
        assert_eq!(sections(&["\u{feff}[Service]\r\nUser=a \\ \r\n b"]).service, "User=a  b\n");
    }

    #[test]
    fn options_of_the_command() {
        #[track_caller]
        fn check(line: &str, prefix: &str, options: &str) {
            let got =
                sections(&["[Service]\nExecStart=/bin/a x\n", &format!("[Service]\n{line}\n")]);
            let got = got.exec_start().unwrap();
            assert_eq!((got.prefix.as_str(), got.options), (prefix, options), "{line}");
        }
        check("ExecStart=\nExecStart=/usr/bin/wschat serve", "", "");
        check("ExecStart=/usr/bin/wschat", "", "");
        check("ExecStart=-:wschat serve $A --config \"/a b\"", ":", "$A --config \"/a b\"");
        check("ExecStart=@/usr/bin/wschat chat serve \\\n --threads 1", "", "--threads 1");
        check("ExecStart=\n", "", "x");
        assert_eq!(sections(&["[Service]\n"]).exec_start(), None);
    }
}

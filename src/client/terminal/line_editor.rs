//! The line editor: keys and pasted text in, complete lines out.

use std::collections::VecDeque;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use rustyline::line_buffer::{ChangeListener, DeleteListener, Direction, LineBuffer};
use rustyline::{At, Movement, Word};

/// The most bytes that can be typed; no room accepts longer messages.
const TEXT_BYTES_MAX: usize = 64 * 1024;
const HISTORY_MAX: usize = 500;
/// The longest name that is completed, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// The text that is being typed, its cursor and the history.
pub struct LineEditor {
    text: LineBuffer,
    history: VecDeque<String>,
    /// The index of the history line that is shown; the length of the history if
    /// none is.
    history_index: usize,
    /// The text before a history line was shown.
    draft: String,
    /// The text that Ctrl-Y inserts.
    killed: Deleted,
    /// What the last key has completed, if it was Tab.
    completion: Option<Completion>,
}

/// A word that was completed: its place in the text, and what it can be.
struct Completion {
    start: usize,
    end: usize,
    names: Vec<String>,
    /// The one that is shown.
    index: usize,
}

impl Default for LineEditor {
    fn default() -> Self {
        Self {
            text: LineBuffer::with_capacity(TEXT_BYTES_MAX),
            history: VecDeque::new(),
            history_index: 0,
            draft: String::new(),
            killed: Deleted::default(),
            completion: None,
        }
    }
}

impl LineEditor {
    pub fn text(&self) -> &str {
        self.text.as_str()
    }

    /// The position of the cursor in the text, in bytes.
    pub fn cursor(&self) -> usize {
        self.text.pos()
    }

    /// Shows a text that was not sent, unless the user has typed another one.
    pub fn restore(&mut self, text: &str) {
        if self.text.is_empty() {
            self.replace(text);
        }
    }

    /// Removes a text that was sent after all, unless the user has changed it.
    pub fn withdraw(&mut self, text: &str) {
        if self.text.as_str() == text {
            self.replace("");
        }
    }

    /// Completes the beginning of a name before the cursor with the first of `names` that begins so,
    /// in any case, or with the next one if it was completed before.
    pub fn complete(&mut self, names: &[String]) {
        let again = self.completion.take().map(|it| Completion { index: it.index + 1, ..it });
        let Some(completion) = again.or_else(|| self.find_completion(names)) else { return };
        let Completion { start, end, names, index } = completion;
        let Some(name) = names.get(index % names.len().max(1)) else { return };
        let (before, after) = (&self.text()[..start], &self.text()[end..]);
        let blank = if after.starts_with(' ') { "" } else { " " };
        let text = format!("{before}{name}{blank}{after}");
        let end = start + name.len() + blank.len();
        self.text.update(&text, end, &mut Deleted::default());
        self.completion = Some(Completion { start, end, index, names });
    }

    /// The longest text before the cursor with which a name begins.
    fn find_completion(&self, names: &[String]) -> Option<Completion> {
        let end = self.cursor();
        let head = &self.text()[..end];
        let is_start = |at: &usize| {
            let before = head[..*at].chars().next_back();
            before.is_none_or(|c| c.is_whitespace() || c == '@')
        };
        let starts = head.char_indices().map(|(at, _)| at).chain([end]).filter(is_start);
        // No name is longer.
        starts.filter(|start| end - start <= NAME_BYTES_MAX).find_map(|start| {
            let prefix = head[start..].to_lowercase();
            let begins = |name: &&String| name.to_lowercase().starts_with(&prefix);
            let names: Vec<_> = names.iter().filter(begins).cloned().collect();
            (!names.is_empty()).then_some(Completion { start, end, names, index: 0 })
        })
    }

    /// Inserts pasted text. Line ends in it do not send it.
    pub fn paste(&mut self, text: &str) {
        self.completion = None;
        let text = text.replace("\r\n", "\n").replace('\r', "\n").replace('\t', "    ");
        let text: String = text.chars().filter(|c| *c == '\n' || !c.is_control()).collect();
        // A copied line includes its line end.
        self.text.yank(text.trim_end_matches('\n'), 1, &mut Deleted::default());
    }

    /// Handles a key like readline(3). Returns the line that the key completes.
    pub fn key(&mut self, key: KeyEvent) -> Option<String> {
        use KeyCode::*;
        self.completion = None;
        let [ctrl, alt, shift] = [KeyModifiers::CONTROL, KeyModifiers::ALT, KeyModifiers::SHIFT]
            .map(|modifier| key.modifiers.contains(modifier));
        let modifier = match (ctrl, alt) {
            (true, _) => "ctrl",
            (false, true) => "alt",
            (false, false) => "",
        };
        let ignored = &mut Deleted::default();
        match (modifier, key.code) {
            ("", Char(c)) => drop(self.text.insert(c, 1, ignored)),
            (_, Enter) if alt || shift => drop(self.text.insert('\n', 1, ignored)),
            ("ctrl", Char('j' | 'm')) | (_, Enter) => return Some(self.submit()),
            ("ctrl", Char('c')) => self.replace(""),
            ("alt", Char('b')) | ("ctrl" | "alt", Left) => {
                self.text.move_to_prev_word(Word::Emacs, 1);
            }
            ("alt", Char('f')) | ("ctrl" | "alt", Right) => {
                self.text.move_to_next_word(At::AfterEnd, Word::Emacs, 1);
            }
            ("ctrl", Char('b')) | (_, Left) => drop(self.text.move_backward(1)),
            ("ctrl", Char('f')) | (_, Right) => drop(self.text.move_forward(1)),
            ("ctrl", Char('a')) | (_, Home) => drop(self.text.move_home()),
            ("ctrl", Char('e')) | (_, End) => drop(self.text.move_end()),
            ("ctrl", Char('p')) | (_, Up) => self.show(self.history_index.wrapping_sub(1)),
            ("ctrl", Char('n')) | (_, Down) => self.show(self.history_index + 1),
            ("ctrl" | "alt", Backspace) => self.kill(Movement::BackwardWord(1, Word::Emacs)),
            ("ctrl", Char('h')) | (_, Backspace) => drop(self.text.backspace(1, ignored)),
            ("ctrl", Char('d')) | (_, Delete) => drop(self.text.delete(1, ignored)),
            ("alt", Char('d')) => self.kill(Movement::ForwardWord(1, At::AfterEnd, Word::Emacs)),
            ("ctrl", Char('k')) => self.kill(Movement::EndOfLine),
            ("ctrl", Char('u')) => self.kill(Movement::BeginningOfLine),
            ("ctrl", Char('w')) => self.kill(Movement::BackwardWord(1, Word::Big)),
            ("ctrl", Char('y')) => drop(self.text.yank(&self.killed.0, 1, ignored)),
            ("ctrl", Char('t')) => drop(self.text.transpose_chars(ignored)),
            _ => {}
        }
        None
    }

    fn submit(&mut self) -> String {
        let line = self.text().to_owned();
        if !line.trim().is_empty() && self.history.back() != Some(&line) {
            self.history.push_back(line.clone());
            self.history.drain(..self.history.len().saturating_sub(HISTORY_MAX));
        }
        self.replace("");
        self.history_index = self.history.len();
        line
    }

    fn kill(&mut self, movement: Movement) {
        let mut killed = Deleted::default();
        if self.text.kill(&movement, &mut killed) {
            self.killed = killed;
        }
    }

    /// Shows a line of the history or, after the last one, the draft.
    fn show(&mut self, index: usize) {
        if self.history_index == self.history.len() {
            self.draft = self.text().to_owned();
        }
        let line = self.history.iter().chain([&self.draft]).nth(index).cloned();
        if let Some(line) = line {
            self.history_index = index;
            self.replace(&line);
        }
    }

    fn replace(&mut self, text: &str) {
        self.completion = None;
        self.text.update(text, text.len(), &mut Deleted::default());
    }
}

/// The deleted text. [`LineBuffer`] requires a listener for every change; most are
/// ignored.
#[derive(Default)]
struct Deleted(String);

impl DeleteListener for Deleted {
    fn delete(&mut self, _: usize, text: &str, _: Direction) {
        self.0 = text.to_owned();
    }
}

impl ChangeListener for Deleted {
    fn insert_char(&mut self, _: usize, _: char) {}
    fn insert_str(&mut self, _: usize, _: &str) {}
    fn replace(&mut self, _: usize, _: &str, _: &str) {}
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Types keys, each written as itself or as a name: `<left>`, `<^a>`.
    fn typed(keys: &str) -> (LineEditor, Vec<String>) {
        let mut editor = LineEditor::default();
        let mut lines = vec![];
        let mut rest = keys;
        while let Some(c) = rest.chars().next() {
            let name = rest.strip_prefix('<').and_then(|rest| rest.split_once('>'));
            rest = name.map_or(&rest[c.len_utf8()..], |(_, after)| after);
            let (code, modifiers) = match name.map(|(name, _)| name) {
                None => (KeyCode::Char(c), KeyModifiers::NONE),
                Some("enter") => (KeyCode::Enter, KeyModifiers::NONE),
                Some("newline") => (KeyCode::Enter, KeyModifiers::ALT),
                Some("left") => (KeyCode::Left, KeyModifiers::NONE),
                Some("up") => (KeyCode::Up, KeyModifiers::NONE),
                Some("down") => (KeyCode::Down, KeyModifiers::NONE),
                Some("back") => (KeyCode::Backspace, KeyModifiers::NONE),
                Some(name) => (KeyCode::Char(name.chars().last().unwrap()), KeyModifiers::CONTROL),
            };
            lines.extend(editor.key(KeyEvent::new(code, modifiers)));
        }
        (editor, lines)
    }

    #[test]
    fn keys_that_change_the_text() {
        let check = |keys: &str, text: &str, cursor: usize| {
            let (editor, _) = typed(keys);
            assert_eq!((editor.text(), editor.cursor()), (text, cursor), "{keys}");
        };
        assert_eq!(typed("hi<enter>a<newline>b<enter><enter>").1, ["hi", "a\nb", ""]);
        check("abc<left>x", "abxc", 3);
        check("漢字<back>", "漢", 3);
        check("👩‍👩‍👧‍👦<back>", "", 0);
        check("e\u{301}x<left><left>", "e\u{301}x", 0);
        check("one two<^w>", "one ", 4);
        check("one two<^w><^a><^y>", "twoone ", 3);
        check("one<^a><^k><^y><^y>", "oneone", 6);
        check("a<newline>b", "a\nb", 3);
        check("ab<^c>", "", 0);
        check("one<enter>two<enter><up>", "two", 3);
        check("one<enter>two<enter><up><up><up>", "one", 3);
        check("one<enter>dra<up><down>ft", "draft", 5);
        check("one<enter><down>", "", 0);
        check("a<left><^d>", "", 0);
    }

    #[test]
    fn names_are_completed() {
        let names = ["eva", "Ann Lee", "Žaneta", "annika"].map(str::to_owned);
        let check = |keys: &str, tabs, text: &str, cursor: usize| {
            let (mut editor, _) = typed(keys);
            (0..tabs).for_each(|_| editor.complete(&names));
            assert_eq!((editor.text(), editor.cursor()), (text, cursor), "{keys}");
        };
        check("/mute E", 1, "/mute eva ", 10);
        check("hi @an", 1, "hi @Ann Lee ", 12);
        check("hi @an", 2, "hi @annika ", 11);
        check("hi @an", 3, "hi @Ann Lee ", 12);
        check("/kick ann l", 1, "/kick Ann Lee ", 14);
        check("ž", 1, "Žaneta ", 8);
        check("x", 1, "x", 1);
        check("xeva", 1, "xeva", 4);
        check("", 1, "eva ", 4);
        check("/mute ", 2, "/mute Ann Lee ", 14);
        check("e b<left><left>", 1, "eva b", 3);
        let (mut editor, _) = typed("an");
        editor.complete(&names);
        editor.key(KeyEvent::new(KeyCode::Char('!'), KeyModifiers::NONE));
        editor.complete(&names);
        assert_eq!(editor.text(), "Ann Lee !");
        let mut editor = LineEditor::default();
        editor.complete(&[]);
        assert_eq!(editor.text(), "");
    }

    #[test]
    fn pasted_text() {
        let check = |paste: &str, want: &str| {
            let mut editor = LineEditor::default();
            editor.paste(paste);
            assert_eq!(editor.text(), want);
        };
        check("one\r\ntwo\rthree\n", "one\ntwo\nthree");
        check("a\tb\x1b[2J\0", "a    b[2J");
        check(&"x".repeat(TEXT_BYTES_MAX * 2), "");
    }

    proptest! {
        #[test]
        fn no_keys_break_it(keys in "(<(left|up|down|back|enter|\\^[a-z])>|[ab 漢\u{301}👩‍]){0,60}") {
            let (mut editor, _) = typed(&keys);
            editor.complete(&["ab".into(), "漢字".into(), "b\u{301}".into()]);
            prop_assert!(editor.text().is_char_boundary(editor.cursor()));
        }
    }
}

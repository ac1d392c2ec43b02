//! What is being typed: keys and pastes in, lines out.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use rustyline::history::{History, MemHistory, SearchDirection};
use rustyline::line_buffer::{ChangeListener, DeleteListener, Direction, LineBuffer};
use rustyline::{At, Movement, Word};

/// Bytes that can be typed; a room lets through less.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Lines of the history.
const HISTORY_MAX: usize = 500;

/// The text being typed, its cursor, and what was typed before.
pub struct Input {
    text: LineBuffer,
    history: MemHistory,
    /// The line of the history that is shown; the number of lines if it is
    /// what was typed last.
    at: usize,
    /// What was typed before the history was looked at.
    draft: String,
    /// What Ctrl-Y gives back.
    killed: Killed,
}

/// What a key asks for beyond the text itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing, or a change that has been made.
    None,
    /// A line is complete.
    Line(String),
    /// Paint the screen anew.
    Redraw,
    /// Go to the background.
    Suspend,
    /// Leave.
    Quit,
}

impl Default for Input {
    fn default() -> Self {
        let mut history = MemHistory::new();
        // Neither can fail in memory.
        let _ = history.set_max_len(HISTORY_MAX);
        let _ = history.ignore_dups(true);
        Self {
            text: LineBuffer::with_capacity(TEXT_BYTES_MAX),
            history,
            at: 0,
            draft: String::new(),
            killed: Killed::default(),
        }
    }
}

impl Input {
    /// The text being typed.
    pub fn text(&self) -> &str {
        self.text.as_str()
    }

    /// The cursor's position in it, in bytes.
    pub fn cursor(&self) -> usize {
        self.text.pos()
    }

    /// Puts a text in, as if typed; for one that was not sent.
    pub fn restore(&mut self, text: &str) {
        if self.text.is_empty() {
            self.replace(text);
        }
    }

    /// Inserts a paste as it is, several lines included: it is not sent before
    /// Enter is typed.
    pub fn paste(&mut self, text: &str) {
        let text = text.replace("\r\n", "\n").replace('\r', "\n").replace('\t', "    ");
        let text: String = text.chars().filter(|c| *c == '\n' || !c.is_control()).collect();
        // A copied line brings its end along.
        self.text.yank(text.trim_end_matches('\n'), 1, &mut Deaf);
    }

    /// Does what a key asks for; the keys are those of readline.
    pub fn key(&mut self, key: KeyEvent) -> Wish {
        if key.kind == KeyEventKind::Release {
            return Wish::None;
        }
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        match key.code {
            KeyCode::Char(c) if ctrl => return self.control(c),
            KeyCode::Char(c) if alt => self.meta(c),
            KeyCode::Char(c) => drop(self.text.insert(c, 1, &mut Deaf)),
            KeyCode::Enter if alt || key.modifiers.contains(KeyModifiers::SHIFT) => {
                self.text.insert('\n', 1, &mut Deaf);
            }
            KeyCode::Enter => return self.submit(),
            KeyCode::Backspace if alt || ctrl => self.kill(Movement::BackwardWord(1, Word::Emacs)),
            KeyCode::Backspace => drop(self.text.backspace(1, &mut Deaf)),
            KeyCode::Delete => drop(self.text.delete(1, &mut Deaf)),
            KeyCode::Left if alt || ctrl => drop(self.text.move_to_prev_word(Word::Emacs, 1)),
            KeyCode::Right if alt || ctrl => {
                self.text.move_to_next_word(At::AfterEnd, Word::Emacs, 1);
            }
            KeyCode::Left => drop(self.text.move_backward(1)),
            KeyCode::Right => drop(self.text.move_forward(1)),
            KeyCode::Home => drop(self.text.move_home()),
            KeyCode::End => drop(self.text.move_end()),
            KeyCode::Up => self.older(),
            KeyCode::Down => self.newer(),
            _ => {}
        }
        Wish::None
    }

    fn control(&mut self, c: char) -> Wish {
        match c {
            'a' => drop(self.text.move_home()),
            'b' => drop(self.text.move_backward(1)),
            'c' if self.text.is_empty() => return Wish::Quit,
            'c' => self.replace(""),
            'd' if self.text.is_empty() => return Wish::Quit,
            'd' => drop(self.text.delete(1, &mut Deaf)),
            'e' => drop(self.text.move_end()),
            'f' => drop(self.text.move_forward(1)),
            'h' => drop(self.text.backspace(1, &mut Deaf)),
            'k' => self.kill(Movement::EndOfLine),
            'l' => return Wish::Redraw,
            'j' | 'm' => return self.submit(),
            'n' => self.newer(),
            'p' => self.older(),
            't' => drop(self.text.transpose_chars(&mut Deaf)),
            'u' => self.kill(Movement::BeginningOfLine),
            'w' => self.kill(Movement::BackwardWord(1, Word::Big)),
            'y' => drop(self.text.yank(&self.killed.0, 1, &mut Deaf)),
            'z' => return Wish::Suspend,
            _ => {}
        }
        Wish::None
    }

    fn meta(&mut self, c: char) {
        match c {
            'b' => drop(self.text.move_to_prev_word(Word::Emacs, 1)),
            'd' => self.kill(Movement::ForwardWord(1, At::AfterEnd, Word::Emacs)),
            'f' => drop(self.text.move_to_next_word(At::AfterEnd, Word::Emacs, 1)),
            _ => {}
        }
    }

    fn submit(&mut self) -> Wish {
        let line = self.text.as_str().to_owned();
        if !line.trim().is_empty() {
            // It cannot fail in memory.
            let _ = self.history.add(&line);
        }
        self.replace("");
        self.at = self.history.len();
        Wish::Line(line)
    }

    fn kill(&mut self, movement: Movement) {
        let before = std::mem::take(&mut self.killed);
        if !self.text.kill(&movement, &mut self.killed) {
            self.killed = before;
        }
    }

    fn older(&mut self) {
        if self.at == self.history.len() {
            self.draft = self.text.as_str().to_owned();
        }
        self.show(self.at.checked_sub(1));
    }

    fn newer(&mut self) {
        match self.at + 1 {
            at if at == self.history.len() => {
                self.at = at;
                self.replace(&self.draft.clone());
            }
            at => self.show(Some(at)),
        }
    }

    fn show(&mut self, at: Option<usize>) {
        let Some(at) = at else { return };
        if let Ok(Some(found)) = self.history.get(at, SearchDirection::Forward) {
            let line = found.entry.into_owned();
            self.at = at;
            self.replace(&line);
        }
    }

    fn replace(&mut self, text: &str) {
        self.text.kill_buffer(&mut Deaf);
        self.text.set_pos(0);
        self.text.delete_range(0..self.text.len(), &mut Deaf);
        self.text.yank(text, 1, &mut Deaf);
    }
}

/// Whoever does not want to know what changed.
struct Deaf;

impl DeleteListener for Deaf {
    fn delete(&mut self, _: usize, _: &str, _: Direction) {}
}

impl ChangeListener for Deaf {
    fn insert_char(&mut self, _: usize, _: char) {}
    fn insert_str(&mut self, _: usize, _: &str) {}
    fn replace(&mut self, _: usize, _: &str, _: &str) {}
}

/// Keeps what was deleted.
#[derive(Default)]
struct Killed(String);

impl DeleteListener for Killed {
    fn delete(&mut self, _: usize, text: &str, _: Direction) {
        self.0 = text.to_owned();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Types keys, each written as itself, or by a name: `<left>`, `<^a>`.
    fn typed(keys: &str) -> (Input, Vec<Wish>) {
        let mut input = Input::default();
        let mut wishes = vec![];
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
            wishes.push(input.key(KeyEvent::new(code, modifiers)));
        }
        wishes.retain(|wish| *wish != Wish::None);
        (input, wishes)
    }

    #[test]
    fn keys() {
        let check = |keys: &str, text: &str, cursor: usize| {
            let (input, _) = typed(keys);
            assert_eq!((input.text(), input.cursor()), (text, cursor), "{keys}");
        };
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
    fn wishes() {
        let check = |keys: &str, want: &[Wish]| assert_eq!(typed(keys).1, want, "{keys}");
        check("hi<enter>", &[Wish::Line("hi".into())]);
        check("a<newline>b<enter>", &[Wish::Line("a\nb".into())]);
        check("<enter>", &[Wish::Line("".into())]);
        check("<^d>", &[Wish::Quit]);
        check("<^c>", &[Wish::Quit]);
        check("x<^c><^c>", &[Wish::Quit]);
        check("<^l><^z>", &[Wish::Redraw, Wish::Suspend]);
    }

    #[test]
    fn a_paste_is_text_and_nothing_else() {
        let check = |paste: &str, want: &str| {
            let mut input = Input::default();
            input.paste(paste);
            assert_eq!(input.text(), want);
        };
        check("one\r\ntwo\rthree\n", "one\ntwo\nthree");
        check("a\tb\x1b[2J\0", "a    b[2J");
        check(&"x".repeat(TEXT_BYTES_MAX * 2), "");
    }

    proptest! {
        #[test]
        fn no_keys_break_it(keys in "(<(left|up|down|back|enter|\\^[a-z])>|[ab 漢\u{301}👩‍]){0,60}") {
            let (input, _) = typed(&keys);
            prop_assert!(input.text().is_char_boundary(input.cursor()));
        }
    }
}

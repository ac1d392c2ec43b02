//! The terminal itself: taken over, and given back as it was.

use std::io::{self, Write};

use crossterm::terminal::{disable_raw_mode, enable_raw_mode, size};
use rustix::process::{Signal, kill_current_process_group};

use super::pane::Size;

/// Asks the terminal to mark what is pasted.
const ENTER: &str = "\x1b[?2004h";
/// Undoes that, and whatever an update cut short may have left.
const LEAVE: &str = "\x1b[?2004l\x1b[?7h\x1b[?25h\x1b[?2026l";

/// The terminal in raw mode, until it is dropped.
#[derive(Debug)]
pub struct Screen(());

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    ///
    /// If it is none, or gone.
    pub fn enter() -> io::Result<Self> {
        enable_raw_mode()?;
        let screen = Self(());
        screen.write(ENTER)?;
        Ok(screen)
    }

    /// Its size now; something sensible where it does not say.
    pub fn size(&self) -> Size {
        let (columns, rows) = size().unwrap_or((80, 24));
        Size { columns: usize::from(columns.max(1)), rows: usize::from(rows.max(1)) }
    }

    /// Writes all bytes.
    ///
    /// # Errors
    ///
    /// If the terminal is gone.
    pub fn write(&self, bytes: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes.as_bytes())?;
        stdout.flush()
    }

    /// Gives the terminal back to the shell until it wakes us again.
    ///
    /// # Errors
    ///
    /// If the terminal is gone then.
    pub fn suspend(self) -> io::Result<Self> {
        drop(self);
        kill_current_process_group(Signal::TSTP)?;
        Self::enter()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // If the terminal is gone there is nothing to give back.
        let _ = self.write(LEAVE);
        let _ = disable_raw_mode();
    }
}

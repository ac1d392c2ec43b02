//! The terminal in raw mode.

use std::io::{self, Write};

use crossterm::terminal::{disable_raw_mode, enable_raw_mode, size};
use rustix::process::{Signal, kill_current_process_group};

use super::footer::Size;

/// Enables bracketed paste.
const ENTER: &str = "\x1b[?2004h";
/// Disables it, and undoes what an interrupted update may have left.
const LEAVE: &str = "\x1b[?2004l\x1b[?7h\x1b[?25h\x1b[?2026l";

/// The terminal; dropping this restores its mode.
#[derive(Debug)]
pub struct Screen(());

impl Screen {
    /// Switches to raw mode.
    pub fn enter() -> io::Result<Self> {
        enable_raw_mode()?;
        let screen = Self(());
        screen.write(ENTER)?;
        Ok(screen)
    }

    /// The current size, or 80 × 24 if the terminal does not tell.
    pub fn size(&self) -> Size {
        let (columns, rows) = size().unwrap_or((80, 24));
        Size { columns: usize::from(columns.max(1)), rows: usize::from(rows.max(1)) }
    }

    pub fn write(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// Stops the process until the shell continues it.
    pub fn suspend(self) -> io::Result<Self> {
        drop(self);
        kill_current_process_group(Signal::TSTP)?;
        Self::enter()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // If the terminal is gone there is nothing to restore.
        let _ = self.write(LEAVE);
        let _ = disable_raw_mode();
    }
}

//! Colours and times, as people see them.

use chrono::{DateTime, TimeZone, Utc};

/// Colours for names, by their number among a terminal's 256: each can be read
/// on black and on white (contrast over 3.6 : 1 on both).
const NAME_COLOURS: [u8; 20] =
    [167, 160, 166, 130, 94, 100, 64, 28, 29, 30, 31, 32, 67, 27, 63, 99, 134, 164, 162, 132];

/// Whether the parts of a line are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Text alone.
    Plain,
    /// With escape sequences of our own.
    Colour,
}

impl Paint {
    /// The text in the given style: the parameters of an SGR sequence.
    pub fn style(self, sgr: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Colour => format!("\x1b[{sgr}m{text}\x1b[0m"),
        }
    }
}

/// The colour of a name: the same one every day, for everybody.
///
/// # Examples
///
/// ```
/// use wschat::client::name_colour;
/// assert_eq!(name_colour("petr"), name_colour("petr"));
/// ```
pub fn name_colour(name: &str) -> u8 {
    // FNV-1a: std's hasher may change with the compiler.
    let hash = name
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    NAME_COLOURS[hash as usize % NAME_COLOURS.len()]
}

/// The time of day of a message in eight characters.
pub fn clock<Z: TimeZone>(time: Option<DateTime<Utc>>, zone: &Z) -> String {
    let Some(time) = time else { return "--:--:--".into() };
    time.with_timezone(zone).naive_local().format("%H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_colour_can_be_read_on_black_and_on_white() {
        for colour in NAME_COLOURS {
            let luminance = luminance(colour);
            let contrast = (1.05 / (luminance + 0.05)).min((luminance + 0.05) / 0.05);
            assert!(contrast > 3.6, "{colour}: {contrast}");
        }
    }

    /// Relative luminance (WCAG 2) of a colour of the 6 × 6 × 6 cube.
    fn luminance(colour: u8) -> f64 {
        let level = |n: u8| f64::from([0, 95, 135, 175, 215, 255][usize::from(n)]) / 255.0;
        let linear =
            |c: f64| if c <= 0.03928 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) };
        let n = colour - 16;
        let [r, g, b] = [n / 36, n / 6 % 6, n % 6].map(|part| linear(level(part)));
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }
}

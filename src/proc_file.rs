//! Values in the files of a process in /proc.

/// Clock ticks per second in /proc/PID/stat: fixed by the kernel's ABI.
pub(crate) const TICKS_PER_SEC: u64 = 100;

/// The size behind `key` in a file with lines like `VmRSS:  1234 kB`, in bytes.
pub(crate) fn size_bytes(text: &str, key: &str) -> Option<u64> {
    let size = text.lines().find_map(|line| line.strip_prefix(key))?;
    size.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The field of /proc/PID/stat with this number, as proc_pid_stat(5) counts them from 1; it has
/// to be behind the name.
pub(crate) fn stat_field(stat: &str, number: usize) -> Option<u64> {
    // The name in parentheses may contain anything; the third field follows it.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(number.checked_sub(3)?)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_files() {
        let status = "Name:\ta\nVmHWM:\t    9 kB\nVmRSS:\t 1234 kB\n";
        assert_eq!(size_bytes(status, "VmRSS:"), Some(1234 * 1024));
        assert_eq!(size_bytes(status, "Rss:"), None);
        assert_eq!(size_bytes("VmRSS:\t99999999999999999999 kB\n", "VmRSS:"), None);
        let stat = "7 (a) b) S 1 2 3\n";
        assert_eq!([4, 6].map(|number| stat_field(stat, number)), [Some(1), Some(3)]);
        assert_eq!([2, 3, 7].map(|number| stat_field(stat, number)), [None; 3]);
    }
}

//! What the process uses, with the names that the client libraries of Prometheus give it.
//! The sandbox of the service shows the files of the process itself in /proc, and no others.

use std::fs;
use std::io;
use std::sync::OnceLock;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::proc_file::{TICKS_PER_SEC, size_bytes, stat_field};

/// What the process uses.
#[derive(Clone, Copy, Debug)]
pub struct ProcessStats {
    /// CPU time of all threads.
    pub cpu_secs: f64,
    /// Memory that is in RAM.
    pub resident_bytes: u64,
    /// The size of the address space.
    pub virtual_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// The limit of these; `None` is no limit.
    pub max_fds: Option<u64>,
    /// When the process was started, in seconds since the Unix epoch.
    pub start_secs: f64,
}

impl ProcessStats {
    /// The values of this process. Can take long if many descriptors are open.
    ///
    /// # Errors
    ///
    /// /proc cannot be read.
    pub fn read() -> io::Result<Self> {
        let stat = fs::read_to_string("/proc/self/stat")?;
        let field = |number| stat_field(&stat, number).ok_or(io::ErrorKind::InvalidData);
        Ok(Self {
            cpu_secs: secs(clock_gettime(ClockId::ProcessCPUTime)),
            resident_bytes: resident_bytes().ok_or(io::ErrorKind::InvalidData)?,
            virtual_bytes: field(23)?,
            open_fds: open_fds()?,
            max_fds: getrlimit(Resource::Nofile).current,
            start_secs: start_secs(field(22)? as f64 / TICKS_PER_SEC as f64),
        })
    }
}

/// The memory of this process that is in RAM; `None` if the system does not tell. The kernel
/// has this figure at hand.
///
/// /proc/self/stat and statm count pages. How large these are is in /proc/self/auxv, which a
/// process that writes no core dump cannot read before Linux 6.4.
pub fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    size_bytes(&status, "VmRSS:")
}

/// The number of open descriptors.
fn open_fds() -> io::Result<u64> {
    // Since Linux 6.2 it is the size of the directory, which costs nothing.
    match fs::metadata("/proc/self/fd")?.len() {
        // One of them is that of the directory.
        0 => Ok((fs::read_dir("/proc/self/fd")?.count() as u64).saturating_sub(1)),
        count => Ok(count),
    }
}

/// When the process was started, `after_boot_secs` after the boot. Always the same value,
/// although the clock of the day changes.
fn start_secs(after_boot_secs: f64) -> f64 {
    static START: OnceLock<f64> = OnceLock::new();
    let booted = || secs(clock_gettime(ClockId::Realtime)) - secs(clock_gettime(ClockId::Boottime));
    // As exact as the ticks are.
    *START.get_or_init(|| ((booted() + after_boot_secs) * 100.0).round() / 100.0)
}

fn secs(time: Timespec) -> f64 {
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_values_are_those_of_this_process() {
        let files: Vec<_> = (0..50).map(|_| File::open("/proc/self/stat").unwrap()).collect();
        let stats = ProcessStats::read().unwrap();
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 16));
        assert!(stats.open_fds > files.len() as u64, "{stats:?}");
        assert!(stats.max_fds.is_none_or(|max| max >= stats.open_fds), "{stats:?}");
        assert!(stats.cpu_secs > 0.0 && stats.resident_bytes > 100_000, "{stats:?}");
        assert!(stats.virtual_bytes > stats.resident_bytes, "{stats:?}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(stats.start_secs <= now + 1.0 && stats.start_secs > now - 86_400.0, "{stats:?}");
    }
}

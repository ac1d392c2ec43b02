//! CPU time and memory of the server's process, from /proc.

use std::{fs, io};

use super::BenchError;

/// Clock ticks per second in /proc/PID/stat: fixed by the kernel's ABI.
const TICKS_PER_SEC: u64 = 100;

/// A process of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Process(u32);

impl Process {
    /// # Errors
    ///
    /// The process does not exist, or belongs to another user.
    pub fn new(pid: u32) -> Result<Self, BenchError> {
        let process = Self(pid);
        process.cpu_ns()?;
        process.rss_bytes()?;
        Ok(process)
    }

    /// CPU time of all threads, in nanoseconds.
    ///
    /// The scheduler's count is exact. Kernels that do not show it have one in ticks of
    /// 10 ms.
    pub fn cpu_ns(self) -> Result<u64, BenchError> {
        self.cpu_from_schedstat().or_else(|_| self.cpu_from_stat()).map_err(|e| self.error(e))
    }

    /// Resident memory in bytes.
    ///
    /// `smaps_rollup` counts pages; `status` may be wrong by some pages per thread.
    pub fn rss_bytes(self) -> Result<u64, BenchError> {
        let kib = self.kib("smaps_rollup", "Rss:").or_else(|_| self.kib("status", "VmRSS:"));
        kib.map(|kib| kib * 1024).map_err(|e| self.error(e))
    }

    /// The most resident memory that it ever had, in bytes; wrong by some pages per thread.
    pub fn rss_peak_bytes(self) -> Result<u64, BenchError> {
        self.kib("status", "VmHWM:").map(|kib| kib * 1024).map_err(|e| self.error(e))
    }

    fn cpu_from_schedstat(self) -> io::Result<u64> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.0))? {
            match fs::read_to_string(task?.path().join("schedstat")) {
                Ok(line) => sum += number(line.split(' ').next())?,
                // The thread has ended.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if sum == 0 { Err(unreadable()) } else { Ok(sum) }
    }

    fn cpu_from_stat(self) -> io::Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        // The name in parentheses may contain anything; numbers follow it.
        let (_, fields) = stat.rsplit_once(") ").ok_or_else(unreadable)?;
        let mut fields = fields.split(' ').skip(11);
        let ticks = number(fields.next())? + number(fields.next())?;
        Ok(ticks * (1_000_000_000 / TICKS_PER_SEC))
    }

    fn kib(self, file: &str, key: &str) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/{file}", self.0))?;
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        number(line.and_then(|line| line.split_whitespace().next()))
    }

    fn error(self, error: io::Error) -> BenchError {
        BenchError::Process { pid: self.0, error }
    }
}

fn number(text: Option<&str>) -> io::Result<u64> {
    text.and_then(|text| text.trim().parse().ok()).ok_or_else(unreadable)
}

fn unreadable() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_cpu_time_and_memory() {
        let process = Process::new(std::process::id()).expect("this process");
        let rss_bytes = process.rss_bytes().expect("memory");
        assert!(rss_bytes > 100_000);
        // The kernel counts the peak per thread and adds it up late.
        assert!(process.rss_peak_bytes().expect("memory") > rss_bytes / 2);
        assert!(process.cpu_from_stat().is_ok());
    }
}

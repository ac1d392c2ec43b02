//! CPU time and memory of the server's process, from /proc.

use std::{fs, io};

use super::BenchError;
use crate::proc_file::{TICKS_PER_SEC, size_bytes, stat_field};

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
        let size = self.size("smaps_rollup", "Rss:").or_else(|_| self.size("status", "VmRSS:"));
        size.map_err(|e| self.error(e))
    }

    /// The most resident memory that it ever had, in bytes; wrong by some pages per thread.
    pub fn rss_peak_bytes(self) -> Result<u64, BenchError> {
        self.size("status", "VmHWM:").map_err(|e| self.error(e))
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
        let field = |number| stat_field(&stat, number).ok_or_else(unreadable);
        let ticks = field(14)? + field(15)?;
        Ok(ticks * (1_000_000_000 / TICKS_PER_SEC))
    }

    fn size(self, file: &str, key: &str) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/{file}", self.0))?;
        size_bytes(&text, key).ok_or_else(unreadable)
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

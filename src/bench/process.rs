//! What the server's process uses, as /proc tells it.

use std::fs;
use std::io;

use super::Stop;

/// Clock ticks a second in /proc/PID/stat; the kernel's ABI, whatever its own HZ.
const TICKS_PER_SEC: u64 = 100;

/// A process that can be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Process(u32);

impl Process {
    /// The process `pid`.
    ///
    /// # Errors
    ///
    /// It does not exist, or is another user's.
    pub fn new(pid: u32) -> Result<Self, Stop> {
        let process = Self(pid);
        process.cpu_ns()?;
        process.rss_bytes()?;
        Ok(process)
    }

    /// CPU time of all its threads, in nanoseconds.
    ///
    /// The scheduler's own count is exact; the count in ticks of 10 ms is
    /// taken where a kernel does not show that.
    ///
    /// # Errors
    ///
    /// The process is gone.
    pub fn cpu_ns(self) -> Result<u64, Stop> {
        self.cpu_by_schedstat().or_else(|_| self.cpu_by_stat()).map_err(|why| self.stop(why))
    }

    /// Resident memory, in bytes.
    ///
    /// `smaps_rollup` counts pages; `status` may be off by some pages per thread.
    ///
    /// # Errors
    ///
    /// The process is gone, or another user's.
    pub fn rss_bytes(self) -> Result<u64, Stop> {
        self.kib("smaps_rollup", "Rss:")
            .or_else(|_| self.kib("status", "VmRSS:"))
            .map(|kib| kib * 1024)
            .map_err(|why| self.stop(why))
    }

    fn cpu_by_schedstat(self) -> io::Result<u64> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.0))? {
            match fs::read_to_string(task?.path().join("schedstat")) {
                Ok(line) => sum += number(line.split(' ').next())?,
                // A thread that ended meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if sum == 0 { Err(unreadable()) } else { Ok(sum) }
    }

    fn cpu_by_stat(self) -> io::Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        // The name in brackets may hold anything; the fields after it are numbers.
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

    fn stop(self, why: io::Error) -> Stop {
        Stop::Process { pid: self.0, why }
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
    fn this_process_uses_something() {
        let me = Process::new(std::process::id()).expect("this process");
        assert!(me.rss_bytes().expect("memory") > 100_000);
        assert!(me.cpu_by_stat().is_ok());
        assert!(me.cpu_ns().is_ok());
    }

    #[test]
    fn a_process_that_is_not_there() {
        let error = Process::new(u32::MAX).expect_err("no such process");
        assert!(error.to_string().starts_with("--pid 4294967295: "), "{error}");
    }
}

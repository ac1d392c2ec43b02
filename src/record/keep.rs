//! Deletes old files of the record, as `record.keep_days` says, on a thread of its own: the disk
//! delays neither the room nor the record.

use std::cmp::Reverse;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, Utc};
use tracing::{info, warn};

use super::lines::is_day;
use crate::config::Record;

/// How often the thread looks whether a new day has begun.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// Files that were written before a pause of more than this are never deleted: either nothing
/// was recorded for so long, or the clock was wrong, before or behind the pause.
const PAUSE_SECS_MAX: i64 = 180 * 86_400;

/// Controls the thread.
#[derive(Debug)]
pub(super) struct Keeper(Sender<Record>);

impl Keeper {
    /// Starts the thread. It deletes nothing before [`Keeper::set`].
    ///
    /// # Errors
    ///
    /// The system has no thread left.
    pub fn start() -> io::Result<Self> {
        let (sender, received) = mpsc::channel();
        thread::Builder::new().name("record-keep".to_owned()).spawn(move || {
            run(&received, LOOK_INTERVAL, Utc::now);
        })?;
        Ok(Self(sender))
    }

    /// Deletes what is old under `record`, now and whenever a day begins.
    pub fn set(&self, record: &Record) {
        // The thread does not end before the sender is dropped.
        let _ = self.0.send(record.clone());
    }
}

fn run(received: &Receiver<Record>, interval: Duration, now: impl Fn() -> DateTime<Utc>) {
    let mut record = Record::default();
    let mut report = Report::default();
    let mut day = None;
    loop {
        match received.recv_timeout(interval) {
            Ok(new) => {
                record = new;
                report = Report::default();
                day = None;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = now();
        let (Some(dir), 1..) = (&record.dir, record.keep_days) else { continue };
        if day != Some(now.date_naive()) {
            day = Some(now.date_naive());
            report.log(dir, delete_old(dir, record.keep_days, now));
        }
    }
}

/// What was logged last, so that it is not logged every day.
#[derive(Default)]
struct Report(Option<String>);

impl Report {
    fn log(&mut self, dir: &Path, result: io::Result<Deleted>) {
        let dir = dir.display();
        let Deleted { files, failed, behind_pause } = match result {
            Ok(deleted) => deleted,
            Err(error) => {
                if self.is_new(error.to_string()) {
                    warn!(%dir, why = %error, "cannot look for old files in {dir}: {error}");
                }
                return;
            }
        };
        if files > 0 {
            info!(%dir, files, "deleted {files} old files of the record in {dir}");
        }
        if let Some((file, error)) = failed {
            if self.is_new(error.clone()) {
                warn!(%dir, why = error, "cannot delete the old file {file} in {dir}: {error}");
            }
        } else if let Some((files, newest)) = behind_pause {
            if self.is_new(format!("{files} {newest}")) {
                warn!(
                    %dir, files,
                    "{files} old files in {dir}, up to {newest}, are not deleted: for half a year \
                     nothing was recorded after them, so the clock may be wrong"
                );
            }
        } else {
            self.0 = None;
        }
    }

    fn is_new(&mut self, problem: String) -> bool {
        let is_new = self.0.as_ref() != Some(&problem);
        self.0 = Some(problem);
        is_new
    }
}

/// What became of the old files.
#[derive(Debug, Default, PartialEq)]
struct Deleted {
    files: usize,
    /// The first that could not be deleted, and why.
    failed: Option<(NaiveDate, String)>,
    /// The number of those before a pause, and the newest of them.
    behind_pause: Option<(usize, NaiveDate)>,
}

/// Deletes the files in `dir` that are old.
fn delete_old(dir: &Path, keep_days: u32, now: DateTime<Utc>) -> io::Result<Deleted> {
    let Old { files, behind_pause } = old(day_files(dir)?, keep_days, now);
    let mut deleted = Deleted { behind_pause, ..Deleted::default() };
    for day in files {
        match fs::remove_file(dir.join(day.to_string())) {
            Ok(()) => deleted.files += 1,
            // The process before a restart can be at it as well.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                deleted.failed.get_or_insert((day, error.to_string()));
            }
        }
    }
    Ok(deleted)
}

/// A file of a day.
#[derive(Clone, Copy, Debug)]
struct RecordedDay {
    day: NaiveDate,
    /// When it was last written, in seconds since the Unix epoch.
    written: i64,
}

/// The regular files in `dir` with the name of a day. Links are not followed.
fn day_files(dir: &Path) -> io::Result<Vec<RecordedDay>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(day) = day(name.as_bytes()) else { continue };
        match entry.metadata() {
            Ok(found) if found.is_file() => {
                files.push(RecordedDay { day, written: found.mtime() });
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

/// The day that a file of this name is for.
fn day(name: &[u8]) -> Option<NaiveDate> {
    let name = name.first_chunk().filter(|it| it.len() == name.len() && is_day(it))?;
    str::from_utf8(name).ok()?.parse().ok()
}

/// Files that are too old.
struct Old {
    /// Those to delete.
    files: Vec<NaiveDate>,
    behind_pause: Option<(usize, NaiveDate)>,
}

/// Which of `files` are of a day more than `keep_days` before `now`.
fn old(mut files: Vec<RecordedDay>, keep_days: u32, now: DateTime<Utc>) -> Old {
    files.sort_by_key(|file| Reverse(file.written));
    let mut later = now.timestamp();
    let pause = files.iter().position(|file| {
        let is_pause = later.saturating_sub(file.written) > PAUSE_SECS_MAX;
        later = later.min(file.written);
        is_pause
    });
    let first = now.date_naive().checked_sub_days(Days::new(keep_days.into()));
    let is_old = |file: &RecordedDay| first.is_some_and(|first| file.day < first);
    let (new, before) = files.split_at(pause.unwrap_or(files.len()));
    let files = |files: &[RecordedDay]| {
        files.iter().filter(|it| is_old(it)).map(|it| it.day).collect::<Vec<_>>()
    };
    let before = files(before);
    Old { behind_pause: before.iter().max().map(|day| (before.len(), *day)), files: files(new) }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeSet;
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    const NONE: [i64; 0] = [];

    /// `number` days after 2000-01-01, at noon.
    fn noon(number: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(946_728_000 + number * 86_400, 0).unwrap()
    }

    /// The file of a day, written at noon of a day.
    fn file(day: i64, written: i64) -> RecordedDay {
        RecordedDay { day: noon(day).date_naive(), written: noon(written).timestamp() }
    }

    /// Which of the files of these days, written on these days, are deleted on the day `now`.
    fn deleted(files: &[(i64, i64)], keep_days: u32, now: i64) -> Vec<i64> {
        let files: Vec<_> = files.iter().map(|(day, written)| file(*day, *written)).collect();
        let old = old(files, keep_days, noon(now)).files;
        let number = |day: NaiveDate| (day - noon(0).date_naive()).num_days();
        old.into_iter().map(number).collect::<BTreeSet<_>>().into_iter().collect()
    }

    #[test]
    fn days_longer_ago_are_deleted() {
        let files: Vec<_> = (90..=100).map(|day| (day, day)).collect();
        assert_eq!(deleted(&files, 7, 100), [90, 91, 92]);
        assert_eq!(deleted(&files, 1, 100), (90..99).collect::<Vec<_>>());
        assert_eq!(deleted(&files, 36_500, 100), NONE);
        // A room that is used in some weeks only.
        assert_eq!(deleted(&[(0, 0), (100, 100), (250, 250)], 7, 300), [0, 100, 250]);
        // Files that were copied have another time.
        assert_eq!(deleted(&[(0, 300), (1, 300)], 7, 300), [0, 1]);
    }

    #[test]
    fn a_clock_that_is_wrong_deletes_nothing_else() {
        let files: Vec<_> = (9_000..=9_100).map(|day| (day, day)).collect();
        let with = |day: i64| [&files[..], &[(day, day)]].concat();
        // The clock is years ahead: at the start, and after messages were recorded.
        assert_eq!(deleted(&files, 30, 14_000), NONE);
        assert_eq!(deleted(&with(14_000), 30, 14_001), NONE);
        assert_eq!(deleted(&with(14_000), 30, 14_100), [14_000]);
        // It is right again.
        let old: Vec<_> = (9_000..9_071).collect();
        assert_eq!(deleted(&with(14_000), 30, 9_101), old);
        // The clock was in 1970.
        assert_eq!(deleted(&with(-10_957), 30, -10_957), NONE);
        assert_eq!(deleted(&with(-10_957), 30, 9_101), old);
        let Old { behind_pause, .. } =
            super::old(files.iter().map(|(day, at)| file(*day, *at)).collect(), 30, noon(14_000));
        assert_eq!(behind_pause, Some((101, noon(9_100).date_naive())));
        // No time of a file is too strange.
        let strange = [i64::MIN, i64::MAX].map(|written| RecordedDay { written, ..file(0, 0) });
        assert_eq!(super::old(strange.to_vec(), 1, noon(100)).files.len(), 1);
    }

    #[test]
    fn only_own_files_are_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let now = Utc::now();
        let today = now.date_naive().to_string();
        let others = [
            "2020-01-01.gz",
            "2020-01-01.1",
            "2020-01-01~",
            ".2020-01-01",
            "2020-1-1",
            "2020-13-01",
            "2020-02-30",
            "20200101",
            "x2020-01-01",
            "2020-01-01\n",
            "notes",
        ];
        for name in others.iter().chain(&["2020-01-01", "1999-12-31", &today, "2999-01-01"]) {
            fs::write(at(name), "").unwrap();
        }
        symlink(at("notes"), at("2020-01-02")).unwrap();
        fs::create_dir(at("2020-01-03")).unwrap();
        let names = || -> BTreeSet<String> {
            let entries = fs::read_dir(folder.path()).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        let mut left = names();
        let deleted = delete_old(folder.path(), 1, now).unwrap();
        assert_eq!(deleted, Deleted { files: 2, ..Deleted::default() });
        assert!(left.remove("2020-01-01") && left.remove("1999-12-31"));
        assert_eq!(names(), left);
        assert!(delete_old(&at("none"), 1, now).is_err());
    }

    #[test]
    fn a_new_day_deletes_the_next_file() {
        let folder = tempfile::tempdir().unwrap();
        let first = Utc::now() - Days::new(20);
        let day = |number: u64| (first + Days::new(number)).date_naive().to_string();
        for number in 0..20 {
            fs::write(folder.path().join(day(number)), "").unwrap();
        }
        let record = Record { dir: Some(folder.path().to_owned()), keep_days: 5 };
        let (sender, received) = mpsc::channel();
        sender.send(record).unwrap();
        let (days, sender) = (RefCell::new(5..20u64), Cell::new(Some(sender)));
        // A day passes between two looks at the clock.
        run(&received, Duration::ZERO, || {
            let Some(today) = days.borrow_mut().next() else {
                sender.take();
                return first;
            };
            let oldest = today.saturating_sub(6);
            assert!(folder.path().join(day(oldest)).exists(), "before day {today}");
            assert!(oldest == 0 || !folder.path().join(day(oldest - 1)).exists());
            first + Days::new(today)
        });
        assert!(!folder.path().join(day(13)).exists() && folder.path().join(day(14)).exists());
    }

    #[test]
    fn a_problem_is_logged_once() {
        let mut report = Report::default();
        for (problem, is_new) in [("a", true), ("a", false), ("b", true), ("b", false)] {
            assert_eq!(report.is_new(problem.to_owned()), is_new);
        }
        report.log(Path::new("/d"), Ok(Deleted::default()));
        assert!(report.is_new("b".to_owned()), "it had been solved");
        let behind_pause = Some((3, noon(0).date_naive()));
        report.log(Path::new("/d"), Ok(Deleted { behind_pause, ..Deleted::default() }));
        assert!(!report.is_new("3 2000-01-01".to_owned()));
    }

    proptest! {
        /// What is deleted is old, and what is old and stays was written before a pause.
        #[test]
        fn nothing_new_is_deleted(
            days in prop::collection::btree_set(0..2_000i64, 0..60),
            keep_days in 1..400u32,
            now in -20_000..40_000i64,
        ) {
            let files: Vec<_> = days.iter().map(|day| (*day, *day)).collect();
            let deleted = deleted(&files, keep_days, now);
            let is_old = |day: &i64| *day < now - i64::from(keep_days);
            prop_assert!(deleted.iter().all(is_old));
            let pause = days.iter().rev().filter(|day| **day <= now).try_fold(now, |later, day| {
                if later - day > 180 { Err(*day) } else { Ok(*day) }
            });
            let is_kept = |day: &i64| pause.is_err_and(|pause| *day <= pause);
            let want: Vec<_> = days.iter().copied().filter(|day| is_old(day) && !is_kept(day)).collect();
            prop_assert_eq!(deleted, want);
        }

        /// A jump of the clock by more than the pause deletes nothing that was not old before.
        #[test]
        fn a_jump_deletes_nothing(keep_days in 1..400u32, jump in 181..40_000i64, back in any::<bool>()) {
            let files: Vec<_> = (0..500).map(|day| (day, day)).collect();
            let now = if back { 499 - jump } else { 499 + jump };
            let before = deleted(&files, keep_days, 499);
            let after = deleted(&files, keep_days, now);
            prop_assert!(after.iter().all(|day| before.contains(day)));
        }
    }
}

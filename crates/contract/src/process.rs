//! What the kernel says of processes in `/proc`. No disk is behind it. Names of processes, threads and files stand there as they are,
//! which need not be text: a name of 16 bytes or more ends in the middle of a character.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};

/// A file, with signs in place of what is no text.
///
/// # Errors
/// The system's; the process is gone, or may not be looked at.
pub fn text(path: impl AsRef<Path>) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

/// Bytes of memory of a process: its own, and its part of what it shares.
///
/// # Errors
/// See [`text`].
pub fn pss(pid: i32) -> io::Result<u64> {
    let text = text(format!("/proc/{pid}/smaps_rollup"))?;
    let part = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = part.and_then(|part| part.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The fields of a process's `stat` (proc_pid_stat(5)).
pub struct Stat(String);

impl Stat {
    /// # Errors
    /// See [`text`].
    pub fn of(pid: i32) -> io::Result<Self> {
        Self::read(&format!("/proc/{pid}/stat"))
    }

    /// # Errors
    /// `/proc` is not there.
    pub fn own() -> io::Result<Self> {
        Self::read("/proc/self/stat")
    }

    fn read(path: &str) -> io::Result<Self> {
        Self::behind_name(&text(path)?).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The name, the second field, may have anything in it, parentheses as well.
    fn behind_name(text: &str) -> Option<Self> {
        text.rsplit_once(')').map(|(_, rest)| Self(rest.to_owned()))
    }

    /// By its number in the manual page, from 3 on.
    fn field(&self, number: usize) -> Option<&str> {
        self.0.split_ascii_whitespace().nth(number.checked_sub(3)?)
    }

    fn number(&self, number: usize) -> Option<u64> {
        self.field(number)?.parse().ok()
    }

    /// The letter that `ps` shows.
    pub fn state(&self) -> Option<char> {
        self.field(3)?.chars().next()
    }

    pub fn parent(&self) -> Option<i32> {
        self.field(4)?.parse().ok()
    }

    /// In programs and in the kernel, of all threads.
    pub fn processor_time(&self) -> Option<Duration> {
        Some(ticks(self.number(14)? + self.number(15)?))
    }

    /// Since it was started, be it as another program.
    pub fn age(&self) -> Option<Duration> {
        let now = clock_gettime(ClockId::Boottime);
        let now = Duration::new(now.tv_sec.try_into().ok()?, now.tv_nsec.try_into().ok()?);
        Some(now.saturating_sub(ticks(self.number(22)?)))
    }

    /// Where its arguments begin and end in its memory. Where the system does not tell, both are 0.
    pub(crate) fn arguments(&self) -> Option<(usize, usize)> {
        let place = |number| self.field(number)?.parse().ok();
        let (start, end): (usize, usize) = (place(48)?, place(49)?);
        (start != 0 && start < end).then_some((start, end))
    }
}

fn ticks(number: u64) -> Duration {
    Duration::from_millis(number.saturating_mul(1000) / clock_ticks_per_second().max(1))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn stat(name: &[u8], start: usize, end: usize) -> Option<Stat> {
        let between = " 1".repeat(44);
        let bytes = [
            b"4711 (",
            name,
            format!(") S{between} {start} {end} 7 8 0\n").as_bytes(),
        ]
        .concat();
        Stat::behind_name(&String::from_utf8_lossy(&bytes))
    }

    #[test]
    fn fields_are_found_behind_any_name() {
        for name in [&b"python3"[..], b"a) S 1 2", b"", b"caf\xc3", b"\xff) Z"] {
            let stat = stat(name, 4096, 4200).unwrap();
            assert_eq!((stat.state(), stat.parent()), (Some('S'), Some(1)));
            assert_eq!(stat.arguments(), Some((4096, 4200)));
        }
        let own = Stat::own().unwrap();
        assert_eq!(own.parent(), Some(std::os::unix::process::parent_id() as i32));
        assert!(own.arguments().is_some());
        assert!(Stat::of(-1).is_err());
    }

    #[test]
    fn system_that_does_not_tell_the_place_is_believed_nothing() {
        for (start, end) in [(0, 0), (4200, 4096), (4096, 4096)] {
            assert_eq!(stat(b"x", start, end).unwrap().arguments(), None);
        }
        assert_eq!(Stat::behind_name("4711 (x) S 1 2").unwrap().arguments(), None);
        assert!(Stat::behind_name("").is_none());
    }

    #[test]
    fn time_of_processors_grows_with_work() {
        let time = || Stat::own().unwrap().processor_time().unwrap();
        let (begun, before) = (Instant::now(), time());
        while time() < before + Duration::from_millis(50) {
            assert!(begun.elapsed() < Duration::from_secs(60));
        }
    }

    #[test]
    fn age_is_that_of_the_process() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let age = Stat::of(child.id() as i32).unwrap().age().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(
            age < Duration::from_secs(30) && Stat::own().unwrap().age().unwrap() + Duration::from_millis(20) >= age
        );
    }

    #[test]
    fn memory_of_a_process_is_in_bytes() {
        let held = vec![1u8; 32 << 20];
        let memory = pss(std::process::id() as i32).unwrap();
        assert!((32 << 20..1 << 36).contains(&memory), "{memory} with {}", held.len());
        assert!(pss(-1).is_err());
    }
}

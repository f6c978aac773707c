//! The process as the kernel sees it, under the names Prometheus clients use everywhere. Formats:
//! proc_pid_stat(5), proc_pid_status(5), proc_stat(5).

use std::fs;

/// What is measured of the process. None: the kernel did not say, and nothing is made up.
pub(super) struct Process {
    /// Resident memory, bytes.
    pub resident_bytes: Option<u64>,
    /// Open descriptors.
    pub open_fds: Option<u64>,
}

impl Process {
    pub(super) fn now() -> Self {
        Self {
            resident_bytes: resident_bytes(),
            open_fds: open_fds(),
        }
    }
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib: u64 = field_after(&status, "VmRSS:")?;
    Some(kib * 1024)
}

/// Without the one that the counting itself needs.
fn open_fds() -> Option<u64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(count).ok()?.checked_sub(1)
}

/// When the process started, seconds since 1970.
pub(super) fn start_time_seconds() -> Option<f64> {
    let boot: u32 = field_after(&fs::read_to_string("/proc/stat").ok()?, "btime")?;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the command in parentheses and may hold anything; the 22nd field, so the
    // 20th after it, is the start in ticks since boot.
    let ticks: u32 = stat
        .rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()?;
    let ticks_per_second = u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
    Some(f64::from(boot) + f64::from(ticks) / f64::from(ticks_per_second))
}

/// The number that follows `name` on the line that begins with it.
fn field_after<T: std::str::FromStr>(text: &str, name: &str) -> Option<T> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_started_after_boot_and_before_now() {
        let started = start_time_seconds().expect("procfs tells");
        let now = std::time::SystemTime::now();
        let now = now
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        // The boot time is a whole second, and the clock may have been set by a little since.
        assert!(started <= now + 2.0, "started {started}, now {now}");
        assert!(now - started < 86_400.0, "started {started}, now {now}");
    }

    #[test]
    fn memory_and_descriptors_are_counted() {
        let process = Process::now();
        assert!(process.resident_bytes.expect("procfs tells") > 100_000);
        // Standard input, output and error, if nothing else.
        assert!(process.open_fds.expect("procfs tells") >= 3);
    }
}

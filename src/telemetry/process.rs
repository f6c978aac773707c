//! The process as the kernel sees it, under the names Prometheus clients use everywhere. Formats:
//! proc_pid_stat(5), proc_pid_status(5), proc_stat(5).

use std::fs;

use rustix::process::{Resource, getrlimit};

/// What is measured of the process. None: the kernel did not say, and nothing is made up.
#[derive(Debug, Default)]
pub(super) struct Process {
    /// User and system time, seconds.
    pub cpu_seconds: Option<f64>,
    /// When it started, seconds since 1970.
    pub start_seconds: Option<f64>,
    /// Resident memory, bytes.
    pub resident_bytes: Option<u64>,
    /// Virtual memory, bytes.
    pub virtual_bytes: Option<u64>,
    /// Open descriptors.
    pub open_fds: Option<u64>,
    /// The most there may be.
    pub max_fds: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
}

impl Process {
    pub(super) fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kib = |name| field_after::<u64>(&status, name).map(|kib| kib * 1024);
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        Self {
            cpu_seconds: cpu_seconds(&stat),
            start_seconds: start_seconds(&stat),
            resident_bytes: kib("VmRSS:"),
            virtual_bytes: kib("VmSize:"),
            open_fds: open_fds(),
            // None is a limit there is not.
            max_fds: getrlimit(Resource::Nofile).current,
            threads: field_after(&status, "Threads:"),
        }
    }
}

/// Without the one that the counting itself needs.
fn open_fds() -> Option<u64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(count).ok()?.checked_sub(1)
}

/// The field of /proc/self/stat that proc_pid_stat(5) counts as `number`, in ticks, as seconds.
/// The second field is the command in parentheses and may hold anything.
fn ticks(stat: &str, number: usize) -> Option<f64> {
    let after_command = stat.rsplit_once(')')?.1;
    let field = after_command
        .split_whitespace()
        .nth(number.checked_sub(3)?)?;
    let ticks: u64 = field.parse().ok()?;
    let ticks_per_second = u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
    Some(ticks as f64 / f64::from(ticks_per_second))
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some(ticks(stat, 14)? + ticks(stat, 15)?)
}

fn start_seconds(stat: &str) -> Option<f64> {
    let boot: u32 = field_after(&fs::read_to_string("/proc/stat").ok()?, "btime")?;
    Some(f64::from(boot) + ticks(stat, 22)?)
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
        let started = Process::now().start_seconds.expect("procfs tells");
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
        assert!(process.virtual_bytes > process.resident_bytes);
        assert!(process.threads.expect("procfs tells") >= 1);
    }

    #[test]
    fn the_time_spent_grows_with_what_is_done() {
        let before = Process::now().cpu_seconds.expect("procfs tells");
        let mut value = 1u64;
        while Process::now().cpu_seconds.expect("procfs tells") <= before {
            value = std::hint::black_box((0..100_000).fold(value, u64::wrapping_mul));
        }
    }
}

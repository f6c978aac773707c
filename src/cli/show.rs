//! How figures are shown to a person, and to a program.

use std::fmt::Write as _;
use std::io::Write;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::CliError;

/// The longest time a histogram tells apart, in nanoseconds: an hour. Longer ones count as this.
const TIME_NS_MAX: u64 = 3_600_000_000_000;

/// An empty histogram of nanoseconds, to three digits.
pub fn histogram() -> Result<Histogram<u64>, CliError> {
    Histogram::new_with_bounds(1, TIME_NS_MAX, 3)
        .map_err(|e| CliError::Failed(format!("setting up a histogram: {e}")))
}

/// Times at fixed shares of the requests, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Times {
    /// The shortest.
    pub min: u64,
    /// The average.
    pub mean: f64,
    /// Half took at most this.
    pub p50: u64,
    /// 99 of 100 took at most this.
    pub p99: u64,
    /// 999 of 1,000 took at most this.
    pub p99_9: u64,
    /// The longest.
    pub max: u64,
}

impl From<&Histogram<u64>> for Times {
    fn from(times: &Histogram<u64>) -> Self {
        Self {
            min: times.min(),
            mean: times.mean(),
            p50: times.value_at_quantile(0.5),
            p99: times.value_at_quantile(0.99),
            p99_9: times.value_at_quantile(0.999),
            max: times.max(),
        }
    }
}

impl Times {
    /// The times in one line.
    pub fn line(&self) -> String {
        let (p50, p99, p99_9) = (time(self.p50), time(self.p99), time(self.p99_9));
        format!(
            "p50 {p50}  p99 {p99}  p99.9 {p99_9}  max {}",
            time(self.max)
        )
    }
}

/// A time in the unit that suits it.
pub fn time(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}

/// A number of bytes in the binary unit that suits it; exact below 1 KiB and for whole units.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let unit = |(i, name)| (1u64 << (10 * (i + 1)), name);
    let suited = UNITS
        .into_iter()
        .enumerate()
        .map(unit)
        .rfind(|u| bytes >= u.0);
    match suited {
        None => format!("{bytes} B"),
        Some((size, name)) if bytes.is_multiple_of(size) => format!("{} {name}", bytes / size),
        Some((size, name)) => format!("{:.1} {name}", bytes as f64 / size as f64),
    }
}

/// Rows of a name and a value, the values under each other.
pub fn table(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|row| row.0.chars().count()).max();
    let width = width.unwrap_or(0);
    rows.iter().fold(String::new(), |mut text, (name, value)| {
        // Writing to a String can not fail.
        let _ = writeln!(text, "{name:width$}  {value}");
        text
    })
}

/// Indented JSON, with a newline at its end.
pub fn json(value: &impl Serialize) -> Result<String, CliError> {
    let text = serde_json::to_string_pretty(value);
    let text = text.map_err(|e| CliError::Failed(format!("writing JSON: {e}")))?;
    Ok(text + "\n")
}

/// Writes to stdout.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    let written = written.and_then(|()| stdout.flush());
    written.map_err(|e| CliError::Failed(format!("writing to stdout: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_the_unit_that_suits() {
        assert_eq!(time(0), "0 ns");
        assert_eq!(time(999), "999 ns");
        assert_eq!(time(54_321), "54.3 µs");
        assert_eq!(time(1_234_567), "1.23 ms");
        assert_eq!(time(61_000_000_000), "61.00 s");
    }

    #[test]
    fn bytes_are_shown_in_the_unit_that_suits() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1 << 20), "1 MiB");
        assert_eq!(bytes(1 << 30), "1 GiB");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn the_values_of_a_table_stand_under_each_other() {
        let rows = [("µs", "1".to_owned()), ("longer", "2".to_owned())];
        assert_eq!(table(&rows), "µs      1\nlonger  2\n");
    }

    #[test]
    fn a_histogram_tells_its_shares_to_three_digits_and_takes_any_time() {
        let mut times = histogram().unwrap();
        for us in 1..=10_000 {
            times.saturating_record(us * 1000);
        }
        let shown = Times::from(&times);
        let close = |got: u64, us: u64| got.abs_diff(us * 1000) <= us;
        assert!(close(shown.min, 1) && close(shown.p50, 5000), "{shown:?}");
        assert!(
            close(shown.p99, 9900) && close(shown.p99_9, 9990),
            "{shown:?}"
        );
        assert!(close(shown.max, 10_000), "{shown:?}");
        times.saturating_record(0);
        times.saturating_record(u64::MAX);
        assert!(Times::from(&times).max >= TIME_NS_MAX);
    }
}

//! The kinds of settings that are a number with a unit: sizes and times.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::kind::Kind;
use super::raw::Raw;

const BYTE_UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// A number of bytes within bounds, and something more that must hold of it.
pub(super) struct Bytes {
    pub range: RangeInclusive<u64>,
    pub rule: fn(u64) -> bool,
    pub rule_text: &'static str,
}

impl Kind for Bytes {
    type Value = u64;

    fn allowed(&self) -> String {
        let (from, to) = (bytes(*self.range.start()), bytes(*self.range.end()));
        let rule = self.rule_text;
        format!("{rule} from {from} to {to}, in bytes or with a unit, KiB, MiB or GiB")
    }

    fn parse(&self, raw: &Raw) -> Result<u64, String> {
        let value = raw.scalar()?.quantity(&BYTE_UNITS, 1)?;
        if !self.range.contains(&value) {
            return Err(format!("{} is out of range", bytes(value)));
        }
        if !(self.rule)(value) {
            return Err(format!("{} is not {}", bytes(value), self.rule_text));
        }
        Ok(value)
    }

    fn print(&self, value: &u64) -> Option<toml::Value> {
        Some(match bytes(*value).parse() {
            Ok(number) => toml::Value::Integer(number),
            Err(_) => toml::Value::String(bytes(*value)),
        })
    }
}

/// `value` bytes in the largest unit that divides them.
fn bytes(value: u64) -> String {
    in_units(value, &BYTE_UNITS).unwrap_or_else(|| value.to_string())
}

/// Durations are counted in microseconds.
const TIME_UNITS: [(&str, u64); 5] = [
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// A time span within bounds, a whole number of microseconds.
pub(super) struct Span(pub RangeInclusive<Duration>);

impl Kind for Span {
    type Value = Duration;

    fn allowed(&self) -> String {
        let (from, to) = (span(*self.0.start()), span(*self.0.end()));
        format!("{from} to {to}, in seconds or with a unit, us, ms, s, m or h")
    }

    fn parse(&self, raw: &Raw) -> Result<Duration, String> {
        let value = Duration::from_micros(raw.scalar()?.quantity(&TIME_UNITS, 1_000_000)?);
        let known = self.0.contains(&value).then_some(value);
        known.ok_or_else(|| format!("{} is out of range", span(value)))
    }

    fn print(&self, value: &Duration) -> Option<toml::Value> {
        Some(toml::Value::String(span(*value)))
    }
}

/// `value` in seconds, or a smaller unit where that loses something.
fn span(value: Duration) -> String {
    let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
    in_units(micros, &TIME_UNITS[2..]).unwrap_or_else(|| "0s".to_owned())
}

fn in_units(value: u64, units: &[(&str, u64)]) -> Option<String> {
    let fits = |unit: &&(&str, u64)| value != 0 && value.is_multiple_of(unit.1);
    let (name, size) = units.iter().find(fits)?;
    Some(format!("{}{name}", value / size))
}

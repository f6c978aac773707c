//! The buckets of a histogram of times.

use super::kind::{Kind, Optional};
use super::raw::Raw;
use crate::telemetry::BUCKETS_MAX;

/// The longest bound, seconds: a day.
const SECONDS_MAX: f64 = 86_400.0;
/// The shortest, seconds: what times are counted in.
const SECONDS_MIN: f64 = 1e-9;

/// Upper bounds in seconds, ascending.
pub(super) struct Buckets;
pub(super) const OPTIONAL_BUCKETS: Optional<Buckets> = Optional(Buckets);

impl Kind for Buckets {
    type Value = Vec<f64>;

    fn allowed(&self) -> String {
        format!(
            "a list of 1 to {BUCKETS_MAX} numbers of seconds, each larger than the one before, from \
             0.000000001 to 86400 (in a file an array, elsewhere with commas between)"
        )
    }

    fn parse(&self, raw: &Raw) -> Result<Vec<f64>, String> {
        let bounds = numbers(raw)?;
        if bounds.is_empty() {
            return Err("there are none".to_owned());
        }
        if bounds.len() > BUCKETS_MAX {
            return Err(format!("there are {}", bounds.len()));
        }
        let allowed = |bound: &&f64| !(SECONDS_MIN..=SECONDS_MAX).contains(*bound);
        if let Some(bound) = bounds.iter().find(allowed) {
            return Err(format!("{bound} is out of range"));
        }
        if let Some(pair) = bounds.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(format!("{} is followed by {}", pair[0], pair[1]));
        }
        Ok(bounds)
    }

    fn print(&self, value: &Vec<f64>) -> Option<toml::Value> {
        let bounds = value.iter().copied().map(toml::Value::Float);
        Some(toml::Value::Array(bounds.collect()))
    }
}

fn numbers(raw: &Raw) -> Result<Vec<f64>, String> {
    let words = |text: &str| -> Result<Vec<f64>, String> {
        let number = |word: &str| {
            word.trim()
                .parse()
                .map_err(|_| format!("{word:?} is no number"))
        };
        text.split(',').map(number).collect()
    };
    match raw {
        Raw::Flag(given) => words(&given.join(",")),
        Raw::Environment(text) => words(text),
        Raw::File(toml::Value::Array(items)) => items.iter().map(number).collect(),
        Raw::File(other) => Err(format!("{other} is of type {}", other.type_str())),
    }
}

fn number(item: &toml::Value) -> Result<f64, String> {
    match item {
        toml::Value::Float(number) => Ok(*number),
        toml::Value::Integer(number) => i32::try_from(*number)
            .map(f64::from)
            .map_err(|_| format!("{number} is out of range")),
        other => Err(format!("{other} is of type {}", other.type_str())),
    }
}

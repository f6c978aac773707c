//! What is in effect: every setting's value as a file would have it, and where it was given.

use super::origin::{ConfigError, Origin};

/// One setting in effect.
#[derive(Clone, Debug)]
struct Entry {
    key: &'static str,
    /// None when it is not set at all.
    value: Option<toml::Value>,
    origin: Origin,
}

/// All settings of a table, in its order.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolved(Vec<Entry>);

impl Resolved {
    pub(super) fn push(&mut self, key: &'static str, value: Option<toml::Value>, origin: Origin) {
        self.0.push(Entry { key, value, origin });
    }

    /// Where the setting `key` was given.
    pub(super) fn origin(&self, key: &str) -> &Origin {
        let found = self.0.iter().find(|entry| entry.key == key);
        found.map_or(&Origin::Default, |entry| &entry.origin)
    }

    /// A file that yields the same again, each value with its origin.
    pub(super) fn to_toml(&self) -> String {
        let line = |Entry { key, value, origin }: &Entry| match value {
            Some(value) => format!("{key} = {value}  # {origin}\n"),
            None => format!("# {key} is not set  # {origin}\n"),
        };
        self.0.iter().map(line).collect()
    }

    #[cfg(test)]
    pub(super) fn values(&self) -> Vec<(&'static str, Option<toml::Value>)> {
        let values = self.0.iter().map(|entry| (entry.key, entry.value.clone()));
        values.collect()
    }

    /// `problem` with the setting `key`.
    pub(super) fn error(&self, key: &str, problem: String) -> ConfigError {
        ConfigError::at(self.origin(key), key, problem)
    }

    /// Two settings that can not both hold: the error stands where the stronger one was given,
    /// and names both.
    pub(super) fn contradiction(&self, a: &str, b: &str, allowed: &str) -> ConfigError {
        let [with_a, with_b] = [a, b].map(|key| self.assignment(key));
        let problem = format!("{with_a} contradicts {with_b}; allowed: {allowed}");
        let a_is_stronger = self.origin(a) > self.origin(b);
        self.error(if a_is_stronger { a } else { b }, problem)
    }

    fn assignment(&self, key: &str) -> String {
        let found = self.0.iter().find(|entry| entry.key == key);
        let origin = self.origin(key);
        match found.and_then(|entry| entry.value.as_ref()) {
            Some(value) => format!("{key} = {value} ({origin})"),
            None => format!("no {key} ({origin})"),
        }
    }
}

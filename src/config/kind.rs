//! The kinds of settings: what may be written for one, and how it is written back.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::raw::Raw;

/// How a setting is read, described and written.
pub(super) trait Kind {
    /// What the rest of the engine gets.
    type Value;

    /// What may be written, to follow "allowed: ".
    fn allowed(&self) -> String;

    /// The value, or what is wrong with it.
    fn parse(&self, raw: &Raw) -> Result<Self::Value, String>;

    /// The value as a file would have it; None when there is nothing to write.
    fn print(&self, value: &Self::Value) -> Option<toml::Value>;
}

/// A whole number within bounds that `T` can hold.
pub(super) struct Integer<T>(pub RangeInclusive<T>);

impl<T: Copy + Display + Into<i64> + TryFrom<i64> + PartialOrd> Kind for Integer<T> {
    type Value = T;

    fn allowed(&self) -> String {
        format!("an integer from {} to {}", self.0.start(), self.0.end())
    }

    fn parse(&self, raw: &Raw) -> Result<T, String> {
        let number = raw.scalar()?.integer()?;
        let value = T::try_from(number).ok().filter(|v| self.0.contains(v));
        value.ok_or_else(|| format!("{number} is out of range"))
    }

    fn print(&self, value: &T) -> Option<toml::Value> {
        Some(toml::Value::Integer((*value).into()))
    }
}

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
pub(super) fn bytes(value: u64) -> String {
    in_units(value, &BYTE_UNITS).unwrap_or_else(|| value.to_string())
}

/// Durations are counted in milliseconds.
const TIME_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A time span within bounds, a whole number of milliseconds.
pub(super) struct Span(pub RangeInclusive<Duration>);

impl Kind for Span {
    type Value = Duration;

    fn allowed(&self) -> String {
        let (from, to) = (span(*self.0.start()), span(*self.0.end()));
        format!("{from} to {to}, in seconds or with a unit, ms, s, m or h")
    }

    fn parse(&self, raw: &Raw) -> Result<Duration, String> {
        let value = Duration::from_millis(raw.scalar()?.quantity(&TIME_UNITS, 1_000)?);
        let known = self.0.contains(&value).then_some(value);
        known.ok_or_else(|| format!("{} is out of range", span(value)))
    }

    fn print(&self, value: &Duration) -> Option<toml::Value> {
        Some(toml::Value::String(span(*value)))
    }
}

/// `value` in seconds, or milliseconds where that loses something.
pub(super) fn span(value: Duration) -> String {
    let millis = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
    in_units(millis, &TIME_UNITS[2..]).unwrap_or_else(|| "0s".to_owned())
}

fn in_units(value: u64, units: &[(&str, u64)]) -> Option<String> {
    let fits = |unit: &&(&str, u64)| value != 0 && value.is_multiple_of(unit.1);
    let (name, size) = units.iter().find(fits)?;
    Some(format!("{}{name}", value / size))
}

/// On or off.
pub(super) struct Switch;

impl Kind for Switch {
    type Value = bool;

    fn allowed(&self) -> String {
        "true or false".to_owned()
    }

    fn parse(&self, raw: &Raw) -> Result<bool, String> {
        use super::raw::Scalar;
        match raw.scalar()? {
            Scalar::Boolean(on) => Ok(on),
            Scalar::Word("true") => Ok(true),
            Scalar::Word("false") => Ok(false),
            other => Err(format!("{other} is no boolean")),
        }
    }

    fn print(&self, value: &bool) -> Option<toml::Value> {
        Some(toml::Value::Boolean(*value))
    }
}

/// One of a few names. `absent` says why something that one might expect is not among them.
pub(super) struct Choice<T: 'static> {
    pub names: &'static [(&'static str, T)],
    pub absent: &'static str,
}

impl<T: Copy + PartialEq> Kind for Choice<T> {
    type Value = T;

    fn allowed(&self) -> String {
        let names: Vec<&str> = self.names.iter().map(|(name, _)| *name).collect();
        format!("{}{}", names.join(", "), self.absent)
    }

    fn parse(&self, raw: &Raw) -> Result<T, String> {
        let scalar = raw.scalar()?;
        let text = scalar.text()?;
        let found = self.names.iter().find(|(name, _)| *name == text);
        found
            .map(|(_, value)| *value)
            .ok_or_else(|| format!("{text:?} is unknown"))
    }

    fn print(&self, value: &T) -> Option<toml::Value> {
        let found = self.names.iter().find(|(_, named)| named == value);
        found.map(|(name, _)| toml::Value::String((*name).to_owned()))
    }
}

/// A path of at most so many bytes.
pub(super) struct FilePath {
    pub bytes_max: usize,
}

impl Kind for FilePath {
    type Value = PathBuf;

    fn allowed(&self) -> String {
        format!("a path of 1 to {} bytes", self.bytes_max)
    }

    fn parse(&self, raw: &Raw) -> Result<PathBuf, String> {
        let scalar = raw.scalar()?;
        match scalar.text()? {
            "" => Err("the path is empty".to_owned()),
            text if text.contains('\0') => Err("the path contains a zero byte".to_owned()),
            text if text.len() > self.bytes_max => {
                Err(format!("{text} is {} bytes long", text.len()))
            }
            text => Ok(PathBuf::from(text)),
        }
    }

    fn print(&self, value: &PathBuf) -> Option<toml::Value> {
        Some(toml::Value::String(value.to_string_lossy().into_owned()))
    }
}

/// An address to listen on; None is "off".
pub(super) struct Listen;

impl Kind for Listen {
    type Value = Option<SocketAddr>;

    fn allowed(&self) -> String {
        "an address and port such as 127.0.0.1:9464 or [::1]:9464, or off".to_owned()
    }

    fn parse(&self, raw: &Raw) -> Result<Option<SocketAddr>, String> {
        let scalar = raw.scalar()?;
        match scalar.text()? {
            "off" => Ok(None),
            text => match text.parse() {
                Ok(address) => Ok(Some(address)),
                Err(_) => Err(format!("{text:?} is no address and port")),
            },
        }
    }

    fn print(&self, value: &Option<SocketAddr>) -> Option<toml::Value> {
        let text = value.map_or_else(|| "off".to_owned(), |address| address.to_string());
        Some(toml::Value::String(text))
    }
}

/// Any number of items of one kind.
pub(super) struct List<K> {
    pub item: K,
    /// Between the items of an environment variable.
    pub separator: char,
}

impl<K: Kind> Kind for List<K> {
    type Value = Vec<K::Value>;

    fn allowed(&self) -> String {
        format!(
            "a list (in a file an array, in the environment with '{}' between, a flag is repeated), \
             each item {}",
            self.separator,
            self.item.allowed()
        )
    }

    fn parse(&self, raw: &Raw) -> Result<Self::Value, String> {
        let items = raw.items(self.separator)?;
        items.iter().map(|item| self.item.parse(item)).collect()
    }

    fn print(&self, value: &Self::Value) -> Option<toml::Value> {
        let items = value.iter().filter_map(|item| self.item.print(item));
        Some(toml::Value::Array(items.collect()))
    }
}

/// A setting that may be absent.
pub(super) struct Optional<K>(pub K);

impl<K: Kind> Kind for Optional<K> {
    type Value = Option<K::Value>;

    fn allowed(&self) -> String {
        self.0.allowed()
    }

    fn parse(&self, raw: &Raw) -> Result<Self::Value, String> {
        self.0.parse(raw).map(Some)
    }

    fn print(&self, value: &Self::Value) -> Option<toml::Value> {
        value.as_ref().and_then(|value| self.0.print(value))
    }
}

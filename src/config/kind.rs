//! The kinds of settings: what may be written for one, and how it is written back.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

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

/// One of a few names.
pub(super) struct Choice<T: 'static> {
    pub names: &'static [(&'static str, T)],
}

impl<T: Copy + PartialEq> Kind for Choice<T> {
    type Value = T;

    fn allowed(&self) -> String {
        let names: Vec<&str> = self.names.iter().map(|(name, _)| *name).collect();
        names.join(", ")
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

/// An address to listen on. What is allowed shows `port` as an example.
pub(super) struct Address {
    pub port: u16,
}

impl Kind for Address {
    type Value = SocketAddr;

    fn allowed(&self) -> String {
        let port = self.port;
        format!("an address and port such as 127.0.0.1:{port} or [::1]:{port}")
    }

    fn parse(&self, raw: &Raw) -> Result<SocketAddr, String> {
        let scalar = raw.scalar()?;
        let text = scalar.text()?;
        text.parse()
            .map_err(|_| format!("{text:?} is no address and port"))
    }

    fn print(&self, value: &SocketAddr) -> Option<toml::Value> {
        Some(toml::Value::String(value.to_string()))
    }
}

/// A setting that may be "off", which is None.
pub(super) struct OrOff<K>(pub K);

impl<K: Kind> Kind for OrOff<K> {
    type Value = Option<K::Value>;

    fn allowed(&self) -> String {
        format!("{}, or off", self.0.allowed())
    }

    fn parse(&self, raw: &Raw) -> Result<Self::Value, String> {
        match raw.scalar()?.text() {
            Ok("off") => Ok(None),
            _ => self.0.parse(raw).map(Some),
        }
    }

    fn print(&self, value: &Self::Value) -> Option<toml::Value> {
        match value {
            Some(value) => self.0.print(value),
            None => Some(toml::Value::String("off".to_owned())),
        }
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

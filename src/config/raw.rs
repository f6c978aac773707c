//! A value as it was written, before its setting gives it a meaning.

/// What was written for a setting, by the kind of place it was written in.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    /// The words of a flag, one for each time it was given.
    Flag(Vec<String>),
    /// The text of an environment variable.
    Environment(String),
    /// A TOML value: typed, so `"1000"` is not a number there.
    File(toml::Value),
}

/// One single value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    /// A word of a flag or a variable: it is whatever it can be read as.
    Word(&'a str),
    /// A TOML string.
    String(&'a str),
    /// A TOML integer.
    Integer(i64),
    /// A TOML boolean.
    Boolean(bool),
}

impl Raw {
    /// The value as a single one; the error says what it is instead.
    pub(super) fn scalar(&self) -> Result<Scalar<'_>, String> {
        match self {
            Raw::Flag(words) => match words.as_slice() {
                [word] => Ok(Scalar::Word(word)),
                words => Err(format!("is given {} times", words.len())),
            },
            Raw::Environment(text) => Ok(Scalar::Word(text)),
            Raw::File(toml::Value::String(text)) => Ok(Scalar::String(text)),
            Raw::File(toml::Value::Integer(number)) => Ok(Scalar::Integer(*number)),
            Raw::File(toml::Value::Boolean(on)) => Ok(Scalar::Boolean(*on)),
            Raw::File(other) => Err(format!("{other} is of type {}", other.type_str())),
        }
    }

    /// The value as a list: flags repeat, a variable has its items between `separator`s and is an
    /// empty list when it is empty, a file has an array.
    pub(super) fn items(&self, separator: char) -> Result<Vec<Raw>, String> {
        match self {
            Raw::Flag(words) => Ok(words.iter().cloned().map(Raw::Environment).collect()),
            Raw::Environment(text) if text.is_empty() => Ok(Vec::new()),
            Raw::Environment(text) => Ok(text
                .split(separator)
                .map(|item| Raw::Environment(item.to_owned()))
                .collect()),
            Raw::File(toml::Value::Array(items)) => {
                Ok(items.iter().cloned().map(Raw::File).collect())
            }
            Raw::File(other) => Err(format!("{other} is of type {}", other.type_str())),
        }
    }
}

impl Scalar<'_> {
    /// The value as text.
    pub(super) fn text(&self) -> Result<&str, String> {
        match self {
            Scalar::Word(text) | Scalar::String(text) => Ok(text),
            Scalar::Integer(number) => Err(format!("{number} is of type integer")),
            Scalar::Boolean(on) => Err(format!("{on} is of type boolean")),
        }
    }

    /// The value as a whole number.
    pub(super) fn integer(&self) -> Result<i64, String> {
        match self {
            Scalar::Word(word) => word.parse().map_err(|_| format!("{word:?} is no integer")),
            Scalar::Integer(number) => Ok(*number),
            Scalar::String(text) => Err(format!("{text:?} is of type string")),
            Scalar::Boolean(on) => Err(format!("{on} is of type boolean")),
        }
    }

    /// The value as a whole number of base units: an integer counts `bare` of them each, a text
    /// names one of `units`. Only a TOML string must name it, because there an integer can be had
    /// without quotes.
    pub(super) fn quantity(&self, units: &[(&str, u64)], bare: u64) -> Result<u64, String> {
        let (number, unit) = match self {
            Scalar::Integer(number) => (u64::try_from(*number).ok(), bare),
            Scalar::Boolean(on) => return Err(format!("{on} is of type boolean")),
            Scalar::Word(text) | Scalar::String(text) => {
                let end = text.find(|c: char| !c.is_ascii_digit());
                let (digits, name) = text.split_at(end.unwrap_or(text.len()));
                if digits.is_empty() {
                    return Err(format!("{text:?} does not begin with a whole number"));
                }
                let name = name.trim_start();
                let unit = match units.iter().find(|unit| unit.0 == name) {
                    Some(unit) => unit.1,
                    None if !name.is_empty() => return Err(format!("{text:?} has no known unit")),
                    None if matches!(self, Scalar::Word(_)) => bare,
                    None => return Err(format!("{text:?} has no unit")),
                };
                (digits.parse().ok(), unit)
            }
        };
        number
            .and_then(|number: u64| number.checked_mul(unit))
            .ok_or_else(|| format!("{self} is out of range"))
    }
}

impl std::fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scalar::Word(text) | Scalar::String(text) => write!(f, "{text:?}"),
            Scalar::Integer(number) => write!(f, "{number}"),
            Scalar::Boolean(on) => write!(f, "{on}"),
        }
    }
}

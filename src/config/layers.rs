//! The layers a setting can be given in, and which of them wins: a flag beats the environment
//! beats the file beats the default. What a stronger layer overrides is still checked, so that a
//! mistake does not lie in wait for the day the flag goes away.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::kind::Kind;
use super::origin::{ConfigError, Origin};
use super::raw::Raw;
use super::resolved::Resolved;

const PREFIX: &str = "RDMA_ENGINE_";
/// The variable that sidecars already use for the engine's socket, and the setting it is. Where
/// there is no such setting, it is somebody else's.
const SOCKET_ALIAS: (&str, &str) = ("RDMA_SOCKET_PATH", "ipc_socket");
/// The variable for the file itself, which is not a setting of the file.
const FILE_VARIABLE: &str = "RDMA_ENGINE_CONFIG";
/// A configuration file larger than this is not one.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Everything that was given, weakest layer first for each key.
pub(super) struct Layers {
    keys: &'static [&'static str],
    given: BTreeMap<&'static str, Vec<(Origin, Raw)>>,
    resolved: Resolved,
}

impl Layers {
    /// Gathers the three layers over settings of the names `keys`. `file` and `flags` (key, flag, words)
    /// are from the command line; a flag that was not given has no words.
    pub(super) fn gather<'a>(
        keys: &'static [&'static str],
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        flags: impl Iterator<Item = (&'static str, &'static str, &'a [String])>,
    ) -> Result<Self, ConfigError> {
        let mut layers = Self {
            keys,
            given: BTreeMap::new(),
            resolved: Resolved::default(),
        };
        let has_socket = layers.known(SOCKET_ALIAS.1).is_some();
        let variables: BTreeMap<_, _> = environment
            .filter(|(name, _)| name.starts_with(PREFIX) || (has_socket && name == SOCKET_ALIAS.0))
            .collect();
        let variable = Origin::Environment(FILE_VARIABLE.to_owned());
        match (file, variables.get(FILE_VARIABLE)) {
            (Some(path), _) => layers.add_file(path, &Origin::Flag("config"))?,
            (None, Some(path)) => layers.add_file(&PathBuf::from(path), &variable)?,
            (None, None) => {}
        }
        layers.add_environment(variables)?;
        for (key, flag, words) in flags.filter(|(_, _, words)| !words.is_empty()) {
            layers.add(key, Origin::Flag(flag), Raw::Flag(words.to_vec()));
        }
        Ok(layers)
    }

    /// The value of the setting `key`: from the strongest layer that gives it, else the default.
    pub(super) fn resolve<K: Kind>(
        &mut self,
        key: &'static str,
        kind: &K,
        default: impl FnOnce() -> K::Value,
    ) -> Result<K::Value, ConfigError> {
        let mut effective = (Origin::Default, None);
        for (origin, raw) in self.given.remove(key).unwrap_or_default() {
            let value = kind.parse(&raw).map_err(|problem| {
                let problem = format!("{problem}; allowed: {}", kind.allowed());
                ConfigError::at(&origin, key, problem)
            })?;
            effective = (origin, Some(value));
        }
        let (origin, value) = effective;
        let value = value.unwrap_or_else(default);
        self.resolved.push(key, kind.print(&value), origin);
        Ok(value)
    }

    /// All that was resolved, in that order.
    pub(super) fn into_resolved(self) -> Resolved {
        self.resolved
    }

    fn add(&mut self, key: &'static str, origin: Origin, raw: Raw) {
        self.given.entry(key).or_default().push((origin, raw));
    }

    fn known(&self, name: &str) -> Option<&'static str> {
        self.keys.iter().copied().find(|key| *key == name)
    }

    fn add_file(&mut self, path: &Path, named_by: &Origin) -> Result<(), ConfigError> {
        let text = read(path).map_err(|error| {
            let path = path.display();
            ConfigError::of(
                named_by,
                format!("reading the configuration {path}: {error}"),
            )
        })?;
        let at = |offset: usize| Origin::File {
            path: path.to_owned(),
            line: 1 + text.bytes().take(offset).filter(|b| *b == b'\n').count(),
        };
        let table: BTreeMap<Spanned<String>, toml::Value> =
            toml::from_str(&text).map_err(|error| {
                let origin = at(error.span().map_or(0, |span| span.start));
                ConfigError::of(&origin, error.message())
            })?;
        for (key, value) in table {
            let origin = at(key.span().start);
            let Some(known) = self.known(key.get_ref()) else {
                let allowed = self.keys.join(", ");
                let problem = format!("unknown key; allowed: {allowed}");
                return Err(ConfigError::at(&origin, key.get_ref(), problem));
            };
            self.add(known, origin, Raw::File(value));
        }
        Ok(())
    }

    fn add_environment(&mut self, variables: BTreeMap<String, String>) -> Result<(), ConfigError> {
        let (alias, alias_key) = SOCKET_ALIAS;
        for (name, text) in &variables {
            let origin = Origin::Environment(name.clone());
            if text.contains('\u{FFFD}') {
                return Err(ConfigError::of(
                    &origin,
                    "is not UTF-8; allowed: UTF-8 text",
                ));
            }
            let lowered = name.strip_prefix(PREFIX).unwrap_or(name).to_lowercase();
            let known = match name.as_str() {
                FILE_VARIABLE => continue,
                name if name == alias => self.known(alias_key),
                // Only the upper-case spelling: a second one could contradict it.
                name if name.to_uppercase() == name => self.known(&lowered),
                _ => None,
            };
            let Some(key) = known else {
                let allowed = variable_names(self.keys);
                let problem = format!("unknown variable; allowed: {allowed}");
                return Err(ConfigError::of(&origin, problem));
            };
            self.add(key, origin, Raw::Environment(text.clone()));
        }
        let own = format!("{PREFIX}{}", alias_key.to_uppercase());
        match (variables.get(alias), variables.get(&own)) {
            (Some(a), Some(b)) if a != b => Err(ConfigError::of(
                &Origin::Environment(alias.to_owned()),
                format!("{a:?} contradicts {own}, {b:?}; allowed: one of them, or the same path"),
            )),
            _ => Ok(()),
        }
    }
}

fn variable_names(keys: &[&str]) -> String {
    let names = keys
        .iter()
        .map(|key| format!("{PREFIX}{}", key.to_uppercase()));
    let names: Vec<String> = names.chain([FILE_VARIABLE.to_owned()]).collect();
    names.join(", ")
}

/// The file's text. The error is a sentence's end.
fn read(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    let limited = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    limited.map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it is larger than {FILE_BYTES_MAX} bytes"));
    }
    Ok(text)
}

/// The process's environment as far as it concerns the daemons. Text that is not UTF-8 comes with
/// U+FFFD in it, which loading refuses.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, text)| {
        let name = name.to_string_lossy().into_owned();
        (name, text.to_string_lossy().into_owned())
    })
}

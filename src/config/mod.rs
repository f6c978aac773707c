//! The daemon's configuration: flags, environment and a TOML file, all checked before anything
//! starts.
//!
//! `settings` is the table of everything that can be set. Each place a setting can be given in
//! is a layer (`layers`) of values as they were written (`raw`); a setting's `kind` reads
//! them; `check` looks at what one setting alone can not show. Whatever is wrong is an error
//! that names its `origin`.

mod check;
mod choice;
mod kind;
mod layers;
mod origin;
mod raw;
mod settings;
mod token;

#[cfg(test)]
mod tests;

pub use choice::{Device, Hugepages};
pub use layers::environment;
pub use origin::{ConfigError, Origin};
pub use settings::{Config, ServerArgs};
pub use token::{TOKEN_BYTES_MAX, Token};

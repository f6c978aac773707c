//! The daemons' configuration: flags, environment and a TOML file, all checked before anything
//! starts.
//!
//! `server` and `target` are the tables of everything that can be set, `settings` is what they
//! are made of. Each place a setting can be given in is a layer (`layers`) of values as they were
//! written (`raw`); a setting's `kind` reads them; `check` looks at what one setting alone can
//! not show. What is in effect is `resolved`; whatever is wrong is an error that names its
//! `origin`.

mod buckets;
mod check;
mod choice;
mod kind;
mod layers;
mod origin;
mod peer;
mod quantity;
mod raw;
mod resolved;
mod server;
mod settings;
mod target;
mod token;

#[cfg(test)]
mod tests;

pub use choice::{Hugepages, LogFormat, TransportChoice};
pub use layers::environment;
pub use origin::{ConfigError, Origin};
pub use peer::{PEER_NAME_BYTES_MAX, PEERS_MAX, PeerAddress};
pub use server::{Config, ServerArgs};
pub use target::{TargetArgs, TargetConfig};
pub use token::{TOKEN_BYTES_MAX, Token};

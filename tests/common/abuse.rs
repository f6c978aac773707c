//! What a connection may be made to bear while others are served.

use rdma_engine::protocol::message::{ErrorResponse, Ping};
use serde_json::Value;

use super::{Client, Engine, Setup};

/// A Ping to be recognised by its timestamp.
pub fn ping(timestamp_ns: u64) -> Ping {
    Ping {
        timestamp_ns,
        ..Ping::default()
    }
}

/// A message that need not make sense.
pub fn packed(message: &Value) -> Vec<u8> {
    rmp_serde::to_vec_named(message).unwrap()
}

/// Runs `abuse` on a new connection while a bystander is served, and counts afterwards.
pub fn while_others_are_served(abuse: impl FnOnce(&Engine, &mut Client)) {
    let engine = Setup::new().start();
    let before = engine.baseline();
    let mut bystander = engine.bystander();
    let mut client = engine.client();
    abuse(&engine, &mut client);
    bystander.served();
    drop((client, bystander));
    engine.assert_nothing_lost(&before);
}

/// The error is MALFORMED_MESSAGE, as the protocol describes it.
pub fn assert_malformed(error: &ErrorResponse) {
    assert_eq!(
        (error.code.as_str(), error.category.as_str()),
        ("MALFORMED_MESSAGE", "ipc"),
        "{error:?}"
    );
    assert!(error.recoverable && !error.message.is_empty());
}

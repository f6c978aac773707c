//! Reads that are to fail while links to peers come and go.

use rdma_engine::protocol::message::StartRead;

use super::client::whole;
use super::{Client, Needle, eventually, within_patience};

/// Starts a read again and again until it fails with this code and with words to that effect;
/// until then it may fail only because there is no connection just then.
pub fn fails_with(client: &mut Client, read: &StartRead, code: &str, words: &str) {
    let mut before = String::new();
    let failed = within_patience(|| {
        let error = client.start(read).expect_err("it can not be read");
        let expected = error.code == code && error.message.contains(words);
        assert!(
            expected || error.code == "PEER_UNAVAILABLE",
            "not {code} with {words:?} but {error:?}"
        );
        before = error.message;
        expected
    });
    assert!(failed, "not {code} with {words:?} but, at last, {before}");
}

/// Awaits that the worker of this client has heard what its only peer serves: a read of another
/// volume is refused for good.
pub fn await_told(client: &mut Client) {
    eventually("the peer has said what it serves", || {
        let code = client.refusal(&whole(1, &Needle::new(1, [])));
        (code == "VOLUME_NOT_FOUND").then_some(())
    });
}

//! An engine whose pool is soon full.

use rdma_engine::protocol::message::{CompleteRead, StartRead, StartReadResponse};

use super::client::range;
use super::{Client, Needle, Setup, Spec, Volume, bytes};

/// A mebibyte.
pub const MIB: u64 = 1 << 20;

/// Needle 1 of volume 7, 4 MiB.
pub fn large() -> Needle {
    Needle::new(1, bytes(1, 4 * MIB as usize))
}

/// The large needle without its data, for asking.
pub fn large_id() -> Needle {
    Needle::new(1, [])
}

/// Bytes of a read of which the pool has room for four: a quarter of it, less what the needle's
/// own head and tail may take.
pub const QUARTER: u64 = 900 << 10;

/// A read that takes a quarter of the pool.
pub fn quarter() -> StartRead {
    range(7, &large_id(), 0, QUARTER)
}

/// What such a read lands.
pub fn quarter_bytes() -> Vec<u8> {
    bytes(1, QUARTER as usize)
}

/// An engine whose pool has room for four such reads and no fifth.
pub fn room_for_four() -> Setup {
    let mut setup = Setup::new().set("max_transfer_size", "1048576");
    setup.buffer_size = 4 * MIB;
    Volume::create(setup.volumes(), 7, &Spec::default()).put(&large());
    setup
}

/// Starts `count` reads and holds on to them.
pub fn hold(client: &mut Client, count: usize, read: &StartRead) -> Vec<StartReadResponse> {
    (0..count).map(|_| client.start(read).unwrap()).collect()
}

/// The code the completion of a session is refused with.
pub fn complete_code(client: &mut Client, session_id: &str) -> String {
    let complete = CompleteRead {
        session_id: session_id.to_owned(),
        success: true,
        ..CompleteRead::default()
    };
    client.complete_with(complete).unwrap_err().code
}

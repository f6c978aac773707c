//! A client who behaves, while others do not.

use rdma_engine::protocol::message::StartRead;

use super::client::{range, whole};
use super::{Client, Engine, Needle, Pool, bytes};

/// A volume every engine has, for clients who behave.
pub const GOOD_VOLUME: u32 = 9000;

/// Its only needle.
pub fn good_needle() -> Needle {
    Needle::new(1, bytes(9000, 10_000))
}

/// A client who behaves, to show that what others do is nothing to it.
pub struct Bystander {
    pub client: Client,
    pub pool: Pool,
    needle: Needle,
}

impl Bystander {
    /// A new connection to `engine`, with its pool.
    pub fn of(engine: &Engine) -> Self {
        let mut client = engine.client();
        let pool = client.attach();
        Self {
            client,
            pool,
            needle: good_needle(),
        }
    }

    /// Checks that pings and reads are answered.
    pub fn served(&mut self) {
        self.client.ping();
        let (data, _) = self.client.fetch(&self.pool, &Self::whole()).unwrap();
        assert_eq!(data, self.needle.data);
        let part = range(GOOD_VOLUME, &self.needle, 4000, 200);
        let (data, _) = self.client.fetch(&self.pool, &part).unwrap();
        assert_eq!(data, &self.needle.data[4000..4200]);
    }

    /// A read that is always possible.
    pub fn whole() -> StartRead {
        whole(GOOD_VOLUME, &good_needle())
    }
}

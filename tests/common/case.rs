//! Volumes with something bad between two good needles.

use rdma_engine::protocol::message::{ErrorResponse, StartRead};

use super::client::{frame, range, whole};
use super::volume::Placed;
use super::{Bystander, Engine, Needle, Setup, Spec, Volume, bytes};

/// Length of the needle that is to be spoilt.
pub const BAD_BYTES: u64 = 50_000;

/// A volume: a needle that is to be spoilt, with good ones before and after it.
pub struct Case {
    pub id: u32,
    pub volume: Volume,
    pub bad: Needle,
    pub placed: Placed,
}

impl Case {
    /// Asks for all of the bad needle.
    pub fn whole(&self) -> StartRead {
        whole(self.id, &self.bad)
    }

    /// Asks for a range of it.
    pub fn range(&self, offset: u64, size: u64) -> StartRead {
        range(self.id, &self.bad, offset, size)
    }

    /// Both.
    pub fn whole_and_part(&self) -> Vec<StartRead> {
        vec![self.whole(), self.range(100, 100)]
    }

    /// Asks for the good needle before the bad one.
    pub fn before(&self) -> StartRead {
        whole(self.id, &good(1))
    }

    /// Asks for the good needle after it.
    pub fn after(&self) -> StartRead {
        whole(self.id, &good(3))
    }
}

/// A good needle.
pub fn good(id: u64) -> Needle {
    Needle::new(id, bytes(id, 3000))
}

/// Cases that one engine is to meet.
pub struct Cases {
    pub setup: Setup,
    list: Vec<Case>,
}

impl Cases {
    /// None yet.
    pub fn new() -> Self {
        Self::of(Setup::new())
    }

    /// None yet, for an engine that is set up in some way.
    pub fn of(setup: Setup) -> Self {
        let list = Vec::new();
        Self { setup, list }
    }

    /// One more, a volume of this version with an ordinary needle to be spoilt.
    pub fn add(&mut self, version: u8) -> &Case {
        let bad = Needle::new(2, bytes(2, BAD_BYTES as usize));
        self.add_needle(version, bad)
    }

    /// One more, with this needle as the bad one. Its id is 2.
    pub fn add_needle(&mut self, version: u8, bad: Needle) -> &Case {
        assert_eq!(bad.id, 2);
        let id = 100 + u32::try_from(self.list.len()).unwrap();
        let spec = Spec {
            version,
            ..Spec::default()
        };
        let mut volume = Volume::create(self.setup.volumes(), id, &spec);
        volume.put(&good(1));
        let placed = volume.put(&bad);
        volume.put(&good(3));
        self.list.push(Case {
            id,
            volume,
            bad,
            placed,
        });
        self.list.last().unwrap()
    }

    /// Checks that each of the `reads` of every case is refused with one of `codes`, and that the
    /// needles beside the bad ones, and other volumes, are served.
    pub fn refused(self, codes: &[&str], reads: impl Fn(&Case) -> Vec<StartRead>) {
        self.each(|bystander, cases| {
            let reads: Vec<StartRead> = cases.iter().flat_map(reads).collect();
            refused(bystander, codes, &reads);
            for case in cases {
                assert_eq!(fetched(bystander, &case.before()), good(1).data);
                assert_eq!(fetched(bystander, &case.after()), good(3).data);
            }
        });
    }

    /// Runs `check` on an engine that meets the cases; a client of another volume is served, and
    /// nothing is lost.
    pub fn each(self, check: impl FnOnce(&mut Bystander, &[Case])) {
        self.each_on_engine(|_, bystander, cases| check(bystander, cases));
    }

    /// The same, for a check that looks at the engine itself.
    pub fn each_on_engine(self, check: impl FnOnce(&Engine, &mut Bystander, &[Case])) {
        let engine = self.setup.start();
        let before = engine.baseline();
        let mut bystander = engine.bystander();
        check(&engine, &mut bystander, &self.list);
        bystander.served();
        drop(bystander);
        engine.assert_nothing_lost(&before);
    }
}

/// Checks that each of `reads` is refused with one of `codes`, and refused again.
pub fn refused(bystander: &mut Bystander, codes: &[&str], reads: &[StartRead]) {
    let client = &mut bystander.client;
    for _ in 0..2 {
        let requests: Vec<u8> = reads.iter().flat_map(|r| frame(r.clone())).collect();
        client.write(&requests);
        for read in reads {
            let error = client.receive_error();
            assert!(codes.contains(&error.code.as_str()), "{read:?}: {error:?}");
            assert_as_the_protocol_says(&error);
        }
    }
}

/// The bytes of a read that succeeds.
pub fn fetched(bystander: &mut Bystander, read: &StartRead) -> Vec<u8> {
    let fetched = bystander.client.fetch(&bystander.pool, read);
    fetched
        .unwrap_or_else(|error| panic!("{read:?}: {error:?}"))
        .0
}

/// Category and recoverability are those of the protocol.
pub fn assert_as_the_protocol_says(error: &ErrorResponse) {
    let code = rdma_engine::error::Code::ALL.into_iter();
    let code = code.into_iter().find(|c| c.as_str() == error.code).unwrap();
    assert_eq!(error.category, code.category());
    assert_eq!(error.recoverable, code.recoverable());
    assert!(!error.message.is_empty());
}

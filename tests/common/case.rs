//! A volume with something bad between two good needles.

use rdma_engine::protocol::message::{ErrorResponse, StartRead};

use super::client::{range, whole};
use super::volume::Placed;
use super::{Engine, Needle, Setup, Spec, Volume, bytes};

/// Volume 7: a needle that is to be spoilt, with good ones before and after it.
pub struct Case {
    pub setup: Setup,
    pub volume: Volume,
    pub bad: Needle,
    pub placed: Placed,
}

impl Case {
    /// The needle in a volume of this version.
    pub fn new(version: u8, bad: Needle) -> Self {
        Self::in_setup(Setup::new(), version, bad)
    }

    /// The same where the engine is to be set up in some way.
    pub fn in_setup(setup: Setup, version: u8, bad: Needle) -> Self {
        let spec = Spec {
            version,
            ..Spec::default()
        };
        let mut volume = Volume::create(setup.volumes(), 7, &spec);
        volume.put(&good(BEFORE));
        let placed = volume.put(&bad);
        volume.put(&good(AFTER));
        Self {
            setup,
            volume,
            bad,
            placed,
        }
    }

    /// Checks that each of `reads` is refused with one of `codes`, again and again, while the
    /// volume's other needles and other volumes are served.
    pub fn refused(self, codes: &[&str], reads: impl Fn(&Needle) -> Vec<StartRead>) {
        let reads = reads(&self.bad);
        self.others_served(true, |engine| refused(engine, codes, &reads));
    }

    /// Runs `check` while other volumes are served; and the needles beside the bad one, where
    /// `same_volume` says that they can be.
    pub fn others_served(self, same_volume: bool, check: impl FnOnce(&Engine)) {
        let engine = self.setup.start();
        let before = engine.baseline();
        let mut bystander = engine.bystander();
        check(&engine);
        bystander.served();
        if same_volume {
            for needle in [good(BEFORE), good(AFTER)] {
                let fetched = bystander.client.fetch(&bystander.pool, &whole(7, &needle));
                assert_eq!(fetched.unwrap().0, needle.data);
            }
        }
        drop(bystander);
        engine.assert_nothing_lost(&before);
    }
}

/// Id of the good needle before the bad one.
pub const BEFORE: u64 = 1;
/// Id of the good needle after it.
pub const AFTER: u64 = 3;

/// A good needle of this id.
pub fn good(id: u64) -> Needle {
    Needle::new(id, bytes(id, 3000))
}

/// Checks that each of `reads` is refused with one of `codes`, twice.
pub fn refused(engine: &Engine, codes: &[&str], reads: &[StartRead]) {
    let mut client = engine.client();
    for read in reads.iter().chain(reads) {
        let error = client.start(read).expect_err(&format!("{read:?}"));
        assert!(codes.contains(&error.code.as_str()), "{read:?}: {error:?}");
        assert_as_the_protocol_says(&error);
    }
}

/// Category and recoverability are those of the protocol.
pub fn assert_as_the_protocol_says(error: &ErrorResponse) {
    let code = rdma_engine::error::Code::ALL.into_iter();
    let code = code.into_iter().find(|c| c.as_str() == error.code).unwrap();
    assert_eq!(error.category, code.category());
    assert_eq!(error.recoverable, code.recoverable());
    assert!(!error.message.is_empty());
}

/// The needle whole, and a range of it.
pub fn whole_and_part(needle: &Needle) -> Vec<StartRead> {
    vec![whole(7, needle), range(7, needle, 100, 100)]
}

/// The needle whole.
pub fn only_whole(needle: &Needle) -> Vec<StartRead> {
    vec![whole(7, needle)]
}

/// The needle that is to be spoilt.
pub fn bad_one() -> Needle {
    Needle::new(2, bytes(2, 50_000))
}

use std::time::Duration;

use super::*;
use crate::pool::{Owner, Pages, Pool};
use crate::telemetry::{ClientSeries, Identity, StageClock, Stamp};

const OWNER: ClientKey = ClientKey(1);
const OTHER: ClientKey = ClientKey(2);

struct Fixture {
    pool: Arc<Pool>,
    sessions: Arc<Sessions>,
    start: Instant,
    series: ClientSeries,
}

impl Fixture {
    fn new(limit: usize) -> Self {
        let pool = Pool::new(1 << 20, 1 << 20, Pages::Ordinary).unwrap();
        Self {
            pool,
            sessions: Sessions::new(limit),
            start: Instant::now(),
            series: ClientSeries::new(4),
        }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    fn held(&self) -> Held {
        let soon = tokio::time::Instant::now() + Duration::from_secs(5);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let lease = runtime
            .block_on(self.pool.reserve(Owner::default(), 4096, soon))
            .unwrap()
            .lease();
        let clock = StageClock::new(Stamp::now());
        clock.waited(Duration::from_micros(1));
        Held {
            lease,
            transfer_size: 10,
            crc: 5,
            came: Came {
                transport: Transport::Local,
                stages: clock.stages(),
            },
        }
    }

    fn admit(&self, owner: ClientKey, until: u64) -> Result<Admission, SessionError> {
        let identity = Identity::new("uid-1".to_owned());
        let opening = Opening {
            client: Arc::clone(identity.get(&self.series)),
            volume: 3,
            needle: 0x1637,
        };
        let times = (self.start, self.at(until));
        self.sessions.admit(owner, opening, times)
    }

    fn hold(&self, owner: ClientKey, until: u64) -> SessionId {
        self.admit(owner, until).unwrap().hold(self.held()).unwrap()
    }

    fn leased(&self) -> u64 {
        self.pool.usage().leased
    }
}

#[test]
fn a_session_is_completed_once() {
    let f = Fixture::new(4);
    let id = f.hold(OWNER, 10);
    assert_eq!(f.sessions.complete(id, f.at(1)).unwrap().0.crc, 5);
    assert_eq!(
        f.sessions.complete(id, f.at(1)).unwrap_err(),
        SessionError::NotFound
    );
    assert_eq!((f.leased(), f.sessions.count()), (0, (0, 0)));
}

#[test]
fn an_id_of_an_earlier_session_never_reaches_the_one_that_has_its_place_now() {
    let f = Fixture::new(1);
    let first = f.hold(OWNER, 10);
    drop(f.sessions.complete(first, f.at(1)).unwrap());
    let second = f.hold(OTHER, 10);
    assert_eq!(first.key(), second.key());
    assert_eq!(
        f.sessions.complete(first, f.at(1)).unwrap_err(),
        SessionError::NotFound
    );
    assert_eq!(f.leased(), 4096);
    assert!(f.sessions.complete(second, f.at(1)).is_ok());
}

#[test]
fn past_its_deadline_a_session_is_expired_whether_swept_or_not() {
    let f = Fixture::new(4);
    let (early, late) = (f.hold(OWNER, 1), f.hold(OWNER, 10));
    assert_eq!(
        f.sessions.complete(early, f.at(1)).unwrap_err(),
        SessionError::Expired
    );
    assert_eq!(
        f.sessions.expire(f.at(9)).len(),
        1,
        "the one its client found to be over"
    );
    assert_eq!(f.sessions.expire(f.at(10)).len(), 1);
    assert_eq!(
        f.sessions.complete(late, f.at(10)).unwrap_err(),
        SessionError::Expired
    );
    assert_eq!(
        f.sessions.complete(early, f.at(10)).unwrap_err(),
        SessionError::Expired
    );
    assert_eq!(f.leased(), 0);
}

#[test]
fn the_limit_counts_reads_under_way() {
    let f = Fixture::new(2);
    let reading = f.admit(OWNER, 1).unwrap();
    let _held = f.hold(OWNER, 1);
    assert_eq!(
        f.admit(OWNER, 1).unwrap_err(),
        SessionError::TooMany { limit: 2 }
    );
    assert_eq!(f.sessions.count(), (2, 1));
    drop(reading);
    assert!(f.admit(OWNER, 1).is_ok());
}

#[test]
fn a_read_that_fails_gives_its_place_back() {
    let f = Fixture::new(1);
    drop(f.admit(OWNER, 1).unwrap());
    assert_eq!(f.sessions.count(), (0, 0));
}

#[test]
fn a_gone_client_loses_its_sessions_and_nobody_else_does() {
    let f = Fixture::new(8);
    let (_a, _b, theirs) = (f.hold(OWNER, 10), f.hold(OWNER, 10), f.hold(OTHER, 10));
    let reading = f.admit(OWNER, 10).unwrap();
    assert!(f.sessions.any_of(OWNER));
    let (held, waited_for) = f.sessions.reclaim(OWNER);
    assert_eq!((held.len(), waited_for), (2, 1));
    assert_eq!(f.leased(), 4096);
    assert_eq!(reading.hold(f.held()).unwrap_err(), SessionError::Abandoned);
    assert_eq!((f.leased(), f.sessions.count()), (4096, (1, 0)));
    assert!(!f.sessions.any_of(OWNER));
    assert!(f.sessions.complete(theirs, f.at(1)).is_ok());
}

#[test]
fn a_read_under_way_can_not_be_completed() {
    let f = Fixture::new(8);
    let reading = f.admit(OWNER, 10).unwrap();
    assert_eq!(
        f.sessions.complete(reading.id(), f.at(1)).unwrap_err(),
        SessionError::NotFound
    );
    assert!(reading.hold(f.held()).is_ok());
}

#[test]
fn remembered_ids_are_bounded() {
    let f = Fixture::new(1);
    for _ in 0..REMEMBERED + 10 {
        f.hold(OWNER, 1);
        assert_eq!(f.sessions.expire(f.at(2)).len(), 1);
    }
    assert_eq!(f.sessions.table().expired.len(), REMEMBERED);
}

#[test]
fn the_open_sessions_are_told_without_their_ids() {
    let f = Fixture::new(8);
    let reading = f.admit(OWNER, 10).unwrap();
    let held = f.hold(OTHER, 20);
    let live = f.sessions.live(f.at(5));
    assert_eq!(live.len(), 2);
    let of = |id: SessionId| live.iter().find(|l| l.short == id.short()).unwrap();
    let (reading, held) = (of(reading.id()), of(held));
    assert_eq!((reading.doing, reading.bytes), (Doing::Reading, 0));
    assert_eq!(reading.transport, None);
    assert_eq!(
        (held.doing, held.bytes, held.pool_bytes),
        (Doing::Held, 10, 4096)
    );
    assert_eq!((held.volume, held.needle), (3, 0x1637));
    assert_eq!(held.age, Duration::from_secs(5));
    assert_eq!(held.left, Duration::from_secs(15));
    assert_eq!(held.client.name, "uid-1");
    assert_eq!(held.rate(), 1e7);
}

#[test]
fn whoever_holds_all_there_may_be_leaves_an_eighth_more_for_others() {
    let fixture = Fixture::new(8);
    let mut all: Vec<_> = (0..8).map(|_| fixture.hold(OWNER, 9)).collect();
    let refused =
        |owner| fixture.admit(owner, 9).unwrap_err() == SessionError::TooMany { limit: 8 };
    assert!(refused(OWNER));
    let other = fixture.hold(OTHER, 9);
    assert!(refused(OTHER) && refused(ClientKey(3)) && refused(OWNER));
    // Nobody but the modest has the place that comes free of the eighth.
    fixture.sessions.complete(other, fixture.at(1)).unwrap();
    assert!(refused(OWNER));
    drop(fixture.admit(ClientKey(3), 9).unwrap());
    for id in all.drain(..5) {
        fixture.sessions.complete(id, fixture.at(1)).unwrap();
    }
    all.extend((0..5).map(|_| fixture.hold(OWNER, 9)));
    assert_eq!(fixture.sessions.count().0, 8);
    assert_eq!(fixture.sessions.reclaim(OWNER).0.len(), 8);
    assert!(!fixture.sessions.any_of(OWNER) && !fixture.sessions.any_of(OTHER));
}

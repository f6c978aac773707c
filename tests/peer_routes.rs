//! Which peer is read from, if any: volumes here and there, named peers, collections.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::bystander::GOOD_VOLUME;
use common::client::whole;
use common::reader::Reader;
use common::through::{engine_of, engine_on, through_a_peer};
use common::{Needle, Setup, Spec, TargetSetup, Volume, bytes};

#[test]
fn a_volume_of_this_host_is_read_here_unless_the_peer_is_named() {
    let (here, there) = (
        Needle::new(1, bytes(1, 9000)),
        Needle::new(1, bytes(2, 9000)),
    );
    let target = TargetSetup::with(std::slice::from_ref(&there)).start();
    let setup = Setup::new();
    Volume::create(setup.volumes(), 7, &Spec::default()).put(&here);
    let engine = engine_on(setup, &target);
    let before = engine.baseline();
    let mut reader = Reader::of(&engine);
    for _ in 0..4 {
        reader.check_ranges(7, &here, &here.data, false, &[(0, 0), (5, 500)]);
    }
    let mut named = whole(7, &there);
    named.peer = Some("t".to_owned());
    let (data, started) = reader.fetch(&named);
    assert_eq!((data, started.transport.as_str()), (there.data, "tcp"));
    named.peer = Some("stranger".to_owned());
    let error = reader.client.start(&named).unwrap_err();
    assert_eq!((error.code.as_str(), error.recoverable), ("NO_ROUTE", true));
    drop(reader);
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_needle_that_is_damaged_here_is_read_from_a_peer_that_has_it_whole() {
    let needles = [1, 2].map(|id| Needle::new(id, bytes(id, 9000)));
    let target = TargetSetup::with(&needles[..1]).start();
    let setup = Setup::new();
    let mut here = Volume::create(setup.volumes(), 7, &Spec::default());
    for needle in &needles {
        let placed = here.put(needle);
        here.corrupt(placed.data + 4000);
    }
    let engine = engine_on(setup, &target);
    let before = engine.baseline();
    let mut reader = Reader::of(&engine);
    let (data, started) = reader.fetch(&whole(7, &needles[0]));
    assert!(data == needles[0].data);
    assert_eq!(
        (started.transport.as_str(), started.crc_verified),
        ("tcp", true)
    );
    // The one that no peer has is damaged, not missing.
    let code = reader.client.refusal(&whole(7, &needles[1]));
    assert_eq!(code, "CHECKSUM_MISMATCH");
    assert_eq!(engine.metrics().get("rdma_checksum_mismatches_total"), 2.0);
    drop(reader);
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_collection_is_matched_when_it_is_named() {
    let needle = Needle::new(1, bytes(1, 500));
    let spec = Spec {
        collection: "pictures".to_owned(),
        ..Spec::default()
    };
    let target = TargetSetup::with(std::slice::from_ref(&needle));
    target.volume(8, &spec, std::slice::from_ref(&needle));
    through_a_peer(target, |reader| {
        for (volume, collection, found) in [
            (8, Some("pictures"), true),
            (8, None, true),
            (8, Some("others"), false),
            (7, None, true),
            (7, Some("pictures"), false),
        ] {
            let mut read = whole(volume, &needle);
            read.collection = collection.map(str::to_owned);
            match found {
                true => assert_eq!(reader.fetch(&read).0, needle.data),
                false => assert_eq!(reader.client.refusal(&read), "VOLUME_NOT_FOUND"),
            }
        }
    });
}

#[test]
fn volumes_and_needles_that_appear_at_the_peer_are_read_and_those_that_go_are_not() {
    let needle = |id| Needle::new(id, bytes(id, 5000));
    let target = TargetSetup::with(&[needle(1)]).start();
    let engine = engine_of(&target);
    let before = engine.baseline();
    let mut reader = Reader::over_tcp(&engine);
    assert_eq!(
        reader.client.refusal(&whole(8, &needle(1))),
        "VOLUME_NOT_FOUND"
    );
    let mut later = target.setup.volume(8, &Spec::default(), &[needle(1)]);
    common::eventually("the new volume is read", || {
        match reader.client.fetch(&reader.pool, &whole(8, &needle(1))) {
            Ok((data, _)) => {
                assert_eq!(data, needle(1).data);
                Some(())
            }
            Err(error) => {
                assert_eq!(error.code, "VOLUME_NOT_FOUND");
                None
            }
        }
    });
    for id in 2..10 {
        assert_eq!(
            reader.client.refusal(&whole(8, &needle(id))),
            "NEEDLE_NOT_FOUND"
        );
        later.put(&needle(id));
        reader.check(8, &needle(id), &needle(id).data, false);
    }
    drop(reader);
    engine.assert_nothing_lost(&before);
}

#[test]
fn memory_that_a_client_names_can_not_be_read_without_a_device_and_the_error_says_so() {
    let target = TargetSetup::new().start();
    let engine = engine_of(&target);
    let mut client = engine.client();
    let mut read = whole(GOOD_VOLUME, &Needle::new(1, []));
    (read.remote_addr, read.remote_key) = (0x1000, 7);
    for peer in [None, Some("t")] {
        read.peer = peer.map(str::to_owned);
        let error = client.start(&read).unwrap_err();
        assert_eq!(error.code, "UNSUPPORTED_HARDWARE", "{error:?}");
        assert!(error.message.contains("no RDMA device"), "{error:?}");
    }
    read.peer = Some("stranger".to_owned());
    assert_eq!(client.refusal(&read), "NO_ROUTE");
}

//! Targets that send messages nobody expects: the connection is closed, and read elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::bad_answer::{fails_alone, fails_or_is_read_elsewhere, needle};
use common::client::{framed, whole};
use common::failing::fails_with;
use common::own_target::right;
use common::peer::frame;
use common::{OwnTarget, Setup, Visit, bytes, eventually};
use rdma_engine::peer::message::{
    Challenge, Connected, Data, Failed, FromEngine, FromTarget, Leased, Ping, Read, Refused,
    ServedVolume, VOLUMES_MAX, Volumes,
};
use rdma_engine::verbs::{Endpoint, Gid};

/// An answer to a Fetch that is none.
fn others(read: &Read) -> Vec<(Vec<u8>, &'static str)> {
    let (id, message) = (read.id, "x".to_owned());
    let (facts, _) = right(read, &needle());
    let endpoint = Endpoint {
        qpn: 1,
        psn: 1,
        gid: Gid([1; 16]),
        lid: 1,
        mtu: 1024,
        max_reads: 1,
    };
    let (lease, addr, rkey, lease_ms) = (1, 4096, 1, 1000);
    let leased = Leased {
        id,
        lease,
        addr,
        rkey,
        lease_ms,
        facts,
    };
    let challenge = Challenge {
        version: 1,
        nonce: [1; 32],
        secret: false,
    };
    let (code, stranger) = ("INTERNAL".to_owned(), id + 1000);
    let failed = Failed {
        id: stranger,
        code: code.clone(),
        message: message.clone(),
    };
    let data = FromTarget::Data(Data { id, facts });
    let cut = rmp_serde::to_vec_named(&data).unwrap();
    vec![
        (frame(&FromTarget::Leased(leased)), "a Leased that nobody"),
        (
            frame(&FromTarget::Connected(Connected { id, endpoint })),
            "a Connected that nobody",
        ),
        (frame(&FromTarget::Failed(failed)), "a Failed that nobody"),
        (
            frame(&FromTarget::Challenge(challenge)),
            "a second handshake",
        ),
        (
            frame(&FromTarget::Refused(Refused { code, message })),
            "INTERNAL: x",
        ),
        (frame(&FromEngine::Ping(Ping { id })), "nonsense"),
        (framed(&bytes(3, 1000)), "nonsense"),
        (framed(&[]), "nonsense"),
        (framed(&cut[..cut.len() - 1]), "nonsense"),
        (
            framed(&[cut.as_slice(), &[0xc0]].concat()),
            "follow the message",
        ),
        (framed(&[0x91; 100_000]), "nonsense"),
        (
            ((1u32 << 20) + 1).to_le_bytes().to_vec(),
            "the limit is 1048576",
        ),
        (vec![0xff; 64], "a frame of 4294967295"),
        (Vec::new(), ""),
    ]
}

/// An answer by its number in [`others`].
fn other(index: usize) -> impl Fn(&mut Visit, &Read) + Clone + Send + Sync + 'static {
    move |visit, read| {
        visit.write(&others(read)[index].0);
    }
}

#[test]
fn a_connection_with_a_message_that_is_no_answer_is_closed_and_the_error_says_why() {
    let any = Read {
        room: 1 << 20,
        ..common::peer::read(7, &needle())
    };
    for (index, (bytes, words)) in others(&any).into_iter().enumerate() {
        if !bytes.is_empty() {
            let read = whole(7, &needle());
            fails_alone(other(index), &read, "PEER_UNAVAILABLE", words);
        }
    }
}

#[test]
fn what_was_asked_for_on_a_connection_that_is_closed_is_read_elsewhere() {
    for (index, words) in [(0, "a Leased that nobody"), (6, "nonsense")] {
        fails_or_is_read_elsewhere(other(index), "PEER_UNAVAILABLE", words);
    }
}

#[test]
fn the_same_answer_twice_ends_the_connection_and_the_first_one_counts() {
    let twice = OwnTarget::start(|visit| {
        visit.welcome(None, &[7]);
        while let Some(read) = visit.fetch() {
            visit.answer_well(&read, &needle());
            visit.answer_well(&read, &needle());
        }
    });
    let setup = Setup::new().set("workers", "1");
    let engine = setup.peer("twice", twice.address).start();
    let before = engine.baseline();
    let mut client = engine.client();
    let pool = client.attach();
    eventually("three connections were closed", || {
        match client.fetch(&pool, &whole(7, &needle())) {
            Ok((data, _)) => assert!(data == needle().data),
            Err(error) => assert_eq!(error.code, "PEER_UNAVAILABLE", "{error:?}"),
        }
        (twice.visits() >= 4).then_some(())
    });
    drop(client);
    engine.assert_nothing_lost(&before);
}

/// `count` volumes from `first` on.
fn volumes(first: u32, count: usize) -> FromTarget {
    let volume = |id| ServedVolume {
        id,
        collection: "c".repeat(256),
    };
    FromTarget::Volumes(Volumes {
        added: (first..).take(count).map(volume).collect(),
        removed: Vec::new(),
    })
}

#[test]
fn a_list_of_more_volumes_than_one_message_may_name_ends_the_connection() {
    let bad = OwnTarget::start(|visit| {
        visit.welcome(None, &[8]);
        visit.send(&volumes(1000, VOLUMES_MAX + 1));
        visit.serve(&needle());
    });
    let engine = Setup::new().peer("bad", bad.address).start();
    let before = engine.baseline();
    let mut client = engine.client();
    let words = "3501 volumes";
    fails_with(&mut client, &whole(8, &needle()), "PEER_UNAVAILABLE", words);
    drop(client);
    engine.assert_nothing_lost(&before);
}

#[test]
fn many_volumes_are_taken_and_volumes_without_end_are_not() {
    let many = 10 * VOLUMES_MAX as u32;
    let good = OwnTarget::start(move |visit| {
        visit.welcome(None, &[7]);
        for first in (1000..1000 + many).step_by(VOLUMES_MAX) {
            visit.send(&volumes(first, VOLUMES_MAX));
        }
        visit.serve(&needle());
    });
    let bad = OwnTarget::start(|visit| {
        visit.welcome(None, &[]);
        let mut first = 1_000_000;
        while visit.write(&frame(&volumes(first, VOLUMES_MAX))) {
            first += VOLUMES_MAX as u32;
        }
    });
    let setup = Setup::new().set("workers", "1").peer("bad", bad.address);
    let engine = setup.peer("good", good.address).start();
    let before = engine.baseline();
    let mut client = engine.client();
    let pool = client.attach();
    eventually("the last of the volumes is read", || {
        let last = whole(1000 + many - 1, &needle());
        let (data, _) = client.fetch(&pool, &last).ok()?;
        assert!(data == needle().data);
        Some(())
    });
    bad.await_ends(2);
    client.fetch(&pool, &whole(7, &needle())).unwrap();
    drop(client);
    engine.assert_nothing_lost(&before);
}

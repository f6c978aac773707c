use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use super::*;
use crate::protocol::frame::LENGTH_BYTES;

const PATIENCE: Duration = Duration::from_secs(60);

/// The other end of a connection.
struct Far(TcpStream);

impl Far {
    fn next(&mut self) -> FromEngine {
        let mut prefix = [0; LENGTH_BYTES];
        self.0.read_exact(&mut prefix).unwrap();
        let mut payload = vec![0; u32::from_le_bytes(prefix) as usize];
        self.0.read_exact(&mut payload).unwrap();
        FromEngine::decode(&payload).unwrap()
    }

    /// The id of the Lease that comes next.
    fn lease(&mut self) -> u64 {
        match self.next() {
            FromEngine::Lease(read) => read.id,
            other => panic!("a Lease was expected, not {other:?}"),
        }
    }

    fn send(&mut self, message: &FromTarget) {
        let mut bytes = Vec::new();
        encode(message, &mut bytes);
        self.0.write_all(&bytes).unwrap();
    }

    fn lend(&mut self, id: u64, lease: u64) {
        self.send(&FromTarget::Leased(Leased {
            id,
            lease,
            addr: 4096,
            rkey: 1,
            lease_ms: 1000,
            facts: Facts {
                length: 1,
                needle_size: 1,
                crc: Some(0),
                verified: true,
                stored: None,
            },
        }));
    }
}

fn needle() -> Read {
    Read {
        id: 0,
        volume_id: 7,
        collection: None,
        needle_id: 1,
        cookie: 1,
        offset: 0,
        size: 1,
        room: 1,
        patience_ms: 60_000,
    }
}

/// Runs `near` on a connection to a target that allows so many leases and is played by `far`.
fn connected<F: Future<Output = ()>>(
    max_leases: u32,
    near: impl FnOnce(Rc<Conn>) -> F,
    far: impl FnOnce(Far) + Send + 'static,
) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    other.set_read_timeout(Some(PATIENCE)).unwrap();
    let playing = std::thread::spawn(move || far(Far(other)));
    let welcome = Welcome {
        mac: None,
        verbs: true,
        tcp: true,
        max_transfer: 1 << 20,
        max_leases,
        lease_ms: 1000,
        silence_ms: 60_000,
        build: String::new(),
    };
    tokio_uring::start(async {
        let stream = Rc::new(Stream::new(socket, PATIENCE).unwrap());
        let conn = Conn::new(welcome, stream);
        let running = Rc::clone(&conn);
        let run = tokio_uring::spawn(async move { running.run(|_| Ok(())).await });
        near(conn).await;
        // Until the other end has what it wants.
        run.await.unwrap();
    });
    playing.join().unwrap();
}

async fn lease(conn: &Conn) -> Loan {
    match conn.lease(needle()).await.unwrap() {
        Lent::Leased(loan) => loan,
        _ => panic!("a lease was expected"),
    }
}

#[test]
fn no_more_is_borrowed_at_once_than_the_target_allows() {
    let near = async |conn: Rc<Conn>| {
        let borrowing = [(); 3].map(|()| {
            let conn = Rc::clone(&conn);
            tokio_uring::spawn(async move { drop(lease(&conn).await) })
        });
        for borrowed in borrowing {
            borrowed.await.unwrap();
        }
    };
    connected(1, near, |mut far| {
        for name in 0..3 {
            let id = far.lease();
            far.lend(id, name);
            let FromEngine::Release(release) = far.next() else {
                panic!("another Lease before the Release");
            };
            assert_eq!(release.lease, name);
        }
    });
}

#[test]
fn a_lease_that_nobody_waits_for_any_more_keeps_its_place_until_it_is_given_back() {
    let near = async |conn: Rc<Conn>| {
        let asked = Rc::clone(&conn);
        let going = tokio_uring::spawn(async move { drop(lease(&asked).await) });
        tokio::task::yield_now().await;
        going.abort();
        drop(lease(&conn).await);
    };
    connected(1, near, |mut far| {
        for name in 0..2 {
            let id = far.lease();
            far.lend(id, name);
            assert!(matches!(far.next(), FromEngine::Release(r) if r.lease == name));
        }
    });
}

#[test]
fn who_waits_for_a_place_among_the_leases_is_told_when_the_connection_ends() {
    let near = async |conn: Rc<Conn>| {
        let waiting = [(); 2].map(|()| {
            let conn = Rc::clone(&conn);
            tokio_uring::spawn(async move { conn.lease(needle()).await.map(drop) })
        });
        for waiting in waiting {
            assert!(waiting.await.unwrap().is_err());
        }
    };
    connected(1, near, |mut far| {
        far.lease();
    });
}

#[test]
fn however_much_is_unanswered_a_ping_is_still_read() {
    // What a target reads before it has answered anything.
    const TARGET_READS: usize = 256;
    let near = async |conn: Rc<Conn>| {
        let asking = [(); 2 * TARGET_READS].map(|()| {
            let conn = Rc::clone(&conn);
            tokio_uring::spawn(async move { conn.lease(needle()).await.map(drop) })
        });
        // Each of them comes to where it waits.
        for _ in 0..2 * TARGET_READS {
            tokio::task::yield_now().await;
        }
        conn.watch(Instant::now(), Duration::ZERO, PATIENCE);
        for asked in asking {
            assert!(asked.await.unwrap().is_err());
        }
    };
    connected(u32::MAX, near, |mut far| {
        let read = [(); TARGET_READS].map(|()| far.next());
        assert!(matches!(read.last(), Some(FromEngine::Ping(_))));
    });
}

//! Connections that have not said yet who they are: they make room for newcomers, so that silent
//! ones keep nobody out who knows the secret.

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All of a target's, by their numbers: the oldest first.
#[derive(Debug, Default)]
pub(super) struct Strangers(Mutex<BTreeMap<u64, TcpStream>>);

/// One of them, until it has said who it is or is gone.
pub(super) struct Stranger {
    all: Arc<Strangers>,
    number: u64,
}

impl Strangers {
    /// Takes one in.
    ///
    /// # Errors
    /// When there is no descriptor left to end it by.
    pub(super) fn add(self: &Arc<Self>, number: u64, socket: &TcpStream) -> io::Result<Stranger> {
        self.sockets().insert(number, socket.try_clone()?);
        let all = Arc::clone(self);
        Ok(Stranger { all, number })
    }

    /// Ends the connection of the oldest; false when there is none.
    pub(super) fn end_oldest(&self) -> bool {
        let oldest = self.sockets().pop_first();
        if let Some((_, socket)) = &oldest {
            // Fails only where the other side was faster.
            let _ = socket.shutdown(Shutdown::Both);
        }
        oldest.is_some()
    }

    fn sockets(&self) -> MutexGuard<'_, BTreeMap<u64, TcpStream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let socket = self.all.sockets().remove(&self.number);
        drop(socket);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_oldest_stranger_is_ended_and_who_is_none_any_more_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let strangers = Arc::new(Strangers::default());
        let come = |number| {
            let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (socket, _) = listener.accept().unwrap();
            let stranger = strangers.add(number, &socket).unwrap();
            (near, socket, stranger)
        };
        let (first, second, third) = (come(1), come(2), come(3));
        drop(first.2);
        for (mut near, ..) in [second, third] {
            assert!(strangers.end_oldest());
            assert_eq!(near.read(&mut [0]).unwrap(), 0);
        }
        assert!(!strangers.end_oldest());
        first.1.set_nonblocking(true).unwrap();
        let open = first.1.peek(&mut [0]).unwrap_err();
        assert_eq!(open.kind(), io::ErrorKind::WouldBlock);
    }
}

//! Replies on their way out, in the order the protocol wants. Pure.
//!
//! Replies come in request order, except that a request with a `request_id` may be answered as
//! soon as it is done. What may go out is encoded behind what already waits, so that one write
//! carries all there is.

use std::collections::VecDeque;

use crate::protocol::Response;
use crate::session::SessionId;

/// Requests of one connection that may be unanswered at once; the next is not read until one
/// of them has been answered, and the answer written.
pub const UNANSWERED_MAX: usize = 256;

/// Memory for replies that a connection keeps while it has none.
const SPARE_BYTES_MAX: usize = 64 << 10;

/// A reply and what depends on its delivery.
#[derive(Debug)]
pub struct Reply {
    /// What to send.
    pub response: Response,
    /// The session that is lost if the reply is.
    pub session: Option<SessionId>,
    /// The pool's descriptor goes with it.
    pub with_pool: bool,
}

/// Bytes for one write.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Whole frames.
    pub bytes: Vec<u8>,
    /// The pool's descriptor goes with them (and they are one frame).
    pub with_pool: bool,
    /// Sessions that are lost if the bytes are.
    pub sessions: Vec<SessionId>,
    /// Requests they answer.
    replies: usize,
}

/// A request's place among the replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Its place in line; `None` for a request with an id, which has none.
    place: Option<u64>,
    request_id: Option<u64>,
}

/// The replies of one connection.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Unanswered requests without an id, and their replies that wait for those before them.
    line: VecDeque<Option<Reply>>,
    /// Place of the first in line.
    first: u64,
    chunks: VecDeque<Chunk>,
    /// A written chunk whose memory is used again.
    spare: Option<Chunk>,
    unanswered: usize,
}

impl Outbox {
    /// Takes a place for a request.
    pub fn expect(&mut self, request_id: Option<u64>) -> Ticket {
        self.unanswered += 1;
        let place = request_id.is_none().then(|| {
            self.line.push_back(None);
            self.first + self.line.len() as u64 - 1
        });
        Ticket { place, request_id }
    }

    /// Whether another request may be taken on.
    pub fn has_room(&self) -> bool {
        self.unanswered < UNANSWERED_MAX
    }

    /// Whether every request has been answered, and every answer written.
    pub fn is_idle(&self) -> bool {
        self.unanswered == 0
    }

    /// Answers a request.
    pub fn answer(&mut self, ticket: Ticket, mut reply: Reply) {
        reply.response = reply.response.answering(ticket.request_id);
        let Some(place) = ticket.place else {
            return self.encode(reply);
        };
        let index = place
            .checked_sub(self.first)
            .and_then(|i| usize::try_from(i).ok());
        if let Some(slot) = index.and_then(|i| self.line.get_mut(i)) {
            *slot = Some(reply);
        }
        while let Some(Some(_)) = self.line.front() {
            self.first += 1;
            if let Some(Some(reply)) = self.line.pop_front() {
                self.encode(reply);
            }
        }
    }

    /// What to write next.
    pub fn take(&mut self) -> Option<Chunk> {
        self.chunks.pop_front()
    }

    /// A chunk has been written whole.
    pub fn written(&mut self, mut chunk: Chunk) {
        self.unanswered = self.unanswered.saturating_sub(chunk.replies);
        chunk.bytes.clear();
        chunk.bytes.shrink_to(SPARE_BYTES_MAX);
        chunk.sessions.clear();
        self.spare = Some(Chunk {
            with_pool: false,
            replies: 0,
            ..chunk
        });
    }

    /// Sessions whose replies were never written. Empties the outbox.
    pub fn abandon(&mut self) -> Vec<SessionId> {
        let encoded = self.chunks.drain(..).flat_map(|chunk| chunk.sessions);
        let waiting = self
            .line
            .drain(..)
            .flatten()
            .filter_map(|reply| reply.session);
        encoded.chain(waiting).collect()
    }

    fn encode(&mut self, reply: Reply) {
        let joins = !reply.with_pool && self.chunks.back().is_some_and(|last| !last.with_pool);
        if !joins {
            let mut chunk = self.spare.take().unwrap_or_default();
            chunk.with_pool = reply.with_pool;
            self.chunks.push_back(chunk);
        }
        let Some(chunk) = self.chunks.back_mut() else {
            return;
        };
        if let Err(error) = reply.response.encode(&mut chunk.bytes) {
            tracing::error!(%error, "a reply could not be encoded");
        }
        chunk.sessions.extend(reply.session);
        chunk.replies += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::frame::{Next, next_frame};
    use crate::protocol::message::Pong;

    fn pong(number: u64) -> Reply {
        let response = Response::Pong(Pong {
            client_timestamp_ns: number,
            ..Pong::default()
        });
        Reply {
            response,
            session: None,
            with_pool: false,
        }
    }

    /// The numbers of the pongs in what is to be written next.
    fn next(outbox: &mut Outbox) -> Vec<u64> {
        let Some(chunk) = outbox.take() else {
            return Vec::new();
        };
        let mut numbers = Vec::new();
        let mut rest = chunk.bytes.as_slice();
        while let Ok(Next::Frame(payload, length)) = next_frame(rest) {
            let Ok(Response::Pong(pong)) = Response::decode(payload) else {
                panic!("not a pong")
            };
            numbers.push(pong.client_timestamp_ns);
            rest = &rest[length..];
        }
        outbox.written(chunk);
        numbers
    }

    #[test]
    fn replies_without_an_id_wait_for_those_before_them() {
        let mut outbox = Outbox::default();
        let tickets: Vec<_> = (0..3).map(|_| outbox.expect(None)).collect();
        outbox.answer(tickets[2], pong(2));
        outbox.answer(tickets[1], pong(1));
        assert_eq!(next(&mut outbox), [0_u64; 0]);
        outbox.answer(tickets[0], pong(0));
        assert_eq!(next(&mut outbox), [0, 1, 2]);
    }

    #[test]
    fn a_reply_with_an_id_overtakes_and_carries_it() {
        let mut outbox = Outbox::default();
        let slow = outbox.expect(None);
        let fast = outbox.expect(Some(77));
        outbox.answer(fast, pong(1));
        let chunk = outbox.take().unwrap();
        let reply = Response::decode(&chunk.bytes[4..]).unwrap();
        assert_eq!(reply.request_id(), Some(77));
        outbox.answer(slow, pong(0));
        assert_eq!(next(&mut outbox), [0]);
    }

    #[test]
    fn the_pool_goes_with_exactly_one_frame() {
        let mut outbox = Outbox::default();
        for number in 0..3 {
            let ticket = outbox.expect(None);
            outbox.answer(
                ticket,
                Reply {
                    with_pool: number == 1,
                    ..pong(number)
                },
            );
        }
        let chunks: Vec<_> = std::iter::from_fn(|| outbox.take()).collect();
        assert_eq!(
            chunks
                .iter()
                .map(|c| (c.with_pool, c.replies))
                .collect::<Vec<_>>(),
            [(false, 1), (true, 1), (false, 1)]
        );
    }

    #[test]
    fn there_is_room_again_only_once_replies_are_written() {
        let mut outbox = Outbox::default();
        let tickets: Vec<_> = (0..UNANSWERED_MAX).map(|_| outbox.expect(None)).collect();
        assert!(!outbox.has_room());
        outbox.answer(tickets[0], pong(0));
        assert!(!outbox.has_room());
        assert_eq!(next(&mut outbox), [0]);
        assert!(outbox.has_room());
    }

    #[test]
    fn sessions_of_replies_that_never_went_out_are_told() {
        let mut outbox = Outbox::default();
        let (a, b) = (SessionId::new(1, [1; 12]), SessionId::new(2, [2; 12]));
        let (first, second, third) = (
            outbox.expect(None),
            outbox.expect(None),
            outbox.expect(Some(1)),
        );
        outbox.answer(
            second,
            Reply {
                session: Some(a),
                ..pong(0)
            },
        );
        outbox.answer(
            third,
            Reply {
                session: Some(b),
                ..pong(0)
            },
        );
        let mut lost = outbox.abandon();
        lost.sort_by_key(|id| id.key());
        assert_eq!(lost, [a, b]);
        outbox.answer(first, pong(0));
        assert_eq!(outbox.abandon(), []);
    }
}

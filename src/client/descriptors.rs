//! Descriptors that come over a socket beside its bytes (SCM_RIGHTS).

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};

/// Descriptors taken in at once. One is expected; the room for more is there to notice them.
const ROOM: usize = 4;

/// Not the one descriptor a pool is.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// None came.
    #[error("no descriptor came with the reply; is something between us and the engine's socket?")]
    None,
    /// More than one came; all of them are closed.
    #[error("more than one descriptor came with the reply; is the engine of another version?")]
    Many,
}

/// The descriptors that came so far: closed when dropped.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    first: Option<OwnedFd>,
    more: bool,
}

impl Descriptors {
    /// Reads bytes into `into` and takes in the descriptors that come with them, close-on-exec.
    /// Every descriptor but the first is closed at once.
    pub(super) fn receive(&mut self, socket: &UnixStream, into: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(ROOM))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [IoSliceMut::new(into)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(socket, &mut bytes, &mut control, flags)?;
        // The kernel drops the descriptors that find no room, and says so.
        self.more |= received.flags.contains(ReturnFlags::CTRUNC);
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                for descriptor in descriptors {
                    self.more |= self.first.is_some();
                    self.first.get_or_insert(descriptor);
                }
            }
        }
        Ok(received.bytes)
    }

    /// Whether more came than the one there may be.
    pub(super) fn are_many(&self) -> bool {
        self.more
    }

    /// The one descriptor that came.
    pub(super) fn one(self) -> Result<OwnedFd, DescriptorError> {
        match self.first {
            _ if self.more => Err(DescriptorError::Many),
            Some(descriptor) => Ok(descriptor),
            None => Err(DescriptorError::None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, fstat, memfd_create};
    use rustix::io::{FdFlags, fcntl_getfd};
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::io::IoSlice;
    use std::os::fd::{AsFd, BorrowedFd};

    fn send(socket: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
        let sent = sendmsg(
            socket,
            &[IoSlice::new(bytes)],
            &mut control,
            SendFlags::empty(),
        );
        assert_eq!(sent, Ok(bytes.len()));
    }

    fn memfd() -> OwnedFd {
        memfd_create("pool", MemfdFlags::CLOEXEC).unwrap()
    }

    #[test]
    fn the_descriptor_sent_is_the_one_received_and_is_closed_on_exec() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let memfd = memfd();
        send(&theirs, b"reply", &[memfd.as_fd()]);
        let mut descriptors = Descriptors::default();
        let mut bytes = [0; 16];
        assert_eq!(descriptors.receive(&ours, &mut bytes).unwrap(), 5);
        assert_eq!(&bytes[..5], b"reply");
        let received = descriptors.one().unwrap();
        let identity = |fd: BorrowedFd<'_>| fstat(fd).map(|s| (s.st_dev, s.st_ino)).unwrap();
        assert_eq!(identity(received.as_fd()), identity(memfd.as_fd()));
        assert!(fcntl_getfd(&received).unwrap().contains(FdFlags::CLOEXEC));
    }

    #[test]
    fn a_reply_without_a_descriptor_is_refused() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        send(&theirs, b"reply", &[]);
        let mut descriptors = Descriptors::default();
        descriptors.receive(&ours, &mut [0; 16]).unwrap();
        assert_eq!(descriptors.one().unwrap_err(), DescriptorError::None);
    }

    #[test]
    fn more_than_one_descriptor_is_refused_at_once_or_apart() {
        let memfd = memfd();
        for count in [2, 3, 4, 5, 40] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            send(&theirs, b"reply", &vec![memfd.as_fd(); count]);
            let mut descriptors = Descriptors::default();
            descriptors.receive(&ours, &mut [0; 16]).unwrap();
            assert_eq!(
                descriptors.one().unwrap_err(),
                DescriptorError::Many,
                "{count}"
            );
        }
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut descriptors = Descriptors::default();
        for half in [b"re", b"ly"] {
            send(&theirs, half, &[memfd.as_fd()]);
            descriptors.receive(&ours, &mut [0; 16]).unwrap();
        }
        assert_eq!(descriptors.one().unwrap_err(), DescriptorError::Many);
    }

    #[test]
    fn descriptors_that_are_refused_are_closed() {
        // A pipe's reader sees the end only when every copy of its writing end is closed.
        let (reader, writer) = io::pipe().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        send(&theirs, b"reply", &[writer.as_fd(); 40]);
        let mut descriptors = Descriptors::default();
        descriptors.receive(&ours, &mut [0; 16]).unwrap();
        descriptors.one().unwrap_err();
        drop(writer);
        assert_eq!(io::read_to_string(reader).unwrap(), "");
    }
}

//! Handing the pool's descriptor over, with SCM_RIGHTS.
#![allow(unsafe_code, reason = "tokio-uring's streams lend no BorrowedFd")]

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio_uring::net::UnixStream;

/// Writes `bytes` with exactly one descriptor, the pool's.
pub(super) async fn write_with_pool(
    stream: &UnixStream,
    bytes: Vec<u8>,
    pool: BorrowedFd<'_>,
) -> (io::Result<()>, Vec<u8>) {
    let sent = loop {
        match send(stream, &bytes, pool) {
            Err(Errno::INTR) => {}
            // The client has not read its earlier replies yet.
            Err(Errno::AGAIN) => {
                if let Err(error) = writable(stream).await {
                    return (Err(error), bytes);
                }
            }
            sent => break sent,
        }
    };
    match sent {
        Ok(sent) if sent < bytes.len() => {
            let rest = bytes[sent..].to_vec();
            let (result, _) = stream.write_all(rest).await;
            (result, bytes)
        }
        Ok(_) => (Ok(()), bytes),
        Err(error) => (Err(error.into()), bytes),
    }
}

fn send(stream: &UnixStream, bytes: &[u8], pool: BorrowedFd<'_>) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [pool];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Errno::NOBUFS);
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::sendmsg(
        borrow(stream),
        &[IoSlice::new(bytes)],
        &mut ancillary,
        flags,
    )
}

/// Waits until the socket takes more, or is shut down.
async fn writable(stream: &UnixStream) -> io::Result<()> {
    let socket = borrow(stream).try_clone_to_owned()?;
    // SAFETY: the watched descriptor is owned by what watches it.
    let watched = unsafe { AsyncFd::register_with_interest(socket, Interest::WRITABLE) }?;
    watched.writable().await?.retain_ready();
    Ok(())
}

pub(super) fn borrow(stream: &UnixStream) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is the stream's and stays open as long as the borrow of it.
    unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) }
}

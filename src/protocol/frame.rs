//! Where one message ends and the next begins.

/// Bytes of the length prefix.
pub const LENGTH_BYTES: usize = 4;
/// The largest payload of a frame, in bytes.
pub const MAX_FRAME_BYTES: usize = 1 << 20;

/// The stream can not be followed any further: close it after saying so.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {announced} bytes was announced; the limit is {limit}")]
pub struct FrameError {
    /// The length in the prefix.
    pub announced: usize,
    /// What is allowed here.
    pub limit: usize,
}

/// What the start of a byte stream holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A whole frame: its payload, and the bytes it takes with its prefix.
    Frame(&'a [u8], usize),
    /// Not yet a whole frame; it needs this many bytes in all (4 while the prefix is incomplete).
    Need(usize),
}

/// Finds the first frame at the start of `bytes`.
///
/// # Errors
/// When the prefix announces more than [`MAX_FRAME_BYTES`].
pub fn next_frame(bytes: &[u8]) -> Result<Next<'_>, FrameError> {
    next_frame_within(bytes, MAX_FRAME_BYTES)
}

/// Finds the first frame at the start of `bytes`, where frames are smaller than elsewhere.
pub(crate) fn next_frame_within(bytes: &[u8], limit: usize) -> Result<Next<'_>, FrameError> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Ok(Next::Need(LENGTH_BYTES));
    };
    let announced = u32::from_le_bytes(*prefix) as usize;
    if announced > limit {
        return Err(FrameError { announced, limit });
    }
    match rest.get(..announced) {
        Some(payload) => Ok(Next::Frame(payload, LENGTH_BYTES + announced)),
        None => Ok(Next::Need(LENGTH_BYTES + announced)),
    }
}

/// Appends a frame to `out`: `write` appends the payload, the length is filled in after it.
pub(crate) fn append<E>(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    let written = write(out);
    let length = out.len() - start - LENGTH_BYTES;
    match (written, u32::try_from(length)) {
        (Ok(()), Ok(length)) => {
            out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
            Ok(())
        }
        (failed, _) => {
            out.truncate(start);
            failed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_found_only_when_it_is_whole() {
        let bytes = [3, 0, 0, 0, b'a', b'b', b'c', 9];
        assert_eq!(next_frame(&bytes[..3]), Ok(Next::Need(4)));
        assert_eq!(next_frame(&bytes[..4]), Ok(Next::Need(7)));
        assert_eq!(next_frame(&bytes[..6]), Ok(Next::Need(7)));
        assert_eq!(next_frame(&bytes), Ok(Next::Frame(b"abc", 7)));
    }

    #[test]
    fn a_frame_at_the_limit_is_taken_and_one_past_it_is_refused() {
        let limit = (MAX_FRAME_BYTES as u32).to_le_bytes();
        assert_eq!(
            next_frame(&limit),
            Ok(Next::Need(LENGTH_BYTES + MAX_FRAME_BYTES))
        );
        let past = (MAX_FRAME_BYTES as u32 + 1).to_le_bytes();
        assert_eq!(
            next_frame(&past),
            Err(FrameError {
                announced: MAX_FRAME_BYTES + 1,
                limit: MAX_FRAME_BYTES,
            })
        );
    }

    #[test]
    fn an_empty_frame_is_a_frame() {
        assert_eq!(next_frame(&[0, 0, 0, 0]), Ok(Next::Frame(b"", 4)));
    }

    #[test]
    fn a_payload_that_can_not_be_written_leaves_nothing_behind() {
        let mut out = vec![7];
        let failed = append(&mut out, |o| {
            o.push(1);
            Err("no")
        });
        assert_eq!((failed, out), (Err("no"), vec![7]));
    }
}

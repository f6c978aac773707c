//! Stored bytes to logical bytes, for needles stored compressed.

use std::io::{self, Read};

use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder as ZstdDecoder;
use zstd::zstd_safe;

use super::error::VolumeError;

/// The largest zstd window that is decoded, as a power of two: 128 MiB, the format's own
/// recommended limit. It bounds what a frame can make the decoder allocate.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// How the data of a needle that is flagged compressed is really stored. Its first bytes tell,
/// nothing else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// One or more gzip members.
    Gzip,
    /// One or more zstd frames.
    Zstd,
    /// Neither. SeaweedFS then serves the stored bytes as they are, and so do we.
    Plain,
}

impl Encoding {
    /// What data that begins with `head` is; 4 bytes suffice.
    pub const fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

/// How many bytes compressed data claims to decode to, from its first bytes (18 suffice) and
/// its last four. A hint to choose a buffer by: nothing vouches for it, gzip's is modulo 2³²
/// and counts the last member only, and zstd frames need not have one.
pub fn decoded_len_hint(head: &[u8], last4: [u8; 4]) -> Option<u64> {
    match Encoding::of(head) {
        Encoding::Gzip => Some(u32::from_le_bytes(last4).into()),
        Encoding::Zstd => zstd_safe::get_frame_content_size(head).ok().flatten(),
        Encoding::Plain => None,
    }
}

/// Decodes a needle's stored data, from its start, as much at a time as is asked for.
///
/// Its memory does not grow with the output: about 50 KiB for gzip; for zstd about 160 KiB,
/// and the frame's window (at most 128 MiB) unless the first read has room for all of a frame
/// that says how long it is, which is then decoded in place.
pub struct Decoder<'a>(Inner<'a>);

enum Inner<'a> {
    Gzip(Box<MultiGzDecoder<&'a [u8]>>),
    Zstd(Box<ZstdDecoder<'static, &'a [u8]>>),
    Plain(&'a [u8]),
}

impl<'a> Decoder<'a> {
    /// A decoder for all of `stored`, whatever its [`Encoding`] is.
    pub fn new(stored: &'a [u8]) -> Result<Self, VolumeError> {
        Ok(Self(match Encoding::of(stored) {
            Encoding::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(stored))),
            Encoding::Zstd => Inner::Zstd(Box::new(zstd_decoder(stored)?)),
            Encoding::Plain => Inner::Plain(stored),
        }))
    }

    /// Fills `out` with the next decoded bytes. Fewer than `out.len()` only where the data
    /// ends, so 0 (for a non-empty `out`) is the end.
    ///
    /// CorruptNeedle if the stream is damaged, cut off, or followed by something else. The
    /// stream's own checksum is looked at only on the way to its end.
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize, VolumeError> {
        let mut filled = 0;
        while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let count = match &mut self.0 {
                Inner::Gzip(gzip) => gzip.read(rest),
                Inner::Zstd(zstd) => zstd.read(rest),
                Inner::Plain(plain) => plain.read(rest),
            };
            match count {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) => return Err(damaged(&error)),
            }
        }
        Ok(filled)
    }
}

fn zstd_decoder(stored: &[u8]) -> Result<ZstdDecoder<'static, &[u8]>, VolumeError> {
    let out_of_memory = |error: io::Error| VolumeError::Io {
        doing: "set up a zstd decoder".into(),
        source: error.into(),
    };
    let mut decoder = ZstdDecoder::with_buffer(stored).map_err(out_of_memory)?;
    decoder
        .window_log_max(ZSTD_WINDOW_LOG_MAX)
        .map_err(out_of_memory)?;
    Ok(decoder)
}

fn damaged(error: &io::Error) -> VolumeError {
    VolumeError::CorruptNeedle(format!("the compressed data is damaged: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    /// A frame that says how long its content is.
    fn zstd(data: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(data, 3).unwrap()
    }

    /// A frame that does not, but has a checksum.
    fn zstd_stream(data: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn text(len: usize) -> Vec<u8> {
        let lines = (0..).flat_map(|line: u32| format!("line {line}\n").into_bytes());
        lines.take(len).collect()
    }

    fn decode(stored: &[u8], piece: usize) -> Result<Vec<u8>, VolumeError> {
        let mut decoder = Decoder::new(stored)?;
        let mut decoded = Vec::new();
        loop {
            let mut out = vec![0; piece];
            let count = decoder.read(&mut out)?;
            decoded.extend_from_slice(&out[..count]);
            if count < piece {
                assert_eq!(decoder.read(&mut out)?, 0, "short only at the end");
                return Ok(decoded);
            }
        }
    }

    #[test]
    fn all_encodings_come_back_whole_in_pieces_of_any_size() {
        let data = text(300_000);
        for stored in [gzip(&data), zstd(&data), zstd_stream(&data)] {
            assert!(stored.len() < data.len() / 2);
            for piece in [1_000, 4_096, 300_000, 1 << 20] {
                assert_eq!(decode(&stored, piece).unwrap(), data, "{piece}");
            }
        }
    }

    #[test]
    fn several_members_or_frames_are_one_content() {
        let (a, b) = (text(10_000), text(70_000));
        let whole = [a.as_slice(), &b].concat();
        for encode in [gzip, zstd, zstd_stream] {
            let stored = [encode(&a), encode(b""), encode(&b)].concat();
            assert_eq!(decode(&stored, 8_192).unwrap(), whole);
        }
    }

    #[test]
    fn content_of_nothing_is_nothing() {
        for stored in [gzip(b""), zstd(b""), zstd_stream(b"")] {
            assert_eq!(decode(&stored, 10).unwrap(), b"");
        }
    }

    #[test]
    fn what_is_neither_is_served_as_it_is() {
        for plain in [
            &b""[..],
            b"\x1f",
            b"hello",
            b"\x28\xb5\x2f",
            b"\x28\xb5\x2f\xfe....",
        ] {
            assert_eq!(Encoding::of(plain), Encoding::Plain);
            assert_eq!(decode(plain, 3).unwrap(), plain);
        }
    }

    #[test]
    fn damage_anywhere_is_an_error_or_harmless_and_a_cut_always_an_error() {
        let data = text(5_000);
        for stored in [gzip(&data), zstd_stream(&data)] {
            for cut in 4..stored.len() {
                let error = decode(&stored[..cut], 4_096).unwrap_err();
                assert!(matches!(error, VolumeError::CorruptNeedle(_)), "{error}");
            }
            for at in 4..stored.len() {
                let mut damaged = stored.clone();
                damaged[at] ^= 0x10;
                // Some header bits (a time, a system) carry no content.
                if let Ok(decoded) = decode(&damaged, 4_096) {
                    assert_eq!(decoded, data, "byte {at}");
                }
            }
            let trailed = [stored.as_slice(), b"garbage that is no member"].concat();
            assert!(decode(&trailed, 4_096).is_err());
        }
    }

    #[test]
    fn a_window_past_the_limit_is_refused() {
        // Magic; a frame header with a window descriptor; a last, empty raw block.
        let frame = |descriptor: u8| {
            let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, descriptor];
            frame.extend([0x01, 0x00, 0x00]);
            frame
        };
        let window_log = |log: u8| frame((log - 10) << 3);
        assert_eq!(decode(&window_log(27), 10).unwrap(), b"");
        assert!(decode(&window_log(28), 10).is_err());
        assert!(decode(&window_log(31), 10).is_err());
        // A frame that is one segment has a window as long as it says its content is.
        let mut segment = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
        segment.extend((1_u64 << 40).to_le_bytes());
        segment.extend([0x01, 0x00, 0x00]);
        assert!(decode(&segment, 10).is_err());
    }

    #[test]
    fn the_length_hint_is_what_the_stream_claims() {
        let data = text(123_456);
        let hint = |stored: &[u8]| {
            let last4 = *stored.last_chunk().unwrap();
            decoded_len_hint(&stored[..18], last4)
        };
        assert_eq!(hint(&gzip(&data)), Some(123_456));
        assert_eq!(hint(&zstd(&data)), Some(123_456));
        assert_eq!(hint(&zstd_stream(&data)), None);
        assert_eq!(hint(&data), None);
        assert_eq!(decoded_len_hint(b"\x28\xb5\x2f\xfd", [0; 4]), None);
    }
}

//! Compressed messages: gzip (RFC 1952) and deflate, by which gRPC and HTTP mean the zlib format
//! (RFC 1950).
//!
//! A message is unpacked piece by piece, and each piece is charged before the next: what a small
//! message unpacks to is bounded like any other message.

use std::io::Read;

use bytes::Bytes;
use flate2::bufread::{GzDecoder, ZlibDecoder};
use tokio::sync::OwnedSemaphorePermit;

use crate::{error::RequestError, limits::RequestMemory};

/// How much is unpacked at a time, in bytes.
const PIECE: usize = 64 << 10;

/// The encodings that can be unpacked, as `grpc-accept-encoding` lists them.
pub(crate) const ACCEPTED: &str = "identity,deflate,gzip";

/// How a message is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Deflate,
}

impl Encoding {
    /// What a header says; no header is no compression.
    pub(crate) fn parse(header: Option<&http::HeaderValue>) -> Result<Self, RequestError> {
        let Some(header) = header else { return Ok(Self::Identity) };
        match header.as_bytes() {
            name if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") => {
                Ok(Self::Gzip)
            }
            name if name.eq_ignore_ascii_case(b"deflate") => Ok(Self::Deflate),
            name if name.eq_ignore_ascii_case(b"identity") => Ok(Self::Identity),
            name => {
                let name = String::from_utf8_lossy(name).chars().take(40).collect();
                Err(RequestError::Compression { name })
            }
        }
    }

    /// The message that `packed` holds, at most as long as any message may be. `held` grows with
    /// it.
    pub(crate) fn unpack(
        self,
        packed: Bytes,
        memory: &RequestMemory,
        held: &mut OwnedSemaphorePermit,
    ) -> Result<Bytes, RequestError> {
        match self {
            Self::Identity => Ok(packed),
            Self::Gzip => read_all(GzDecoder::new(&*packed), packed.len(), memory, held),
            Self::Deflate => read_all(ZlibDecoder::new(&*packed), packed.len(), memory, held),
        }
    }
}

fn read_all(
    mut packed: impl Read,
    length: usize,
    memory: &RequestMemory,
    held: &mut OwnedSemaphorePermit,
) -> Result<Bytes, RequestError> {
    let limit = memory.message_limit();
    let mut out = Vec::new();
    loop {
        let start = out.len();
        if start == out.capacity() {
            // Twice, so that what was unpacked is not moved with each piece.
            let room = (start * 2).clamp(PIECE, limit.max(PIECE) + 1);
            memory.grow(held, length + room)?;
            out.reserve_exact(room - start);
        }
        out.resize(out.capacity(), 0);
        let read = packed
            .read(out.get_mut(start..).unwrap_or_default())
            .map_err(|error| RequestError::Packed { reason: error.to_string() })?;
        out.truncate(start + read);
        if out.len() > limit {
            return Err(RequestError::MessageTooLarge { length: out.len(), limit });
        }
        if read == 0 {
            return Ok(out.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{
        Compression,
        write::{GzEncoder, ZlibEncoder},
    };
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1 << 20;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(encoding: Encoding, packed: Vec<u8>) -> Result<Bytes, RequestError> {
        let memory = RequestMemory::new(4 << 20, LIMIT);
        let mut held = memory.reserve(packed.len()).unwrap();
        encoding.unpack(packed.into(), &memory, &mut held)
    }

    #[test]
    fn what_would_unpack_to_too_much_is_refused() {
        let bomb = gzip(&vec![0; LIMIT + 1]);
        assert!(bomb.len() < 2000);
        assert_eq!(unpack(Encoding::Gzip, bomb).unwrap_err().code(), "message-too-large");
        assert_eq!(unpack(Encoding::Gzip, gzip(&vec![0; LIMIT])).unwrap().len(), LIMIT);
        let memory = RequestMemory::new(LIMIT + 2048, LIMIT);
        let others = memory.reserve(LIMIT - 300_000).unwrap();
        let mut held = memory.reserve(0).unwrap();
        let packed = gzip(&vec![0; LIMIT / 2]).into();
        let error = Encoding::Gzip.unpack(packed, &memory, &mut held).unwrap_err();
        assert_eq!(error.code(), "memory-in-use");
        drop(others);
    }

    #[test]
    fn what_is_not_packed_is_refused() {
        assert_eq!(unpack(Encoding::Gzip, b"hello".to_vec()).unwrap_err().code(), "packed");
        let mut cut = gzip(b"hello hello hello");
        cut.pop();
        assert_eq!(unpack(Encoding::Gzip, cut).unwrap_err().code(), "packed");
        assert_eq!(unpack(Encoding::Deflate, gzip(b"hello")).unwrap_err().code(), "packed");
        let header = http::HeaderValue::from_static("zstd");
        assert_eq!(Encoding::parse(Some(&header)).unwrap_err().code(), "compression");
        assert_eq!(Encoding::parse(None).unwrap(), Encoding::Identity);
    }

    proptest! {
        #[test]
        fn messages_come_back_as_they_were(message in proptest::collection::vec(0_u8..4, 0..200_000)) {
            prop_assert_eq!(&unpack(Encoding::Gzip, gzip(&message)).unwrap()[..], &message[..]);
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&message).unwrap();
            prop_assert_eq!(&unpack(Encoding::Deflate, encoder.finish().unwrap()).unwrap()[..], &message[..]);
            prop_assert_eq!(&unpack(Encoding::Identity, message.clone()).unwrap()[..], &message[..]);
        }

        #[test]
        fn any_bytes_are_unpacked_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = unpack(Encoding::Deflate, bytes.clone());
            let _ = unpack(Encoding::Gzip, [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0], &bytes[..]].concat());
        }
    }
}

//! Limits on what clients can make the server hold.
//!
//! gRPC frames a message by its length, so the memory that a request will take
//! is known before it comes. It is taken from a budget that all connections
//! share, and given back when the answer is ready; a request for which nothing
//! is left is refused at once.

use std::{future::poll_fn, pin::Pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body::Body as HttpBody;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, body::Body};

use crate::error::RequestError;

/// The bytes before a gRPC message: a flag and the length.
pub const PREFIX_LENGTH: usize = 5;

/// A request of which nothing comes for this long is given up, so that nobody
/// can hold the budget with a promise.
pub const STALL_LIMIT: Duration = Duration::from_secs(10);

/// The budget is counted in units of this many bytes, since a semaphore has
/// only so many permits.
const UNIT: usize = 1024;

/// The memory set aside for requests.
#[derive(Clone)]
pub struct RequestMemory {
    units: Arc<Semaphore>,
    limit: usize,
    message_limit: usize,
}

impl RequestMemory {
    /// `limit` bytes for all requests together, `message_limit` for one.
    pub fn new(limit: usize, message_limit: usize) -> Self {
        let units = limit.div_ceil(UNIT).clamp(message_limit.div_ceil(UNIT) + 1, Semaphore::MAX_PERMITS);
        Self { units: Arc::new(Semaphore::new(units)), limit: units.saturating_mul(UNIT), message_limit }
    }

    /// The largest message in bytes.
    pub fn message_limit(&self) -> usize {
        self.message_limit
    }

    /// Takes `length` bytes until the permit is dropped.
    pub fn reserve(&self, length: usize) -> Result<OwnedSemaphorePermit, RequestError> {
        u32::try_from(length.div_ceil(UNIT))
            .ok()
            .and_then(|units| Arc::clone(&self.units).try_acquire_many_owned(units).ok())
            .ok_or(RequestError::MemoryInUse { limit: self.limit })
    }
}

/// Reads the one message of a unary call. Its memory is held by the permit.
pub async fn read_message(
    body: Body,
    memory: &RequestMemory,
) -> Result<(Bytes, OwnedSemaphorePermit), RequestError> {
    read(body, memory, STALL_LIMIT).await
}

async fn read<B>(
    mut body: B,
    memory: &RequestMemory,
    stall: Duration,
) -> Result<(Bytes, OwnedSemaphorePermit), RequestError>
where
    B: HttpBody<Data = Bytes, Error = Status> + Unpin,
{
    let mut prefix = Prefix::default();
    let mut held: Option<(OwnedSemaphorePermit, BytesMut, usize)> = None;
    loop {
        let next = poll_fn(|context| Pin::new(&mut body).poll_frame(context));
        let frame = match tokio::time::timeout(stall, next).await {
            Err(_) => return Err(RequestError::Stalled { limit: stall }),
            Ok(None) => return Err(RequestError::NoMessage),
            Ok(Some(frame)) => frame.map_err(|status| RequestError::Connection(status.into()))?,
        };
        // Trailers: nothing follows.
        let Ok(mut data) = frame.into_data() else { return Err(RequestError::NoMessage) };
        if held.is_none() {
            let Some(length) = prefix.push(&mut data)? else { continue };
            if length > memory.message_limit {
                return Err(RequestError::MessageTooLarge { length, limit: memory.message_limit });
            }
            let permit = memory.reserve(length)?;
            if data.len() >= length {
                // Whole in one frame, as small ones are: no copy.
                return Ok((data.split_to(length), permit));
            }
            held = Some((permit, BytesMut::with_capacity(length), length));
        }
        if let Some((permit, mut message, length)) = held.take() {
            let missing = length - message.len();
            message.extend_from_slice(data.get(..missing).unwrap_or(&data));
            if message.len() == length {
                return Ok((message.freeze(), permit));
            }
            held = Some((permit, message, length));
        }
    }
}

#[derive(Default)]
struct Prefix {
    bytes: [u8; PREFIX_LENGTH],
    read: usize,
}

impl Prefix {
    /// Takes its bytes off the front of `data`; gives the message's length once
    /// it is complete.
    fn push(&mut self, data: &mut Bytes) -> Result<Option<usize>, RequestError> {
        let taken = data.split_to(data.len().min(PREFIX_LENGTH - self.read));
        for (slot, byte) in self.bytes.iter_mut().skip(self.read).zip(&taken) {
            *slot = *byte;
        }
        self.read += taken.len();
        let [flag, length @ ..] = self.bytes;
        match (self.read, flag) {
            (PREFIX_LENGTH, 0) => Ok(usize::try_from(u32::from_be_bytes(length)).ok()),
            (PREFIX_LENGTH, _) => Err(RequestError::Compressed),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        task::{Context, Poll},
    };

    use http_body::Frame;

    use super::*;

    /// Frames, and then the end or silence.
    struct Frames(VecDeque<&'static [u8]>, bool);

    impl HttpBody for Frames {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            match (self.0.pop_front(), self.1) {
                (Some(data), _) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(data))))),
                (None, false) => Poll::Ready(None),
                (None, true) => Poll::Pending,
            }
        }
    }

    async fn read_frames(frames: &[&'static [u8]], silent: bool) -> Result<Bytes, RequestError> {
        let memory = RequestMemory::new(10 * UNIT, 4 * UNIT);
        let body = Frames(frames.iter().copied().collect(), silent);
        read(body, &memory, STALL_LIMIT).await.map(|(message, _)| message)
    }

    #[tokio::test]
    async fn a_message_is_put_together_from_any_frames() {
        for frames in [
            &[&b"\0\0\0\0\x03abc"[..]][..],
            &[b"\0\0\0\0\x03abcdef"],
            &[b"\0\0", b"", b"\0\0\x03", b"abc"],
            &[b"\0\0\0\0\x03a", b"b", b"", b"cd"],
        ] {
            assert_eq!(read_frames(frames, true).await.unwrap(), b"abc"[..], "{frames:?}");
        }
        assert_eq!(read_frames(&[b"\0\0\0\0\0"], true).await.unwrap(), b""[..]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_message_is_refused() {
        let code =
            async |frames: &[&'static [u8]], silent| read_frames(frames, silent).await.err().unwrap().code();
        assert_eq!(code(&[], false).await, "no-message");
        assert_eq!(code(&[b"\0\0\0\0\x03ab"], false).await, "no-message");
        assert_eq!(code(&[b"\x01\0\0\0\x03abc"], false).await, "compressed");
        assert_eq!(code(&[b"\0\0\0\x10\x01"], false).await, "message-too-large");
        assert_eq!(code(&[b"\0\xff\xff\xff\xff"], false).await, "message-too-large");
        assert_eq!(code(&[b"\0\0\0\0\x03ab"], true).await, "stalled");
    }

    #[test]
    fn the_budget_is_shared_and_given_back() {
        let memory = RequestMemory::new(10 * UNIT, 4 * UNIT);
        let first = memory.reserve(4 * UNIT).unwrap();
        let second = memory.reserve(4 * UNIT - 1).unwrap();
        assert!(matches!(memory.reserve(3 * UNIT), Err(RequestError::MemoryInUse { .. })));
        drop(first);
        drop(memory.reserve(3 * UNIT).unwrap());
        drop(second);
        drop(memory.reserve(10 * UNIT).unwrap());
    }
}

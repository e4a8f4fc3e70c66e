//! Limits on what clients can make the server hold.
//!
//! The memory of requests comes from a budget that all connections share, and is
//! given back when the answer is ready. gRPC says a message's length before the
//! message: one for which not enough is left is refused at once. But the length
//! is only a promise, so memory is taken as the bytes come, at most twice what has
//! come, and they must come fast enough. Values that a message stands for and does not
//! carry (a shape with one value that is repeated) have a limit of their own. `runs` is the
//! memory of runs.

mod runs;

use std::{future::poll_fn, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body::Body as HttpBody;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};
use tonic::{Status, body::Body};

pub use self::runs::{MemoryEstimate, RunBudget, RunMemory};
use crate::error::RequestError;

/// The bytes before a gRPC message: a flag and the length.
pub const PREFIX_LENGTH: usize = 5;

/// A request of which nothing comes for this long is given up, so that nobody
/// can hold the budget by waiting.
pub const STALL_LIMIT: Duration = Duration::from_secs(10);

/// A message may take [`STALL_LIMIT`], and a second more for each time that this
/// many of its bytes have come: nobody can hold the budget with a byte now and
/// then.
pub const SLOWEST_RATE: u64 = 64 << 10;

/// The most bytes of values that a request may stand for without carrying them: one picture
/// of usual size.
pub const LARGEST_EXPANSION: usize = 1 << 20;

/// The budget is counted in units of this many bytes, since a semaphore has a
/// limited number of permits.
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

    /// Takes memory for the values of a message of `carried` bytes that take `length` bytes,
    /// of which `repeated` are no part of the message. The message itself has its memory.
    pub fn reserve_values(
        &self,
        length: usize,
        carried: usize,
        repeated: usize,
    ) -> Result<Option<OwnedSemaphorePermit>, RequestError> {
        if repeated > LARGEST_EXPANSION {
            return Err(RequestError::ValuesNotSent { bytes: repeated, limit: LARGEST_EXPANSION });
        }
        match length.saturating_sub(carried) {
            0 => Ok(None),
            more => self.reserve(more).map(Some),
        }
    }

    /// A permit for nothing yet, to begin a message of `length` bytes with: only
    /// if there is room for all of it now.
    pub(crate) fn begin(&self, length: usize) -> Result<OwnedSemaphorePermit, RequestError> {
        if length.div_ceil(UNIT) > self.units.available_permits() {
            return Err(RequestError::MemoryInUse { limit: self.limit });
        }
        self.reserve(0)
    }

    /// Makes the permit one for `length` bytes, if it is for less.
    pub(crate) fn grow(&self, permit: &mut OwnedSemaphorePermit, length: usize) -> Result<(), RequestError> {
        let missing = length.div_ceil(UNIT).saturating_sub(permit.num_permits());
        permit.merge(self.reserve(missing.saturating_mul(UNIT))?);
        Ok(())
    }
}

/// A message as it came.
pub struct Received {
    pub message: Bytes,
    /// Whether it is compressed, by what `grpc-encoding` says.
    pub compressed: bool,
    pub permit: OwnedSemaphorePermit,
}

/// Reads the one message of a unary call.
pub async fn read_message(body: Body, memory: &RequestMemory) -> Result<Received, RequestError> {
    read(body, memory, STALL_LIMIT).await
}

async fn read<B>(mut body: B, memory: &RequestMemory, stall: Duration) -> Result<Received, RequestError>
where
    B: HttpBody<Data = Bytes, Error = Status> + Unpin,
{
    let mut prefix = Prefix::default();
    let mut arriving: Option<Arriving> = None;
    let started = Instant::now();
    let mut heard = started;
    loop {
        let received = arriving.as_ref().map_or(0, |message| message.bytes.len());
        let stalled = heard + stall;
        let late = started + stall + longest_time(received);
        let next = poll_fn(|context| Pin::new(&mut body).poll_frame(context));
        let frame = match timeout_at(stalled.min(late), next).await {
            Err(_) if late < stalled => return Err(RequestError::TooSlow { rate: SLOWEST_RATE }),
            Err(_) => return Err(RequestError::Stalled { limit: stall }),
            Ok(None) => return Err(RequestError::NoMessage),
            Ok(Some(frame)) => frame.map_err(|status| RequestError::Connection(status.into()))?,
        };
        heard = Instant::now();
        // Trailers: nothing follows.
        let Ok(mut data) = frame.into_data() else { return Err(RequestError::NoMessage) };
        if arriving.is_none() {
            let Some(length) = prefix.push(&mut data)? else { continue };
            if length > memory.message_limit {
                return Err(RequestError::MessageTooLarge { length, limit: memory.message_limit });
            }
            if data.len() >= length {
                // Whole in one frame, as small ones are: no copy.
                let permit = memory.reserve(length)?;
                let message = data.split_to(length);
                return Ok(Received { message, compressed: prefix.is_compressed(), permit });
            }
            arriving = Some(Arriving { length, bytes: Vec::new(), permit: memory.begin(length)? });
        }
        if let Some(message) = &mut arriving {
            message.push(&data, memory)?;
        }
        if let Some(whole) = arriving.take_if(|message| message.bytes.len() == message.length) {
            let compressed = prefix.is_compressed();
            return Ok(Received { message: whole.bytes.into(), compressed, permit: whole.permit });
        }
    }
}

/// How long this many bytes may take, in addition to [`STALL_LIMIT`].
pub(crate) fn longest_time(bytes: usize) -> Duration {
    Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / SLOWEST_RATE)
}

/// A message that has come in part.
struct Arriving {
    length: usize,
    bytes: Vec<u8>,
    /// For the capacity of `bytes`.
    permit: OwnedSemaphorePermit,
}

impl Arriving {
    /// Adds what belongs to the message.
    fn push(&mut self, data: &[u8], memory: &RequestMemory) -> Result<(), RequestError> {
        let missing = self.length - self.bytes.len();
        let part = data.get(..missing).unwrap_or(data);
        let received = self.bytes.len() + part.len();
        if received > self.bytes.capacity() {
            // Twice, so that what was received is not moved with each frame.
            let room = received.saturating_mul(2).min(self.length);
            memory.grow(&mut self.permit, room)?;
            self.bytes.reserve_exact(room - self.bytes.len());
        }
        self.bytes.extend_from_slice(part);
        Ok(())
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
            (PREFIX_LENGTH, 0 | 1) => Ok(usize::try_from(u32::from_be_bytes(length)).ok()),
            (PREFIX_LENGTH, _) => Err(RequestError::Flag { flag }),
            _ => Ok(None),
        }
    }

    fn is_compressed(&self) -> bool {
        let [flag, ..] = self.bytes;
        flag == 1
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        task::{Context, Poll, ready},
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

    /// Frames, and a pause before each but the first.
    struct Paced {
        frames: VecDeque<Bytes>,
        pause: tokio::time::Interval,
    }

    impl HttpBody for Paced {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            ready!(self.pause.poll_tick(context));
            Poll::Ready(self.frames.pop_front().map(|data| Ok(Frame::data(data))))
        }
    }

    /// Reads a message of which `step` bytes come after each pause; gives its
    /// length or the error's code, and how long that took.
    async fn read_paced(
        length: usize,
        step: usize,
        pause: Duration,
    ) -> (Result<usize, &'static str>, Duration) {
        let prefix = [&[0_u8][..], &u32::try_from(length).unwrap().to_be_bytes()].concat();
        let mut frames = VecDeque::from([Bytes::from(prefix)]);
        frames.extend(vec![7_u8; length].chunks(step).map(Bytes::copy_from_slice));
        let memory = RequestMemory::new(4 << 20, 1 << 20);
        let body = Paced { frames, pause: tokio::time::interval(pause) };
        let started = Instant::now();
        let message = read(body, &memory, STALL_LIMIT).await;
        (message.map(|received| received.message.len()).map_err(|error| error.code()), started.elapsed())
    }

    async fn read_frames(frames: &[&'static [u8]], silent: bool) -> Result<Bytes, RequestError> {
        let memory = RequestMemory::new(10 * UNIT, 4 * UNIT);
        let body = Frames(frames.iter().copied().collect(), silent);
        read(body, &memory, STALL_LIMIT).await.map(|received| received.message)
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
        let memory = RequestMemory::new(10 * UNIT, 4 * UNIT);
        let body = Frames([&b"\x01\0\0\0\x03"[..], b"abc"].into(), true);
        assert!(read(body, &memory, STALL_LIMIT).await.unwrap().compressed);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_message_is_refused() {
        let code =
            async |frames: &[&'static [u8]], silent| read_frames(frames, silent).await.err().unwrap().code();
        assert_eq!(code(&[], false).await, "no-message");
        assert_eq!(code(&[b"\0\0\0\0\x03ab"], false).await, "no-message");
        assert_eq!(code(&[b"\x02\0\0\0\x03abc"], false).await, "message-flag");
        assert_eq!(code(&[b"\0\0\0\x10\x01"], false).await, "message-too-large");
        assert_eq!(code(&[b"\0\xff\xff\xff\xff"], false).await, "message-too-large");
        assert_eq!(code(&[b"\0\0\0\0\x03ab"], true).await, "stalled");
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_only_trickles_is_given_up() {
        let seconds = Duration::from_secs;
        // A byte is in time each time, but nothing ever comes of them.
        let (message, took) = read_paced(4096, 1, seconds(9)).await;
        assert_eq!(message, Err("too-slow"));
        assert!(took < seconds(11), "{took:?}");
        // Bytes that have arrived give more time, in proportion to their number.
        let (message, took) = read_paced(1 << 20, 16 << 10, Duration::from_millis(800)).await;
        assert_eq!(message, Err("too-slow"));
        assert!(took > seconds(14) && took < seconds(15), "{took:?}");
        // Above the rate a message may take longer than nothing may come.
        let (message, took) = read_paced(1 << 20, 16 << 10, Duration::from_millis(200)).await;
        assert_eq!(message, Ok(1 << 20));
        assert!(took > STALL_LIMIT, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_announcement_takes_nothing_from_others() {
        let memory = RequestMemory::new(10 * UNIT, 4 * UNIT);
        let mut waiting = Vec::new();
        for _ in 0..3 {
            let (memory, body) = (memory.clone(), Frames([&b"\0\0\0\x10\0"[..], b"a"].into(), true));
            waiting.push(tokio::spawn(async move { read(body, &memory, STALL_LIMIT).await.map(drop) }));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let whole = Frames([&b"\0\0\0\x10\0"[..], &[7_u8; 3 * UNIT], &[7_u8; UNIT]].into(), true);
        let received = read(whole, &memory, STALL_LIMIT).await.unwrap();
        assert_eq!(received.message.len(), 4 * UNIT);
        drop(received);
        for request in waiting {
            assert_eq!(request.await.unwrap().unwrap_err().code(), "stalled");
        }
        assert_eq!(memory.units.available_permits(), 10);
    }

    #[test]
    fn memory_is_taken_as_a_message_comes() {
        let memory = RequestMemory::new(10 * UNIT, 4 * UNIT);
        let permit = memory.begin(4 * UNIT).unwrap();
        let mut message = Arriving { length: 4 * UNIT, bytes: Vec::new(), permit };
        assert_eq!(memory.units.available_permits(), 10);
        message.push(&[7; UNIT], &memory).unwrap();
        assert_eq!(memory.units.available_permits(), 8);
        let others = memory.reserve(8 * UNIT).unwrap();
        message.push(&[7; UNIT], &memory).unwrap();
        assert!(matches!(message.push(&[7; UNIT], &memory), Err(RequestError::MemoryInUse { .. })));
        assert!(matches!(memory.begin(UNIT), Err(RequestError::MemoryInUse { .. })));
        drop(others);
        message.push(&[7; 3 * UNIT], &memory).unwrap();
        assert_eq!((message.bytes.len(), message.permit.num_permits()), (4 * UNIT, 4));
        assert_eq!(memory.units.available_permits(), 6);
    }

    #[test]
    fn values_that_are_not_sent_are_few() {
        let memory = RequestMemory::new(4 << 20, 4 << 20);
        assert!(memory.reserve_values(1000, 1000, 0).unwrap().is_none());
        let held = memory.reserve_values(LARGEST_EXPANSION, 40, LARGEST_EXPANSION).unwrap();
        assert_eq!(held.unwrap().num_permits(), LARGEST_EXPANSION / UNIT);
        let refused = memory.reserve_values(2 << 20, 40, LARGEST_EXPANSION + 1).unwrap_err();
        assert_eq!(refused.code(), "values-not-sent");
        // Short numbers may take more room than they came in.
        assert!(memory.reserve_values(4 << 20, 1 << 20, 0).is_ok());
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

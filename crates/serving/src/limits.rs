//! Limits on what clients can make the server hold.
//!
//! gRPC frames a message by its length, so the memory that a request will take
//! is known before it comes. It is taken from a budget that all connections
//! share, and given back when the answer is ready; a request for which nothing
//! is left is refused at once.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use crate::error::RequestError;

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

    fn take(&self, length: usize) -> Result<OwnedSemaphorePermit, RequestError> {
        if length > self.message_limit {
            return Err(RequestError::MessageTooLarge { length, limit: self.message_limit });
        }
        self.reserve(length)
    }

    /// Takes `length` bytes until the permit is dropped.
    pub fn reserve(&self, length: usize) -> Result<OwnedSemaphorePermit, RequestError> {
        u32::try_from(length.div_ceil(UNIT))
            .ok()
            .and_then(|units| Arc::clone(&self.units).try_acquire_many_owned(units).ok())
            .ok_or(RequestError::MemoryInUse { limit: self.limit })
    }
}

impl<S> Layer<S> for RequestMemory {
    type Service = Budgeted<S>;

    fn layer(&self, inner: S) -> Budgeted<S> {
        Budgeted { inner, memory: self.clone() }
    }
}

/// A service whose requests take their memory from the budget.
#[derive(Clone)]
pub struct Budgeted<S> {
    inner: S,
    memory: RequestMemory,
}

/// Held from the first byte of a message to the answer.
type Held = Arc<Mutex<Option<OwnedSemaphorePermit>>>;

impl<S> Service<http::Request<Body>> for Budgeted<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let held = Held::default();
        let memory = self.memory.clone();
        let holder = Arc::clone(&held);
        let request = request.map(|body| {
            Body::new(BudgetedBody { inner: body, memory, held: holder, header: Header::default() })
        });
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            drop(held);
            answer
        })
    }
}

/// The five bytes before a gRPC message: a flag and the length.
#[derive(Default)]
struct Header {
    bytes: [u8; 5],
    read: usize,
}

impl Header {
    /// The message's length, once, when the header is complete.
    fn push(&mut self, mut data: &[u8]) -> Option<usize> {
        while let Some(slot) = self.bytes.get_mut(self.read) {
            if !data.has_remaining() {
                return None;
            }
            *slot = data.get_u8();
            self.read += 1;
            if self.read == 5 {
                let [_, length @ ..] = self.bytes;
                return usize::try_from(u32::from_be_bytes(length)).ok();
            }
        }
        None
    }
}

struct BudgetedBody {
    inner: Body,
    memory: RequestMemory,
    held: Held,
    header: Header,
}

impl HttpBody for BudgetedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
            && let Some(length) = self.header.push(data)
        {
            match self.memory.take(length) {
                Ok(permit) => *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit),
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_read_across_frames() {
        let mut header = Header::default();
        assert_eq!(header.push(&[0, 0]), None);
        assert_eq!(header.push(&[]), None);
        assert_eq!(header.push(&[1, 2]), None);
        assert_eq!(header.push(&[3, 9, 9]), Some(0x0001_0203));
        assert_eq!(header.push(&[1, 2, 3, 4, 5]), None, "only once");
    }

    #[test]
    fn the_budget_is_shared_and_given_back() {
        let memory = RequestMemory::new(10 * UNIT, 4 * UNIT);
        let first = memory.take(4 * UNIT).unwrap();
        let second = memory.take(4 * UNIT - 1).unwrap();
        assert!(matches!(memory.take(3 * UNIT), Err(RequestError::MemoryInUse { .. })));
        drop(first);
        drop(memory.take(3 * UNIT).unwrap());
        drop(second);
        let error = memory.take(4 * UNIT + 1).err().unwrap();
        assert_eq!(error.to_string(), "Received message larger than max (4097 vs. 4096)");
    }
}

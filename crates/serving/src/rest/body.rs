//! The body of a request, within the limits that gRPC messages have too ([`crate::limits`]).

use std::{future::poll_fn, pin::Pin};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::Body as HttpBody;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout_at},
};
use tonic::body::Body;

use crate::{
    error::RequestError,
    limits::{RequestMemory, SLOWEST_RATE, STALL_LIMIT, longest_time},
    unpack::Encoding,
};

/// Reads a body to its end, and unpacks it if it is compressed. Its memory is held by the permit.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    memory: &RequestMemory,
) -> Result<(Bytes, OwnedSemaphorePermit), RequestError> {
    let encoding = Encoding::parse(headers.get(header::CONTENT_ENCODING))?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let (bytes, mut permit) = read_all(body, announced.unwrap_or(0), memory).await?;
    let bytes = encoding.unpack(bytes, memory, &mut permit)?;
    Ok((bytes, permit))
}

async fn read_all(
    mut body: Body,
    announced: usize,
    memory: &RequestMemory,
) -> Result<(Bytes, OwnedSemaphorePermit), RequestError> {
    let limit = memory.message_limit();
    if announced > limit {
        return Err(RequestError::MessageTooLarge { length: announced, limit });
    }
    let mut permit = memory.begin(announced)?;
    let mut first = Bytes::new();
    let mut whole: Vec<u8> = Vec::new();
    let started = Instant::now();
    let mut heard = started;
    loop {
        let received = first.len() + whole.len();
        let (stalled, late) = (heard + STALL_LIMIT, started + STALL_LIMIT + longest_time(received));
        let next = poll_fn(|context| Pin::new(&mut body).poll_frame(context));
        let frame = match timeout_at(stalled.min(late), next).await {
            Err(_) if late < stalled => return Err(RequestError::TooSlow { rate: SLOWEST_RATE }),
            Err(_) => return Err(RequestError::Stalled { limit: STALL_LIMIT }),
            Ok(None) => break,
            Ok(Some(frame)) => frame.map_err(|status| RequestError::Connection(status.into()))?,
        };
        heard = Instant::now();
        let Ok(data) = frame.into_data() else { continue };
        let length = received + data.len();
        if length > limit {
            return Err(RequestError::MessageTooLarge { length, limit });
        }
        if received == 0 {
            // Whole in one frame, as small ones are: no copy.
            memory.grow(&mut permit, length)?;
            first = data;
            continue;
        }
        if length > whole.capacity() {
            // Twice, so that what was received is not moved with each frame.
            let room = length.saturating_mul(2).min(if announced >= length { announced } else { limit });
            memory.grow(&mut permit, room)?;
            whole.reserve_exact(room - whole.len());
        }
        if !first.is_empty() {
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        whole.extend_from_slice(&data);
    }
    Ok((if whole.is_empty() { first } else { whole.into() }, permit))
}

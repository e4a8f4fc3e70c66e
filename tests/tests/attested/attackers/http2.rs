//! A server of HTTP/2 (RFC 9113) by hand: it does what no library lets a server do, and keeps all
//! that it gets.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const ACKNOWLEDGED: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;

/// `:status: 200` in HPACK (RFC 7541, appendix A, entry 8).
const STATUS_200: [u8; 1] = [0x88];

/// What the server does with a request, once it has all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// Answers with 200 and no body.
    Answer,
    /// Refuses the stream: it was not processed.
    Refuse,
    /// Refuses the stream when it has only begun, in the middle of its body.
    RefuseEarly,
    /// Ends the stream with an error: it may have been processed.
    Break,
    /// Ends the connection in good order, and says that it has processed no stream of it.
    GoAway,
}

/// All that a server got.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    /// Each byte, in order.
    pub(crate) bytes: Vec<u8>,
    /// The bodies of the requests, in the order of their ends.
    pub(crate) bodies: Vec<Vec<u8>>,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Serves until the client ends the connection. `record` gets what came; `next` says what to do
/// with a request.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    mut record: impl FnMut(&mut dyn FnMut(&mut Received)),
    mut next: impl FnMut() -> Reaction,
) -> io::Result<()> {
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    stream.flush().await?;
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await?;
    record(&mut |received| received.bytes.extend_from_slice(&preface));
    let mut bodies: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut reactions: BTreeMap<u32, Reaction> = BTreeMap::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, stream_id @ ..] = head;
        let id = u32::from_be_bytes(stream_id) & 0x7fff_ffff;
        let length = u32::from_be_bytes([0, a, b, c]);
        let mut payload = vec![0; usize::try_from(length).unwrap_or_default()];
        stream.read_exact(&mut payload).await?;
        record(&mut |received| {
            received.bytes.extend_from_slice(&head);
            received.bytes.extend_from_slice(&payload);
        });
        let mut answer = match kind {
            SETTINGS if flags & ACKNOWLEDGED == 0 => frame(SETTINGS, ACKNOWLEDGED, 0, &[]),
            PING if flags & ACKNOWLEDGED == 0 => frame(PING, ACKNOWLEDGED, 0, &payload),
            DATA if !payload.is_empty() => {
                let grown = length.to_be_bytes();
                [frame(WINDOW_UPDATE, 0, 0, &grown), frame(WINDOW_UPDATE, 0, id, &grown)].concat()
            }
            _ => Vec::new(),
        };
        if kind == HEADERS {
            let reaction = *reactions.entry(id).or_insert_with(&mut next);
            if reaction == Reaction::RefuseEarly {
                answer.extend(frame(RST_STREAM, 0, id, &REFUSED_STREAM.to_be_bytes()));
            }
        }
        let reaction = reactions.get(&id).copied().filter(|reaction| *reaction != Reaction::RefuseEarly);
        if kind == DATA {
            bodies.entry(id).or_default().extend_from_slice(&payload);
        }
        if (kind == DATA || kind == HEADERS)
            && flags & END_STREAM != 0
            && let Some(reaction) = reaction
        {
            let body = bodies.remove(&id).unwrap_or_default();
            record(&mut |received| received.bodies.push(body.clone()));
            answer.extend(match reaction {
                Reaction::Answer => frame(HEADERS, END_STREAM | END_HEADERS, id, &STATUS_200),
                Reaction::Refuse | Reaction::RefuseEarly => {
                    frame(RST_STREAM, 0, id, &REFUSED_STREAM.to_be_bytes())
                }
                Reaction::Break => frame(RST_STREAM, 0, id, &INTERNAL_ERROR.to_be_bytes()),
                Reaction::GoAway => frame(GOAWAY, 0, 0, &[0; 8]),
            });
        }
        stream.write_all(&answer).await?;
        stream.flush().await?;
    }
}

/// What to do with the requests, one after the other; then they are answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reactions(VecDeque<Reaction>);

impl Reactions {
    pub(crate) fn next(&mut self) -> Reaction {
        self.0.pop_front().unwrap_or(Reaction::Answer)
    }
}

impl From<&[Reaction]> for Reactions {
    fn from(reactions: &[Reaction]) -> Self {
        Self(reactions.iter().copied().collect())
    }
}

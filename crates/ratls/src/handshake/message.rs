//! The four messages of the attestation: how they are framed, and what in them
//! is accepted.
//!
//! A message is a Protocol Buffers message preceded by its length as four bytes,
//! big-endian. Only the canonical encoding is accepted (fields in order, each at
//! most once, shortest integers, no unknown fields), so that every message has
//! one form and nothing can hide in it. A later version has another ALPN name.

use std::{io, num::NonZeroU32};

use adytum_api::{canonical, refusal::RefusalKind, session as wire};
use adytum_evidence::{
    collateral::Collateral,
    evidence::{Evidence, EvidenceFormat, MAXIMUM_EVIDENCE_LENGTH},
};
use bytes::Bytes;
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{binding::Nonce, codes, staple};
use crate::{error::Refusal, gate::OVERLOADED};

/// The largest announcement of either role, in bytes.
pub const MAXIMUM_ANNOUNCEMENT_LENGTH: usize = 48 * 1024;

/// The largest ClientHello, in bytes: a nonce has 34 in its only encoding.
pub const MAXIMUM_HELLO_LENGTH: usize = 64;

/// The largest SessionResult, in bytes.
pub const MAXIMUM_RESULT_LENGTH: usize = 8 * 1024;

/// The longest code and message of a refusal, in bytes.
const MAXIMUM_CODE_LENGTH: usize = 64;
const MAXIMUM_REFUSAL_TEXT: usize = 4096;

/// A peer can't keep this side away for longer than this.
const LONGEST_RETRY_MS: u32 = 60_000;

/// Why a message was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The connection failed or ended while a message was read or written.
    ///
    /// See: ConnectError::Network.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The length prefix promises more than this message may have.
    ///
    /// See: `TransportFault::MessageTooLong`
    #[error("{message}: expected at most {maximum} bytes, found a length of {length}")]
    TooLong { message: &'static str, maximum: usize, length: usize },
    /// The bytes are not this message, or a field is not what it must be.
    ///
    /// See: `TransportFault::MessageMalformed`
    #[error("{message}: {reason}")]
    Malformed {
        message: &'static str,
        /// The expected and the found form.
        reason: String,
    },
}

impl MessageError {
    /// Stable code for logs, metrics and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io(_) => "connection-failed",
            Self::TooLong { .. } => "message-too-long",
            Self::Malformed { .. } => "message-malformed",
        }
    }

    /// The refusal as the peer gets it.
    pub(crate) fn refusal(&self) -> Refusal {
        Refusal::request(self.code(), self.to_string())
    }
}

/// Message 2 as it is accepted.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerAnswer {
    /// The server attests.
    Attestation {
        nonce: Nonce,
        /// Its evidence, not verified.
        evidence: Evidence,
        /// Its announcement, not checked.
        announcement: Bytes,
        /// What verifies the evidence, if it came along; not verified.
        collateral: Option<Collateral>,
    },
    /// It does not.
    Refusal(Refusal),
}

/// Message 3 as it is accepted.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientAnswer {
    /// The client attests.
    Attestation {
        /// Its evidence, not verified.
        evidence: Evidence,
        /// Its announcement, not checked.
        announcement: Bytes,
    },
    /// The client accepts the server and has no TEE itself.
    Unattested,
    /// The client refuses the server.
    Refusal(Refusal),
}

/// Reads one message of at most `maximum` bytes. The buffer grows with the bytes
/// that really come, not with the length that is promised.
pub async fn read_message<S>(
    stream: &mut S,
    message: &'static str,
    maximum: usize,
) -> Result<Vec<u8>, MessageError>
where
    S: AsyncRead + Unpin,
{
    let length = stream.read_u32().await? as usize;
    if length > maximum {
        return Err(MessageError::TooLong { message, maximum, length });
    }
    let mut bytes = Vec::with_capacity(length.min(8 * 1024));
    stream.take(length as u64).read_to_end(&mut bytes).await?;
    if bytes.len() < length {
        return Err(MessageError::Io(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{message}: the stream ended after {} of {length} bytes", bytes.len()),
        )));
    }
    Ok(bytes)
}

/// Writes one message, prefix and all, with a single write.
pub async fn write_message<S>(stream: &mut S, message: &impl Message) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    let length = message.encoded_len();
    let prefix =
        u32::try_from(length).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "message too long"))?;
    let mut bytes = Vec::with_capacity(4 + length);
    bytes.extend_from_slice(&prefix.to_be_bytes());
    message.encode_raw(&mut bytes);
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// Decodes one message and accepts its canonical encoding only.
fn parse<M: Message + Default>(bytes: &[u8]) -> Result<M, String> {
    canonical::parse(bytes).map_err(|error| error.to_string())
}

fn malformed(message: &'static str) -> impl FnOnce(String) -> MessageError {
    move |reason| MessageError::Malformed { message, reason }
}

fn nonce(bytes: &[u8]) -> Result<Nonce, String> {
    bytes.try_into().map(Nonce).map_err(|_| format!("expected a nonce of 32 bytes, found {}", bytes.len()))
}

fn evidence(message: wire::Evidence) -> Result<Evidence, String> {
    let format = match wire::EvidenceFormat::try_from(message.format) {
        Ok(wire::EvidenceFormat::DcapQuote) => EvidenceFormat::DcapQuote,
        Ok(wire::EvidenceFormat::SnpReport) => EvidenceFormat::SnpReport,
        Ok(wire::EvidenceFormat::AzureToken) => EvidenceFormat::AzureToken,
        _ => return Err(format!("expected a known evidence format, found {}", message.format)),
    };
    for (what, bytes) in [("evidence", &message.evidence), ("endorsements", &message.endorsements)] {
        if bytes.len() > MAXIMUM_EVIDENCE_LENGTH {
            return Err(format!(
                "expected at most {MAXIMUM_EVIDENCE_LENGTH} bytes of {what}, found {}",
                bytes.len()
            ));
        }
    }
    if message.evidence.is_empty() {
        return Err("expected evidence, found none".to_owned());
    }
    Ok(Evidence { format, bytes: message.evidence, endorsements: message.endorsements })
}

fn announcement(bytes: Vec<u8>) -> Result<Bytes, String> {
    if bytes.len() > MAXIMUM_ANNOUNCEMENT_LENGTH {
        return Err(format!(
            "expected at most {MAXIMUM_ANNOUNCEMENT_LENGTH} bytes of an announcement, found {}",
            bytes.len()
        ));
    }
    Ok(bytes.into())
}

fn is_code(code: &str) -> bool {
    (1..=MAXIMUM_CODE_LENGTH).contains(&code.len())
        && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// A peer's words end in logs and on terminals, so they are bounded and without
/// control characters.
fn refusal(message: wire::Refusal) -> Result<Refusal, String> {
    if !is_code(&message.code) {
        return Err(format!("expected a refusal's code, found {:.80?}", message.code));
    }
    if message.message.len() > MAXIMUM_REFUSAL_TEXT {
        return Err(format!(
            "expected at most {MAXIMUM_REFUSAL_TEXT} bytes of message, found {}",
            message.message.len()
        ));
    }
    let text = message.message.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let kind = RefusalKind::from_wire(message.kind)
        .ok_or_else(|| format!("expected a refusal's kind, found {}", message.kind))?;
    let retry_after_ms = NonZeroU32::new(message.retry_after_ms.min(LONGEST_RETRY_MS));
    Ok(Refusal { code: message.code, message: text, retry: message.retry, kind, retry_after_ms })
}

/// Reads message 1, sent by the client.
pub fn parse_client_hello(bytes: &[u8]) -> Result<Nonce, MessageError> {
    parse::<wire::ClientHello>(bytes)
        .and_then(|message| nonce(&message.nonce))
        .map_err(malformed("ClientHello"))
}

/// Reads message 2, sent by the server.
pub fn parse_server_attestation(bytes: &[u8]) -> Result<ServerAnswer, MessageError> {
    let read = || {
        let message: wire::ServerAttestation = parse(bytes)?;
        match (message.evidence, message.refusal) {
            (None, Some(why))
                if message.nonce.is_empty()
                    && message.announcement.is_empty()
                    && message.collateral.is_none() =>
            {
                refusal(why).map(ServerAnswer::Refusal)
            }
            (Some(shown), None) => Ok(ServerAnswer::Attestation {
                nonce: nonce(&message.nonce)?,
                evidence: evidence(shown)?,
                announcement: announcement(message.announcement)?,
                collateral: message.collateral.map(staple::from_wire).transpose()?,
            }),
            _ => Err("expected either evidence or a refusal, found both or neither".to_owned()),
        }
    };
    read().map_err(malformed("ServerAttestation"))
}

/// Reads message 3, sent by the client.
pub fn parse_client_attestation(bytes: &[u8]) -> Result<ClientAnswer, MessageError> {
    let read = || {
        let message: wire::ClientAttestation = parse(bytes)?;
        match (message.evidence, message.refusal) {
            (None, None) if message.announcement.is_empty() => Ok(ClientAnswer::Unattested),
            (None, Some(why)) if message.announcement.is_empty() => refusal(why).map(ClientAnswer::Refusal),
            (Some(shown), None) => Ok(ClientAnswer::Attestation {
                evidence: evidence(shown)?,
                announcement: announcement(message.announcement)?,
            }),
            (None, _) => Err("an announcement without evidence".to_owned()),
            (Some(_), Some(_)) => Err("expected either evidence or a refusal, found both".to_owned()),
        }
    };
    read().map_err(malformed("ClientAttestation"))
}

/// Reads message 4, sent by the server. `None`: the session is open.
pub fn parse_session_result(bytes: &[u8]) -> Result<Option<Refusal>, MessageError> {
    parse::<wire::SessionResult>(bytes)
        .and_then(|message| message.refusal.map(refusal).transpose())
        .map_err(malformed("SessionResult"))
}

/// Evidence as it is sent.
pub fn wire_evidence(evidence: Evidence) -> Result<wire::Evidence, MessageError> {
    let format = match evidence.format {
        EvidenceFormat::DcapQuote => wire::EvidenceFormat::DcapQuote,
        EvidenceFormat::SnpReport => wire::EvidenceFormat::SnpReport,
        EvidenceFormat::AzureToken => wire::EvidenceFormat::AzureToken,
        other => {
            return Err(MessageError::Malformed {
                message: "Evidence",
                reason: format!("attested session v1 has no evidence of format {other:?}"),
            });
        }
    };
    Ok(wire::Evidence {
        format: format.into(),
        evidence: evidence.bytes,
        endorsements: evidence.endorsements,
    })
}

/// The refusal for a peer that is not accepted: the code, whether to try again and a
/// fixed sentence. The reasons stay in this side's log: they would tell a stranger
/// the policy, the platform and the inner addresses.
pub(crate) fn wire_refusal(refusal: &Refusal) -> wire::Refusal {
    let code = if is_code(&refusal.code) { refusal.code.clone() } else { "refused".to_owned() };
    let message = match code.as_str() {
        "message-malformed" | "message-too-long" => "a message did not follow attested session v1",
        codes::EVIDENCE_NOT_BOUND => "the evidence is not bound to this session",
        codes::EVIDENCE_REPLAYED => "the evidence is that of an earlier session",
        codes::ATTESTATION_UNAVAILABLE => "this side can't attest now; try again later",
        "genesis-mismatch" => "the broker has another genesis than the one that was pinned",
        "policy-refused" => {
            "the evidence does not meet the policy; the log of the refusing side says which rules"
        }
        OVERLOADED => "more peers connect than this side takes; try again later",
        codes::CERTIFICATE_WITHOUT_EVIDENCE => "a client that gives no evidence shows no certificate",
        codes::EVIDENCE_WITHOUT_CERTIFICATE => "a client that gives evidence shows a certificate",
        _ => "the log of the refusing side says why",
    };
    let kind = refusal.kind.to_wire().into();
    let retry_after_ms = refusal.retry_after_ms.map_or(0, NonZeroU32::get).min(LONGEST_RETRY_MS);
    wire::Refusal { code, message: message.to_owned(), retry: refusal.retry, kind, retry_after_ms }
}

#[cfg(test)]
mod tests;

//! Records: from what happened to the one encoding that is stored and hashed,
//! and back to what people read.

use adytum_api::broker::{
    AuditCheckpoint, AuditCommand, AuditGrant, AuditNotice, AuditPeer, AuditRecord, AuditRefusal,
    audit_record::What,
};
use adytum_evidence::{clock::UnixSeconds, identity::LengthPrefixed, measurement::Sha256Digest};
use prost::Message;
use serde::Serialize;
use sha2::Sha256;

use super::events::{CommandName, Event, Who};

/// The longest record, in bytes.
pub const MAXIMUM_RECORD_LENGTH: usize = 4096;
/// The longest rule or reason, in bytes; the rest is cut off.
const MAXIMUM_TEXT: usize = 1024;
/// The longest description of a platform, in bytes.
const MAXIMUM_FIELD: usize = 256;

/// An audit record as a store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    pub number: u64,
    /// The hash of the record before; `None` for the first.
    pub previous: Option<Sha256Digest>,
    pub bytes: Vec<u8>,
    /// [`record_hash`] of all these.
    pub hash: Sha256Digest,
}

/// The link of an audit record to all before it: SHA-256 over the
/// length-prefixed "adytum audit record v1", number (eight bytes, big-endian),
/// hash of the previous record (empty for the first) and the record's bytes.
pub fn record_hash(number: u64, previous: Option<Sha256Digest>, bytes: &[u8]) -> Sha256Digest {
    let mut hasher = LengthPrefixed::<Sha256>::new();
    hasher.field(b"adytum audit record v1");
    hasher.field(&number.to_be_bytes());
    hasher.field(previous.as_ref().map_or(&[][..], |hash| &hash.0));
    hasher.field(bytes);
    Sha256Digest(hasher.finish().into())
}

/// A record's canonical encoding.
pub fn encode(time: UnixSeconds, what: What) -> Vec<u8> {
    AuditRecord { time: time.0, what: Some(what) }.encode_to_vec()
}

/// Reads exactly what [`encode`] writes; `None` for anything else.
pub fn decode(bytes: &[u8]) -> Option<AuditRecord> {
    if bytes.len() > MAXIMUM_RECORD_LENGTH {
        return None;
    }
    let record = AuditRecord::decode(bytes).ok()?;
    (record.what.is_some() && record.encode_to_vec() == bytes).then_some(record)
}

/// What a record says of an event.
pub fn what(event: &Event) -> What {
    let text = |text: &str| bounded(text, MAXIMUM_TEXT);
    match event {
        Event::Granted { who, secret, secret_version, rule, manifest_version } => What::Grant(AuditGrant {
            peer: Some(peer(who)),
            secret: secret.as_ref().map(ToString::to_string).unwrap_or_default(),
            secret_version: *secret_version,
            rule: text(rule),
            manifest_version: *manifest_version,
        }),
        Event::Refused { who, secret, code, rule, manifest_version } => What::Refusal(AuditRefusal {
            peer: Some(peer(who)),
            secret: secret.as_ref().map(ToString::to_string).unwrap_or_default(),
            code: (*code).to_owned(),
            reason: text(rule),
            manifest_version: *manifest_version,
        }),
        Event::Executed { who, owners, command, secret, manifest_version, .. } => {
            What::Command(AuditCommand {
                peer: Some(peer(who)),
                owners: owners.iter().map(|owner| owner.0.to_vec()).collect(),
                command: command.as_str().to_owned(),
                secret: secret.as_ref().map(ToString::to_string).unwrap_or_default(),
                manifest_version: *manifest_version,
                ..AuditCommand::default()
            })
        }
        Event::Confirmed { who, owners, head, given_up, manifest_version } => {
            let (command, reason) = match given_up {
                None => (CommandName::ConfirmState, format!("confirmed: {head}")),
                Some(given_up) => {
                    (CommandName::AcceptRollback, format!("given up: {given_up}; restored: {head}"))
                }
            };
            What::Command(AuditCommand {
                peer: Some(peer(who)),
                owners: owners.iter().map(|owner| owner.0.to_vec()).collect(),
                command: command.as_str().to_owned(),
                manifest_version: *manifest_version,
                reason: text(&reason),
                ..AuditCommand::default()
            })
        }
        Event::Recovered { who, recipients, manifest_version } => What::Command(AuditCommand {
            peer: Some(peer(who)),
            command: CommandName::Recover.as_str().to_owned(),
            manifest_version: *manifest_version,
            reason: text(&format!(
                "with the shares of {}",
                recipients.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            )),
            ..AuditCommand::default()
        }),
        Event::Noticed { code, text: noticed, manifest_version } => What::Notice(AuditNotice {
            code: (*code).to_owned(),
            text: text(noticed),
            manifest_version: *manifest_version,
        }),
        Event::CommandRefused { who, owners, command, code, reason, manifest_version } => {
            What::Command(AuditCommand {
                peer: Some(peer(who)),
                owners: owners.iter().map(|owner| owner.0.to_vec()).collect(),
                command: command.map(CommandName::as_str).unwrap_or_default().to_owned(),
                secret: String::new(),
                manifest_version: *manifest_version,
                code: (*code).to_owned(),
                reason: text(reason),
            })
        }
    }
}

fn peer(who: &Who) -> AuditPeer {
    let (protocol, binding) = (who.protocol.as_str().to_owned(), who.protocol.binding().to_owned());
    let unattested =
        AuditPeer { address: who.address.to_string(), protocol, binding, ..AuditPeer::default() };
    let Some(attested) = &who.attested else { return unattested };
    AuditPeer {
        claims_digest: attested.claims_digest.0.to_vec(),
        tee: bounded(&attested.tee, MAXIMUM_FIELD),
        measurement: bounded(&attested.measurement, MAXIMUM_FIELD),
        platform: bounded(&attested.platform, MAXIMUM_FIELD),
        ..unattested
    }
}

fn bounded(text: &str, limit: usize) -> String {
    const CUT: &str = "...";
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(limit - CUT.len());
    format!("{}{CUT}", text.get(..end).unwrap_or_default())
}

/// A record in words: what its encoding says, as JSON of one order.
#[derive(Debug, Default, Serialize)]
pub struct ReadableRecord {
    /// When, by the broker's clock.
    pub time: String,
    /// The kind of event: start, grant, refusal, command, command-refused, notice,
    /// summary, checkpoint.
    pub kind: &'static str,
    #[serde(flatten)]
    fields: Fields,
}

impl ReadableRecord {
    /// Names and values of all fields of the record except time and kind.
    pub fn fields(&self) -> Vec<(String, String)> {
        let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(&self.fields) else {
            return Vec::new();
        };
        let plain = |value: serde_json::Value| match value {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        fields.into_iter().map(|(name, value)| (name, plain(value))).collect()
    }
}

#[derive(Debug, Default, Serialize)]
struct Fields {
    #[serde(skip_serializing_if = "String::is_empty")]
    command: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    secret: String,
    #[serde(skip_serializing_if = "is_zero")]
    secret_version: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    rule: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    code: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(skip_serializing_if = "is_zero")]
    manifest_version: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    owners: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    address: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    claims_digest: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    tee: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    measurement: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    platform: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    protocol: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    binding: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    since: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    until: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    counts: Vec<(String, u64)>,
    #[serde(skip_serializing_if = "String::is_empty")]
    genesis: String,
    #[serde(skip_serializing_if = "is_zero")]
    epoch: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    checkpoint_key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    program: String,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    hash: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    signature: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Puts a record into words.
pub fn describe(record: &AuditRecord) -> ReadableRecord {
    let key = |bytes: &[u8]| format!("ed25519:{}", hex::encode(bytes));
    let (kind, fields) = match record.what.clone() {
        None => ("nothing", Fields::default()),
        Some(What::Start(start)) => {
            let fields = Fields {
                genesis: hex::encode(start.genesis),
                epoch: start.epoch,
                checkpoint_key: key(&start.checkpoint_key),
                program: start.program,
                ..Fields::default()
            };
            ("start", fields)
        }
        Some(What::Grant(grant)) => {
            let fields = Fields {
                secret: grant.secret,
                secret_version: grant.secret_version,
                rule: grant.rule,
                manifest_version: grant.manifest_version,
                ..peer_fields(grant.peer)
            };
            ("grant", fields)
        }
        Some(What::Refusal(refusal)) => {
            let fields = Fields {
                secret: refusal.secret,
                code: refusal.code,
                reason: refusal.reason,
                manifest_version: refusal.manifest_version,
                ..peer_fields(refusal.peer)
            };
            ("refusal", fields)
        }
        Some(What::Command(command)) => {
            let kind = if command.code.is_empty() { "command" } else { "command-refused" };
            let fields = Fields {
                command: command.command,
                secret: command.secret,
                code: command.code,
                reason: command.reason,
                manifest_version: command.manifest_version,
                owners: command.owners.iter().map(|owner| key(owner)).collect(),
                ..peer_fields(command.peer)
            };
            (kind, fields)
        }
        Some(What::Notice(notice)) => {
            let fields = Fields {
                code: notice.code,
                reason: notice.text,
                manifest_version: notice.manifest_version,
                ..Fields::default()
            };
            ("notice", fields)
        }
        Some(What::Summary(summary)) => {
            let fields = Fields {
                since: UnixSeconds(summary.since).to_string(),
                until: UnixSeconds(summary.until).to_string(),
                counts: summary.counts.into_iter().map(|one| (one.code, one.count)).collect(),
                ..Fields::default()
            };
            ("summary", fields)
        }
        Some(What::Checkpoint(AuditCheckpoint { size, hash, signature })) => {
            let (hash, signature) = (hex::encode(hash), hex::encode(signature));
            ("checkpoint", Fields { size, hash, signature, ..Fields::default() })
        }
    };
    ReadableRecord { time: UnixSeconds(record.time).to_string(), kind, fields }
}

fn peer_fields(peer: Option<AuditPeer>) -> Fields {
    let Some(peer) = peer else { return Fields::default() };
    Fields {
        address: peer.address,
        claims_digest: hex::encode(peer.claims_digest),
        tee: peer.tee,
        measurement: peer.measurement,
        platform: peer.platform,
        protocol: peer.protocol,
        binding: peer.binding,
        ..Fields::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_of_a_record_is_in_its_hash() {
        let previous = Sha256Digest([1; 32]);
        let hashes = [
            record_hash(1, None, b"a"),
            record_hash(2, None, b"a"),
            record_hash(1, Some(previous), b"a"),
            record_hash(1, None, b"b"),
        ];
        for (at, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..at].contains(hash));
        }
    }
}

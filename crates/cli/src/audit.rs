//! `adytum audit`: read a broker's audit log, keep it as a file, verify such a
//! file without a broker.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufReader, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use adytum_api::broker::{AuditCheckpoint, AuditEntry, CommandResult, ReadAudit, command};
use adytum_evidence::measurement::Sha256Digest;
use adytum_governance::{
    audit::{
        checkpoint::CheckpointPublicKey,
        export::{Header, entry_line},
        record::{decode, describe},
        verify::{ExpectedLog, VerifiedLog, verify},
    },
    command::MAXIMUM_AUDIT_PAGE,
    genesis::GenesisDigest,
};
use adytum_signing::OwnerSigningKey;
use anyhow::{Context, anyhow, bail};
use clap::Subcommand;
use serde_json::json;

use crate::{
    attested::{Access, Session, read_genesis},
    output,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Print the last records.
    Tail {
        #[command(flatten)]
        access: Access,
        /// How many.
        #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAXIMUM_AUDIT_PAGE)))]
        count: u32,
    },
    /// Write the log into a file, and verify it against the attested broker.
    Export {
        #[command(flatten)]
        access: Access,
        /// The file; never overwritten.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The number of the first record.
        #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
        from: u64,
    },
    /// Verify an exported file; needs no broker.
    Verify(VerifyArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    file: PathBuf,
    /// A record's number and hash, from an attested session: `adytum broker
    /// verify --json` prints them as audit_size and audit_hash.
    #[arg(long, value_name = "SIZE:HASH", value_parser = head)]
    head: Option<(u64, Sha256Digest)>,
    /// The genesis document of the broker whose log it must be.
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
    /// The key that must have signed its checkpoints, as an attested export printed it.
    #[arg(long, value_name = "ed25519:HEX")]
    checkpoint_key: Option<CheckpointPublicKey>,
    /// The number of the first record, where the file does not begin at 1.
    #[arg(long, value_name = "NUMBER")]
    from: Option<u64>,
}

fn head(text: &str) -> Result<(u64, Sha256Digest), String> {
    let (size, hash) = text.split_once(':').ok_or("expected SIZE:HASH")?;
    let size = size.parse().map_err(|_| "SIZE must be a number")?;
    let hash = hash.parse().map_err(|_| "HASH must be 64 hexadecimal digits")?;
    Ok((size, hash))
}

pub(crate) async fn run(action: Action) -> anyhow::Result<()> {
    match action {
        Action::Tail { access, count } => tail(&access, count).await,
        Action::Export { access, out, from } => export(&access, &out, from).await,
        Action::Verify(args) => verify_file(&args),
    }
}

/// A broker's log, over an attested session.
struct Log {
    session: Session,
    owners: Vec<OwnerSigningKey>,
}

impl Log {
    async fn open(access: &Access) -> anyhow::Result<Self> {
        let (session, owners) = access.open().await?;
        Ok(Self { session, owners })
    }

    async fn read(&mut self, first: u64, count: u32) -> anyhow::Result<(Vec<AuditEntry>, AuditCheckpoint)> {
        let command = command::Command::ReadAudit(ReadAudit { first, count });
        let CommandResult { audit, audit_checkpoint, .. } =
            self.session.execute(command, &self.owners).await?;
        Ok((audit, audit_checkpoint.context("the broker signed no checkpoint")?))
    }

    async fn checkpoint_key(&mut self) -> anyhow::Result<CheckpointPublicKey> {
        let key = self.session.status().await?.audit_checkpoint_key;
        CheckpointPublicKey::from_bytes(&key).context("the broker names no key for its checkpoints")
    }

    /// What this attested session says of the log.
    fn expected(&self, checkpoint_key: CheckpointPublicKey, first: u64) -> ExpectedLog {
        let head = &self.session.broker.head;
        let head = head.audit_hash.map(|hash| (head.audit_size, hash)).filter(|(size, _)| *size >= first);
        let genesis = Some(self.session.genesis().digest());
        ExpectedLog { genesis, checkpoint_key: Some(checkpoint_key), head, first: Some(first) }
    }
}

async fn tail(access: &Access, number: u32) -> anyhow::Result<()> {
    let mut log = Log::open(access).await?;
    let (entries, checkpoint) = log.read(0, number).await?;
    let checkpoint_key = log.checkpoint_key().await?;
    let Some(first) = entries.first().map(|entry| entry.number) else { return Ok(()) };
    let genesis = log.session.genesis().digest();
    let mut text = Header { genesis, checkpoint_key, first, checkpoint }.line();
    for entry in &entries {
        text.push('\n');
        text.push_str(&line(entry)?);
    }
    verify(text.as_bytes(), &log.expected(checkpoint_key, first)).context("the broker's answer")?;
    for entry in &entries {
        if output::is_json() { output::line(line(entry)?)? } else { output::line(described(entry)?)? }
    }
    Ok(())
}

fn line(entry: &AuditEntry) -> anyhow::Result<String> {
    entry_line(entry).with_context(|| format!("record {} can't be read", entry.number))
}

/// A record for people: what it is about, without what is seldom looked at.
fn described(entry: &AuditEntry) -> anyhow::Result<String> {
    let record = decode(&entry.record).with_context(|| format!("record {} can't be read", entry.number))?;
    let record = describe(&record);
    let fields = record.fields().into_iter().map(|(name, value)| {
        // Control characters of a peer would reach the terminal.
        let value: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("  {name}={value}")
    });
    Ok(format!("{:<6} {}  {:<15}{}", entry.number, record.time, record.kind, fields.collect::<String>()))
}

async fn export(access: &Access, out: &Path, from: u64) -> anyhow::Result<()> {
    let mut log = Log::open(access).await?;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(out)
        .with_context(|| format!("{} can't be created", out.display()))?;
    let written = write(&mut log, file, from).await;
    let checked = match written {
        Ok(expected) => open(out).and_then(|file| Ok(verify(file, &expected)?)),
        Err(error) => Err(error),
    };
    match checked {
        Ok(verified) => {
            let VerifiedLog { checkpoint_key, first, size, hash, .. } = verified;
            output::result(
                &json!({
                    "file": out,
                    "first": first,
                    "size": size,
                    "head": format!("{size}:{hash}"),
                    "checkpoint_key": checkpoint_key.to_string(),
                }),
                format_args!(
                    "{}: records {first} to {size}\nhead            {size}:{hash}\ncheckpoint key  {checkpoint_key}",
                    out.display()
                ),
            )
        }
        Err(error) => {
            // Half a log would be taken for one.
            let _ = fs::remove_file(out);
            Err(error)
        }
    }
}

/// Writes the log as it is now; gives what it must agree with.
async fn write(log: &mut Log, file: File, from: u64) -> anyhow::Result<ExpectedLog> {
    let mut file = BufWriter::new(file);
    let (mut page, checkpoint) = log.read(from, MAXIMUM_AUDIT_PAGE).await?;
    let checkpoint_key = log.checkpoint_key().await?;
    let last = checkpoint.size;
    // A broker without a disk has forgotten its first records.
    let first = page
        .first()
        .map(|entry| entry.number)
        .ok_or_else(|| input_error!("there is no record {from}; give a lower --from"))?;
    let genesis = log.session.genesis().digest();
    writeln!(file, "{}", Header { genesis, checkpoint_key, first, checkpoint }.line())?;
    let mut next = first;
    loop {
        for entry in page.iter().filter(|entry| entry.number <= last) {
            if entry.number != next {
                bail!(
                    "the broker answered with record {}, expected {next}; use a tool and a broker of the same version",
                    entry.number
                );
            }
            writeln!(file, "{}", line(entry)?)?;
            next += 1;
        }
        if next > last {
            break;
        }
        page = log.read(next, MAXIMUM_AUDIT_PAGE).await?.0;
        if page.is_empty() {
            bail!("the broker answered without record {next}; use a tool and a broker of the same version");
        }
    }
    file.into_inner().map_err(|error| anyhow!(error.into_error()))?.sync_all()?;
    Ok(log.expected(checkpoint_key, first))
}

fn open(path: &Path) -> anyhow::Result<BufReader<File>> {
    let file = File::open(path).with_context(|| format!("{} can't be read", path.display()))?;
    Ok(BufReader::new(file))
}

fn verify_file(args: &VerifyArgs) -> anyhow::Result<()> {
    let genesis: Option<GenesisDigest> =
        args.genesis.as_deref().map(|path| read_genesis(path).map(|genesis| genesis.digest())).transpose()?;
    let expected =
        ExpectedLog { genesis, checkpoint_key: args.checkpoint_key, head: args.head, first: args.from };
    let verified = match verify(open(&args.file)?, &expected) {
        Ok(verified) => verified,
        Err(error) => {
            if output::is_json() {
                output::line(json!({ "ok": false, "code": error.code(), "record": error.number() }))?;
            }
            return Err(anyhow!(error).context(args.file.display().to_string()));
        }
    };
    let anchored = args.head.is_some() || args.checkpoint_key.is_some();
    let VerifiedLog { genesis, checkpoint_key, first, size, hash, checkpoints } = verified;
    if output::is_json() {
        return output::line(json!({
            "ok": true,
            "anchored": anchored,
            "genesis": genesis.to_string(),
            "first": first,
            "size": size,
            "hash": hash.to_string(),
            "checkpoints": checkpoints,
            "checkpoint_key": checkpoint_key.to_string(),
        }));
    }
    output::line(format_args!(
        "records {first} to {size} are whole, with {checkpoints} valid checkpoint(s)"
    ))?;
    output::line(format_args!("genesis         {genesis}"))?;
    output::line(format_args!("head            {size}:{hash}"))?;
    output::line(format_args!("checkpoint key  {checkpoint_key}"))?;
    if !anchored {
        output::line(
            "WARNING         held against nothing but itself: give --head or --checkpoint-key from an attested \
             session, or it may be a log that somebody made up",
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_a_number_and_a_hash() {
        let hash = "ab".repeat(32);
        assert_eq!(head(&format!("7:{hash}")).unwrap().0, 7);
        for text in ["", "7", "7:", &format!(":{hash}"), &format!("-1:{hash}"), "7:abcd"] {
            assert!(head(text).is_err(), "{text}");
        }
    }
}

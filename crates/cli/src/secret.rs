//! `adytum secret`: give secrets to the broker, list them, renew them, take them away.

use std::{io, path::PathBuf};

use adytum_api::{
    broker::{ListSecrets, PutSecret, RemoveSecret, RotateSecret, SecretSummary, command},
    names::SecretName,
};
use adytum_governance::{
    manifest::duration::WrittenDuration,
    secrets::{MAXIMUM_VALUE_LENGTH, SecretKind},
};
use anyhow::Context;
use clap::Subcommand;
use serde_json::json;
use zeroize::Zeroizing;

use crate::{attested::Access, key_file, output};

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Give a secret that the manifest names a value.
    Put {
        name: SecretName,
        /// The value's file, or - for standard input. A value is never an
        /// argument: those are seen by everybody on this machine.
        #[arg(long, value_name = "FILE|-")]
        from_file: PathBuf,
        #[command(flatten)]
        access: Access,
    },
    /// List secrets, without their values.
    List {
        #[command(flatten)]
        access: Access,
    },
    /// Have the broker make a new value of a secret of the kind random, or issue new
    /// certificates of a tls-certificate or ssl-config. Running replicas fetch them
    /// within a third of the lease.
    Rotate {
        name: SecretName,
        #[command(flatten)]
        access: Access,
    },
    /// Have the broker forget a secret's value. Workloads are refused it from then on.
    Rm {
        name: SecretName,
        #[command(flatten)]
        access: Access,
    },
}

pub(crate) async fn run(action: Action) -> anyhow::Result<()> {
    match action {
        Action::Put { name, from_file, access } => {
            let mut value = read_value(&from_file).context("the secret's value")?;
            let put = PutSecret { name: name.to_string(), value: std::mem::take(&mut *value) };
            let result = access.execute(command::Command::PutSecret(put)).await?;
            output::result(
                &json!({ "name": name.to_string(), "version": result.secret_version }),
                format_args!("{name}: version {}", result.secret_version),
            )
        }
        Action::List { access } => {
            let result = access.execute(command::Command::ListSecrets(ListSecrets {})).await?;
            list(&result.secrets)
        }
        Action::Rotate { name, access } => {
            let rotate = RotateSecret { name: name.to_string() };
            let result = access.execute(command::Command::RotateSecret(rotate)).await?;
            output::result(
                &json!({ "name": name.to_string(), "version": result.secret_version }),
                format_args!("{name}: version {}", result.secret_version),
            )
        }
        Action::Rm { name, access } => {
            let remove = RemoveSecret { name: name.to_string() };
            access.execute(command::Command::RemoveSecret(remove)).await?;
            output::result(
                &json!({ "name": name.to_string(), "removed": true }),
                format_args!("{name}: the value is gone"),
            )
        }
    }
}

/// Reads a value from a file, or from standard input.
pub(crate) fn read_value(file: &std::path::Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let limit = MAXIMUM_VALUE_LENGTH as u64;
    let value = if file.as_os_str() == "-" {
        key_file::read_limited(io::stdin().lock(), limit).context("standard input")?
    } else {
        key_file::read_bytes(file, limit)?
    };
    if value.is_empty() {
        bail_input!("{} is empty; give a file with the value", file.display());
    }
    Ok(value)
}

fn list(secrets: &[SecretSummary]) -> anyhow::Result<()> {
    let kind =
        |wire| SecretKind::from_wire(wire).map_or_else(|| "unknown".to_owned(), |kind| kind.to_string());
    if output::is_json() {
        let rows: Vec<_> = secrets
            .iter()
            .map(|secret| {
                json!({
                    "name": secret.name,
                    "kind": kind(secret.kind),
                    "version": secret.version,
                    "removed": secret.removed,
                    "workloads": secret.workloads,
                    "lease_seconds": secret.lease_seconds,
                    "grace_seconds": secret.grace_seconds,
                })
            })
            .collect();
        return output::line(json!(rows));
    }
    let width = secrets.iter().map(|secret| secret.name.len()).max().unwrap_or(0).max(4);
    let header = format_args!(
        "{:width$}  {:15}  {:7}  {:5}  {:5}  workloads",
        "name", "kind", "version", "lease", "grace"
    );
    output::line(header)?;
    for secret in secrets {
        let version = match (secret.version, secret.removed) {
            (_, true) => "removed".to_owned(),
            (0, false) => "unset".to_owned(),
            (version, false) => version.to_string(),
        };
        // The manifest in force says nothing of a secret that it does not name.
        let duration = |seconds| match secret.workloads.as_slice() {
            [] => "-".to_owned(),
            _ => WrittenDuration::from_seconds(seconds).to_string(),
        };
        output::line(format_args!(
            "{:width$}  {:15}  {version:7}  {:5}  {:5}  {}",
            secret.name,
            kind(secret.kind),
            duration(secret.lease_seconds),
            duration(secret.grace_seconds),
            secret.workloads.join(", ")
        ))?;
    }
    Ok(())
}

//! The files that the flags name.

use std::{fs::File, io::Read as _, path::Path};

use adytum_evidence::verifier::TrustRoot;
use adytum_governance::{
    authorisation::{self, SignedAuthorisation},
    genesis::{self, Genesis},
    occlum::{self, Accepted, OcclumConfiguration},
};
use anyhow::Context as _;
use zeroize::Zeroizing;

use crate::arguments::Arguments;

pub(crate) fn genesis(path: &Path) -> anyhow::Result<Genesis> {
    let text = read(path, genesis::MAXIMUM_LENGTH)?;
    Genesis::parse(&text).with_context(|| path.display().to_string())
}

pub(crate) fn upgrade_authorisation(path: &Path) -> anyhow::Result<SignedAuthorisation> {
    let text = read(path, authorisation::MAXIMUM_LENGTH)?;
    SignedAuthorisation::from_file(&text).with_context(|| path.display().to_string())
}

/// The Occlum configuration, if the flags ask for one.
pub(crate) fn occlum(arguments: &Arguments) -> anyhow::Result<Option<OcclumConfiguration>> {
    let (Some(path), Some(secrets)) = (&arguments.occlum_config, &arguments.occlum_secrets) else {
        return Ok(None);
    };
    let accepted = Accepted {
        signer_only: arguments.accept_signer_only.iter().cloned().collect(),
        debug: arguments.accept_debug.iter().cloned().collect(),
    };
    let loaded = OcclumConfiguration::parse(
        &read(path, occlum::MAXIMUM_LENGTH)?,
        &read(secrets, occlum::MAXIMUM_LENGTH)?,
        &accepted,
        occlum_roots(arguments)?,
    )
    .with_context(|| format!("{} and {}", path.display(), secrets.display()))?;
    tracing::warn!(
        workloads = loaded.workloads.len(),
        secrets = loaded.secrets.len(),
        digest = %loaded.digest(),
        "AN OCCLUM CONFIGURATION IS LOADED: the person who starts this broker decides, without owners' signatures, \
         who gets the secrets in it. The broker announces the digest, and peers that do not pin it refuse the \
         broker. Move the secrets to a signed manifest"
    );
    for workload in &accepted.signer_only {
        tracing::warn!(%workload, "accepted by name: any program of its signer gets the Occlum secrets");
    }
    for workload in &accepted.debug {
        tracing::warn!(%workload, "accepted by name: enclaves whose memory the host can read get the Occlum secrets");
    }
    Ok(Some(loaded))
}

#[cfg(feature = "simulation")]
fn occlum_roots(arguments: &Arguments) -> anyhow::Result<Vec<TrustRoot>> {
    let mut roots = vec![TrustRoot::intel()];
    if let Some(path) = &arguments.occlum_simulation_root {
        let context = || path.display().to_string();
        let text = read(path, genesis::MAXIMUM_LENGTH)?;
        let root = pem::parse(text.as_bytes()).with_context(context)?;
        roots.push(TrustRoot::simulation(root.contents()).with_context(context)?);
    }
    Ok(roots)
}

#[cfg(not(feature = "simulation"))]
fn occlum_roots(_arguments: &Arguments) -> anyhow::Result<Vec<TrustRoot>> {
    Ok(vec![TrustRoot::intel()])
}

/// Reads a text of at most `limit` bytes and a byte more, which the parser then
/// refuses by its own words.
fn read(path: &Path, limit: usize) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(limit.min(64 * 1024)));
    File::open(path)
        .and_then(|file| file.take(limit as u64 + 1).read_to_string(&mut text))
        .with_context(|| format!("{} can't be read", path.display()))?;
    Ok(text)
}

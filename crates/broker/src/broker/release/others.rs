//! Release over the protocols of others: one secret at a time, by the name that it has
//! there. The decision and the record are those of our own protocol.

use std::{net::SocketAddr, slice, sync::Arc};

use adytum_api::{names::SecretName, resource::ResourcePath};
use adytum_evidence::claims::Claims;
use adytum_governance::{
    audit::events::{AttestedWho, Protocol, Who},
    decide::{Listing, Rules, decide},
    manifest::{Lease, Manifest},
    secrets::SecretValue,
};

use super::{Certificates, DECISIONS, ReleaseError, granted, refused};
use crate::broker::{Broker, state::State};

/// The longest value that Occlum's own init takes, in bytes...
pub const OCCLUM_VALUE_LENGTH: usize = 10_240;
/// ... and the longest key of an image.
pub const OCCLUM_IMAGE_KEY_LENGTH: usize = 256;
/// What Occlum calls the key of an image.
const OCCLUM_IMAGE_KEY: &str = "image_key";
/// The longest name of a stranger's that is repeated, in characters.
const MAXIMUM_REPEATED: usize = 128;

/// What a secret is called in a protocol of others.
#[derive(Clone, Copy, Debug)]
pub enum NameOfOthers<'a> {
    /// A path of the KBS protocol.
    Kbs(&'a ResourcePath),
    /// A name of Occlum's protocol; case makes no difference.
    Occlum(&'a str),
}

/// One secret that was released.
#[derive(Clone, Debug)]
pub struct ReleasedSecret {
    /// What the manifest calls it.
    pub name: SecretName,
    pub value: SecretValue,
    pub version: u64,
    /// For how long it may be used.
    pub lease: Lease,
}

impl NameOfOthers<'_> {
    fn protocol(self) -> Protocol {
        match self {
            Self::Kbs(_) => Protocol::Kbs,
            Self::Occlum(_) => Protocol::OcclumRaTls,
        }
    }

    fn secret(self, manifest: &Manifest) -> Option<&SecretName> {
        match self {
            Self::Kbs(path) => manifest.other_names.of_kbs(path),
            Self::Occlum(name) => manifest.other_names.of_occlum(name),
        }
    }

    fn unknown(self) -> ReleaseError {
        let (asked, field) = match self {
            Self::Kbs(path) => (path.as_str(), "kbs_resource"),
            Self::Occlum(name) => (name, "occlum"),
        };
        ReleaseError::UnknownToOthers { asked: asked.chars().take(MAXIMUM_REPEATED).collect(), field }
    }

    /// Does its client take a value of this length?
    fn fits(self, name: &SecretName, found: usize) -> Result<(), ReleaseError> {
        let limit = match self {
            Self::Kbs(_) => return Ok(()),
            Self::Occlum(asked) if asked.eq_ignore_ascii_case(OCCLUM_IMAGE_KEY) => OCCLUM_IMAGE_KEY_LENGTH,
            Self::Occlum(_) => OCCLUM_VALUE_LENGTH,
        };
        // The client counts whole groups of three bytes.
        if found.div_ceil(3) * 3 <= limit {
            return Ok(());
        }
        Err(ReleaseError::TooLongForOthers { name: name.clone(), found, limit: limit / 3 * 3 })
    }
}

impl Broker {
    /// Releases the secret of this name to a peer of which verified evidence says this.
    pub async fn release_to_others(
        &self,
        address: SocketAddr,
        claims: &Claims,
        asked: NameOfOthers<'_>,
    ) -> Result<ReleasedSecret, ReleaseError> {
        // Not even recorded: its log is closed.
        if self.is_fenced() {
            return Err(ReleaseError::Fenced);
        }
        let who = Who { address, protocol: asked.protocol(), attested: Some(AttestedWho::new(claims)) };
        if self.awaiting_confirmation() {
            return self.refuse_with(who, ReleaseError::AwaitingConfirmation).await;
        }
        for _ in 0..DECISIONS {
            let state = self.state();
            let released = self.release_to_others_under(&state, &who, claims, asked).await?;
            // A decision from before a change is not given out after it.
            if Arc::ptr_eq(&state, &self.state()) {
                return Ok(released);
            }
        }
        Err(ReleaseError::Changing)
    }

    async fn release_to_others_under(
        &self,
        state: &State,
        who: &Who,
        claims: &Claims,
        asked: NameOfOthers<'_>,
    ) -> Result<ReleasedSecret, ReleaseError> {
        let rules =
            Rules { admitted: state.admitted.as_deref(), occlum: self.occlum(), time: self.grace_time() };
        let name = state.manifest().and_then(|manifest| asked.secret(manifest));
        let names = name.map(slice::from_ref).unwrap_or_default();
        let grant = match decide(rules, &state.secrets, claims, names, Listing::BRIEF) {
            Ok(grant) => grant,
            Err(refusal) => {
                self.record(&refused(who, &refusal, state.manifest_version())).await?;
                return Err(ReleaseError::Refused(Box::new(refusal)));
            }
        };
        // It is a workload, so it may learn which names there are.
        let Some(secret) = grant.secrets.first() else {
            return self.refuse_with(who.clone(), asked.unknown()).await;
        };
        if let Err(error) = asked.fits(&secret.name, secret.value.expose().len()) {
            return self.refuse_with(who.clone(), error).await;
        }
        let now = self.now();
        let certificates = Certificates::issue(None, &grant, &[], now)?;
        self.record(&granted(who, &grant, &certificates, state.manifest_version())).await?;
        self.clock.used(now);
        self.seen.granted(claims, &grant.matched);
        Ok(ReleasedSecret {
            name: secret.name.clone(),
            value: secret.value.clone(),
            version: secret.version,
            lease: grant.lease,
        })
    }

    async fn refuse_with(&self, who: Who, error: ReleaseError) -> Result<ReleasedSecret, ReleaseError> {
        self.refuse_to(who, error.code(), error.to_string()).await?;
        Err(error)
    }
}

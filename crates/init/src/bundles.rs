//! Bundles: sealed directory trees that are unpacked inside the TEE before the
//! program starts.
//!
//! [`Bundles::prepare`] looks at their places before the broker is asked;
//! [`Bundles::unpack`] opens them with secrets that it released, if the rules it
//! released accept their statements.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use adytum_api::names::{ModelName, SecretName};
use adytum_sealed::{
    bundle::{BundleError, SealedBundle},
    keys::{ModelIdentity, ModelKeyError},
};

use crate::{
    configuration::{BundleRule, MeasuredConfiguration},
    delivery::{BundlePlace, DeliveryError},
    platform::Platform,
    secret::{Released, SecretKind},
};

/// Why a bundle is not unpacked.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The broker released no rule for the bundle, so no bundle of this name may be
    /// unpacked.
    ///
    /// Do: add a `[[model]]` of this name with its `signers` to the manifest, and name it
    /// in `models` of the workload.
    #[error(
        "bundle {name}: the broker's manifest has no [[model]] of this name for this workload; add one with \
         its signers, and name it in the workload's `models`"
    )]
    NoRule { name: ModelName },
    /// The secret that should open the bundle is no age identity.
    ///
    /// Do: make a key with `adytum model-key new`, put it to the broker with `adytum
    /// secret put`, and seal the bundle to its recipient.
    #[error(
        "bundle {name}: the secret {secret} is no age identity: {reason}; make one with `adytum model-key new`"
    )]
    Key {
        name: ModelName,
        secret: SecretName,
        /// The fault; nothing of the secret.
        reason: String,
    },
    /// The bundle was not unpacked.
    #[error("bundle {name}: {source}")]
    Bundle { name: ModelName, source: BundleError },
    /// The work of unpacking ended without a result.
    ///
    /// Do: read the log lines above; start the replica again.
    #[error("unpacking ended without a result: {reason}; look into the log above")]
    Aborted {
        /// What the runtime said.
        reason: String,
    },
    /// The directory for the bundle is not acceptable.
    #[error("bundle {name}: {source}")]
    Place { name: ModelName, source: DeliveryError },
}

impl UnpackError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoRule { .. } => "bundle-rule-missing",
            Self::Key { .. } => "bundle-key",
            Self::Aborted { .. } => "bundle-unpack-aborted",
            Self::Bundle { source, .. } => source.code(),
            Self::Place { source, .. } => source.code(),
        }
    }
}

/// The places of all bundles of a configuration, looked at and found fit. The unpacked
/// files are removed when this is dropped.
#[derive(Debug)]
pub struct Bundles {
    places: BTreeMap<ModelName, BundlePlace>,
}

impl Bundles {
    /// Looks at every place.
    pub fn prepare(configuration: &MeasuredConfiguration, platform: Platform) -> Result<Self, UnpackError> {
        let mut places = BTreeMap::new();
        for (name, rule) in configuration.bundles() {
            let place = BundlePlace::prepare(&rule.path, rule.owner, platform, configuration.storage())
                .map_err(|source| UnpackError::Place { name: name.clone(), source })?;
            places.insert(name.clone(), place);
        }
        Ok(Self { places })
    }

    /// Unpacks every bundle, or none is left. It works on a thread of its own, so
    /// that signals and probes are answered meanwhile.
    ///
    /// Dropping the future ends the work soon, and removes what was unpacked;
    /// dropping the runtime waits for that.
    pub async fn unpack(
        mut self,
        configuration: &MeasuredConfiguration,
        released: Released,
    ) -> Result<(Self, Released), UnpackError> {
        if self.places.is_empty() {
            return Ok((self, released));
        }
        let stop = StopOnDrop::default();
        let (stopped, rules) = (Arc::clone(&stop.0), configuration.bundles().clone());
        let work = tokio::task::spawn_blocking(move || {
            for (name, rule) in &rules {
                if let Some(place) = self.places.get_mut(name) {
                    unpack(name, rule, place, &released, &stopped)?;
                }
            }
            Ok((self, released))
        });
        work.await.unwrap_or_else(|error| Err(UnpackError::Aborted { reason: error.to_string() }))
    }
}

/// Tells the thread that nobody waits for it any more.
#[derive(Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Lets a place's error and a bundle's be one.
enum Failure {
    Place(DeliveryError),
    Bundle(BundleError),
}

impl From<DeliveryError> for Failure {
    fn from(error: DeliveryError) -> Self {
        Self::Place(error)
    }
}

fn unpack(
    name: &ModelName,
    rule: &BundleRule,
    place: &mut BundlePlace,
    released: &Released,
    stopped: &AtomicBool,
) -> Result<(), UnpackError> {
    let mut progress = |_| match stopped.load(Ordering::Relaxed) {
        true => Err(io::Error::other("nobody waits for the bundle any more")),
        false => Ok(()),
    };
    let bundle = |source| UnpackError::Bundle { name: name.clone(), source };
    let Some(accepted) = released.models.iter().find(|model| model.name == *name) else {
        return Err(UnpackError::NoRule { name: name.clone() });
    };
    let identity = identity(released, &rule.secret).map_err(|reason| {
        let (name, secret) = (name.clone(), rule.secret.clone());
        UnpackError::Key { name, secret, reason }
    })?;
    let sealed = SealedBundle::open(rule.file.as_path()).map_err(bundle)?;
    let genuine = sealed.judge(accepted).map_err(bundle)?;
    let made = place.fill(|tree| {
        genuine.unseal(&[identity], rule.maximum_size, tree, &mut progress).map_err(Failure::Bundle)
    });
    let summary = made.map_err(|failure| match failure {
        Failure::Place(source) => UnpackError::Place { name: name.clone(), source },
        Failure::Bundle(source) => bundle(source),
    })?;
    tracing::info!(
        bundle = %name,
        version = genuine.genuine_statement().statement().version,
        sha256 = %genuine.genuine_statement().statement().sha256,
        entries = summary.entries,
        bytes = summary.bytes,
        "bundle unpacked to {}",
        place.path()
    );
    Ok(())
}

fn identity(released: &Released, name: &SecretName) -> Result<ModelIdentity, String> {
    let secret = released.secrets.get(name).ok_or("it was not released")?;
    if secret.kind() != SecretKind::AgeIdentity {
        return Err(format!("its kind is {:?}", secret.kind()));
    }
    let text = std::str::from_utf8(secret.as_bytes()).map_err(|_| "it is no text")?;
    text.parse().map_err(|error: ModelKeyError| error.to_string())
}

//! The TEE at hand, and what is needed to verify that of the key source.

use std::{
    collections::BTreeSet,
    fmt,
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use adytum_evidence::{
    attester::{self, Attester, AttesterError, TeeInterface, TeePlatform},
    clock::Clock,
    collateral::{self, CollateralError, CollateralSource},
    evidence::Evidence,
    identity::LengthPrefixed,
    measurement::{ReportData, Sha256Digest, WorkloadIdentity},
    trust::Vendor,
    verifier::{TrustRoot, VerificationError, Verifier},
};
use adytum_governance::announcement::WorkloadAnnouncement;
use adytum_ratls::session::LocalAttestation;
use nix::fcntl::OFlag;
use sha2::Sha512;

use crate::{
    arguments::{AttestationArguments, TeeChoice},
    configuration::{ConfigurationError, MeasuredConfiguration, PinnedSource},
    exit_code,
    platform::Platform,
};

/// The file that evidence should be written to exists, and is not overwritten.
///
/// Do: remove the file, or give `--write-evidence` of `adytum-init` another name.
///
/// Retry: no
const EVIDENCE_FILE_EXISTS: &str = "evidence-file-exists";
/// The system refused to write the file of evidence. The replica serves all the same.
///
/// Do: give `--write-evidence` of `adytum-init` a file in a directory that can be written to.
///
/// Retry: no
const EVIDENCE_NOT_WRITTEN: &str = "evidence-not-written";

/// Which program the secrets are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// This one: init is a library in it.
    This,
    /// One that init starts, of this digest.
    Child(Sha256Digest),
}

/// Why there is no TEE, or nothing to verify the broker's with.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TeeError {
    /// A flag is missing, or does not fit another one.
    ///
    /// Do: change the flag that the message names; `adytum-init --help` describes them.
    #[error("{0}")]
    Flag(String),
    /// The interface of the TEE failed.
    #[error(transparent)]
    Attester(#[from] AttesterError),
    /// The source of collateral can't be used.
    #[error(transparent)]
    Collateral(#[from] CollateralError),
    /// A trust root is not acceptable.
    #[error(transparent)]
    TrustRoot(#[from] VerificationError),
    /// The own file of this program can't be read.
    ///
    /// See: ServeError::System.
    #[error("measuring this program: {0}")]
    Measuring(#[source] io::Error),
}

impl TeeError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Flag(_) => "flag-invalid",
            Self::Attester(error) => error.code(),
            Self::Collateral(error) => error.code(),
            Self::TrustRoot(error) => error.code(),
            Self::Measuring(_) => "system-failed",
        }
    }

    /// What a process that fails with this ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Flag(_) | Self::TrustRoot(_) => exit_code::CONFIGURATION,
            Self::Collateral(_) => exit_code::UNREACHABLE,
            Self::Attester(_) | Self::Measuring(_) => exit_code::SYSTEM,
        }
    }
}

/// The TEE at hand.
#[derive(Clone)]
pub struct Tee {
    pub attester: Arc<dyn Attester>,
    /// What kind of place it is.
    pub platform: Platform,
    /// What this workload is, as it states it itself. On SGX hardware nothing else does.
    pub identity: WorkloadIdentity,
}

impl fmt::Debug for Tee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (platform, identity) = (self.attester.platform(), self.identity);
        write!(f, "Tee({platform}, {identity})")
    }
}

impl Tee {
    /// Finds the TEE that the flags ask for.
    pub async fn find(
        arguments: &AttestationArguments,
        configuration: &MeasuredConfiguration,
        program: Program,
    ) -> Result<Self, TeeError> {
        let identity = identity(configuration, program)?;
        let (attester, platform) = match &arguments.tee {
            TeeChoice::Simulation(platform) => {
                (simulation(platform, arguments, identity).await?, Platform::Simulation)
            }
            _ if !arguments.quote_latency.is_zero() => {
                return Err(TeeError::Flag(
                    "--quote-latency is for --tee simulation=DIRECTORY: hardware takes its own time"
                        .to_owned(),
                ));
            }
            TeeChoice::Hardware(interface) => {
                let (attester, platform) = hardware(*interface)?;
                let (intel, amd) = (arguments.collateral.as_deref(), arguments.amd_kds.as_deref());
                (attester::endorsed(attester, intel, amd)?, platform)
            }
        };
        let tee = Self { attester, platform, identity };
        if let Some(path) = &arguments.write_evidence {
            write_evidence(&tee, path).await?;
        }
        Ok(tee)
    }

    /// What this workload shows in sessions: the TEE's evidence, and what it is itself.
    pub fn local_attestation(&self) -> LocalAttestation {
        self.local_attestation_by(Arc::clone(&self.attester))
    }

    /// The same, where `attester` produces the evidence about this TEE.
    pub fn local_attestation_by(&self, attester: Arc<dyn Attester>) -> LocalAttestation {
        let announcement = WorkloadAnnouncement { identity: self.identity }.encode();
        LocalAttestation { attester, announcement: Arc::new(move || announcement.clone()) }
    }
}

fn identity(configuration: &MeasuredConfiguration, program: Program) -> Result<WorkloadIdentity, TeeError> {
    let init = Sha256Digest::of_this_program().map_err(TeeError::Measuring)?;
    let program = match program {
        Program::This => init,
        Program::Child(digest) => digest,
    };
    Ok(configuration.identity(init, program))
}

/// Where the measured configuration is: where the flag says, unless the platform measures
/// one place only.
pub fn configuration_path(arguments: &AttestationArguments) -> Result<PathBuf, ConfigurationError> {
    let given = arguments.configuration.as_deref();
    match platform(arguments) {
        Ok(platform) => MeasuredConfiguration::path_on(platform, given),
        // Without a TEE there is no evidence, and so no secret.
        Err(_) => Ok(MeasuredConfiguration::path(given)),
    }
}

/// Evidence for a file, for people and tools to look at. A fixed text is bound into
/// it, so it belongs to no session.
pub async fn evidence_for_file(attester: &dyn Attester) -> Result<Evidence, AttesterError> {
    let mut bound = LengthPrefixed::<Sha512>::new();
    bound.field(b"adytum evidence for a file v1");
    attester.evidence(ReportData(bound.finish().into())).await
}

/// Writes evidence where the host wants it. It is the host's own wish, and no
/// reason not to serve.
async fn write_evidence(tee: &Tee, path: &Path) -> Result<(), AttesterError> {
    let evidence = evidence_for_file(&*tee.attester).await?;
    match write_new(path, &evidence.to_file()) {
        Ok(()) => tracing::info!("evidence written to {}", path.display()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => tracing::warn!(
            code = EVIDENCE_FILE_EXISTS,
            "no evidence written to {}: it exists and is not overwritten; remove it or choose another name",
            path.display()
        ),
        Err(error) => {
            tracing::warn!(
                code = EVIDENCE_NOT_WRITTEN,
                "no evidence written to {}: {error}; give --write-evidence of adytum-init a file in a directory that can be written to",
                path.display()
            );
        }
    }
    Ok(())
}

/// Writes a file that was not there. The host names the path, and nothing
/// measures it, so nothing that exists is changed by it.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let flags = OFlag::O_NOFOLLOW.bits();
    OpenOptions::new().write(true).create_new(true).custom_flags(flags).open(path)?.write_all(bytes)
}

/// What kind of place the flags ask for, found without talking to anybody.
pub fn platform(arguments: &AttestationArguments) -> Result<Platform, TeeError> {
    match &arguments.tee {
        TeeChoice::Simulation(_) => Ok(Platform::Simulation),
        TeeChoice::Hardware(interface) => hardware(*interface).map(|(_, platform)| platform),
    }
}

/// The TEE of this machine or LibOS. It measured this program before it ran.
fn hardware(interface: TeeInterface) -> Result<(Arc<dyn Attester>, Platform), TeeError> {
    let attester = interface.open()?;
    let platform = match attester.platform() {
        TeePlatform::Occlum => Platform::Occlum,
        TeePlatform::Gramine => Platform::Gramine,
        TeePlatform::Tdx | TeePlatform::Snp => Platform::ConfidentialVm,
        // Nothing falls back to simulation.
        TeePlatform::Simulation => {
            return Err(AttesterError::Answer {
                interface: "the TEE's interface".to_owned(),
                expected: "occlum, gramine, tdx or snp".to_owned(),
                found: "simulation".to_owned(),
            }
            .into());
        }
    };
    Ok((attester, platform))
}

#[cfg(feature = "simulation")]
async fn simulation(
    platform: &str,
    arguments: &AttestationArguments,
    identity: WorkloadIdentity,
) -> Result<Arc<dyn Attester>, TeeError> {
    let open = || adytum_sim::open_attester(platform, identity, arguments.quote_latency);
    Ok(adytum_sim::when_there(arguments.fetch_timeout, open).await.map_err(AttesterError::from)?)
}

#[cfg(not(feature = "simulation"))]
async fn simulation(
    _: &str,
    _: &AttestationArguments,
    _: WorkloadIdentity,
) -> Result<Arc<dyn Attester>, TeeError> {
    Err(TeeError::Flag("this build has no simulation: it is a production build".to_owned()))
}

/// The address of the key source: the flag or its environment variables; else what
/// Occlum's file says.
pub fn source_address(
    arguments: &AttestationArguments,
    configuration: &MeasuredConfiguration,
) -> Result<String, TeeError> {
    let from_occlum = || std::env::var(crate::configuration::OCCLUM_BROKER_VARIABLE).ok();
    arguments
        .broker
        .clone()
        .or_else(from_occlum)
        .or_else(|| configuration.source_address().map(str::to_owned))
        .filter(|address| !address.is_empty())
        .ok_or_else(|| {
            TeeError::Flag(
                "no key source: give the address of the broker or of AECS with --broker HOST:PORT, ADYTUM_BROKER or \
                 OCCLUM_INIT_RA_KMS_SERVER"
                    .to_owned(),
            )
        })
}

/// A verifier that trusts the roots of the vendors whom the configuration's
/// policies for the key source name, and no other.
pub fn verifier(
    arguments: &AttestationArguments,
    configuration: &MeasuredConfiguration,
    clock: Arc<dyn Clock>,
) -> Result<Arc<Verifier>, TeeError> {
    let source = configuration.source();
    let vendors: BTreeSet<Vendor> =
        source.policies().iter().flat_map(|policy| policy.vendors.iter().copied()).collect();
    let mut roots = Vec::new();
    for vendor in vendors {
        match vendor {
            Vendor::Simulation => roots.push(simulation_root(source.simulation_root())?),
            known => roots.extend(TrustRoot::of_vendor(known)),
        }
    }
    Ok(Arc::new(Verifier::new(roots, collateral_for(arguments, configuration, clock.clone())?, clock)))
}

#[cfg(feature = "simulation")]
fn simulation_root(certificate: Option<&[u8]>) -> Result<TrustRoot, TeeError> {
    Ok(TrustRoot::simulation(certificate.unwrap_or_default())?)
}

#[cfg(not(feature = "simulation"))]
fn simulation_root(_: Option<&[u8]>) -> Result<TrustRoot, TeeError> {
    Err(TeeError::Flag(
        "the measured configuration trusts a simulated platform, and this is a production build without \
         simulation"
            .to_owned(),
    ))
}

/// The variable in which AECS's clients take the URL of a PCCS.
const AECS_COLLATERAL: &str = "UA_ENV_PCCS_URL";

/// The source of collateral that the flags name; else the variable of AECS's clients, or
/// Occlum's file.
pub fn collateral_for(
    arguments: &AttestationArguments,
    configuration: &MeasuredConfiguration,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn CollateralSource>, TeeError> {
    let mut arguments = arguments.clone();
    if arguments.collateral.as_deref().is_none_or(str::is_empty)
        && matches!(configuration.source(), PinnedSource::Aecs(_))
    {
        let variable = std::env::var(AECS_COLLATERAL).ok().filter(|place| !place.is_empty());
        arguments.collateral = variable.or_else(|| configuration.collateral_place().map(str::to_owned));
    }
    collateral_source(&arguments, clock)
}

/// The source of collateral that the flags name.
pub fn collateral_source(
    arguments: &AttestationArguments,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn CollateralSource>, TeeError> {
    let missing = || {
        TeeError::Flag(
            "no collateral to verify the key source with: give --collateral or PCCS_URL, the URL of a PCCS or a \
             directory; or --amd-kds or AMD_KDS_URL, if it runs on SEV-SNP"
                .to_owned(),
        )
    };
    let default = match &arguments.tee {
        #[cfg(feature = "simulation")]
        TeeChoice::Simulation(url) if url.contains("://") => Some(url.clone()),
        #[cfg(feature = "simulation")]
        TeeChoice::Simulation(directory) => Some(format!("{directory}/{}", adytum_sim::COLLATERAL_DIRECTORY)),
        _ => None,
    };
    let given = arguments.collateral.clone().filter(|place| !place.is_empty()).or(default);
    collateral::from_places(given.as_deref(), arguments.amd_kds.as_deref(), None, &clock)?.ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn nothing_that_exists_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("file"), directory.path().join("link"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(write_new(&link, b"evidence").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(!path.exists(), "not through a link either");
        write_new(&path, b"evidence").unwrap();
        assert_eq!(write_new(&path, b"other").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"evidence");
    }
}

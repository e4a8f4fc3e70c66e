//! What protects a service on this machine: nothing, on a simulated platform, or the confidential guest
//! that this machine is.
//!
//! In a guest the broker and the replicas have the same evidence, which is that of the guest. So the
//! policies name the guest as a whole, and every program in it could claim its rights.

use std::{ffi::OsString, path::Path, sync::Arc};

use adytum_evidence::{
    attester::{self, Attester, TSM_DIRECTORY, TeeInterface, TeePlatform},
    claims::Claims,
    measurement::WorkloadIdentity,
    policy::Policy,
};
use adytum_init::tee::evidence_for_file;
use anyhow::Context as _;
use clap::ValueEnum;

#[cfg(feature = "simulation")]
use adytum_evidence::attester::AttesterError;

#[cfg(feature = "simulation")]
use crate::deployment::build::simulated;
use crate::{
    collateral::Places,
    deployment::values::Tee,
    manifest::source::policy_of,
    owner_directory::{OwnerDirectory, remove},
    trusted::TrustedRoots,
};

/// What `--tee` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Choice {
    /// The TEE that this machine is; a simulation if it is none
    #[default]
    Auto,
    /// The TDX or SEV-SNP guest that this machine is
    Tsm,
    /// A simulated TEE, which protects nothing
    #[cfg(feature = "simulation")]
    Simulation,
}

/// What protects the service.
#[derive(Debug)]
pub(super) enum Ground {
    /// Nothing: a platform in software.
    #[cfg(feature = "simulation")]
    Simulation {
        /// Its root certificate, in PEM.
        root: String,
    },
    /// The guest that this machine is.
    Guest(Box<Guest>),
}

/// A confidential guest.
#[derive(Debug)]
pub(super) struct Guest {
    platform: TeePlatform,
    /// The policy that this guest meets.
    policy: Policy,
    /// What there is to know about that policy.
    notes: Vec<String>,
    places: Places,
}

impl Ground {
    /// Finds what was asked for. In a guest it collects evidence and verifies it, so that a service
    /// whose clients could not verify it does not start.
    pub(super) async fn find(
        choice: Choice,
        places: &Places,
        directory: &OwnerDirectory,
    ) -> anyhow::Result<Self> {
        let found = match choice {
            #[cfg(feature = "simulation")]
            Choice::Simulation => None,
            Choice::Tsm if !Path::new(TSM_DIRECTORY).is_dir() => bail_input!(
                "this machine is no TDX or SEV-SNP guest whose kernel gives reports: {TSM_DIRECTORY} is missing; see \
                 `adytum doctor`"
            ),
            Choice::Tsm => Some(TeeInterface::Tsm.open()?),
            Choice::Auto => match TeeInterface::Auto.open() {
                Ok(attester) => Some(attester),
                #[cfg(feature = "simulation")]
                Err(AttesterError::NoTee { .. }) => None,
                Err(error) => {
                    return Err(error).context(
                        "this machine's TEE can't be used; --tee simulation serves without protection",
                    );
                }
            },
        };
        match found {
            Some(attester) => Ok(Self::Guest(Box::new(Guest::find(attester, places, directory).await?))),
            #[cfg(feature = "simulation")]
            None => {
                let platform = adytum_sim::Platform::create_or_open(directory.platform())?;
                directory.write_platform_secret()?;
                Ok(Self::Simulation { root: platform.root_certificate_pem().to_owned() })
            }
            #[cfg(not(feature = "simulation"))]
            None => bail_input!("this is a production build, without simulation; use a build with it"),
        }
    }

    /// What a person must know before the service starts.
    pub(super) fn warning(&self) -> String {
        match self {
            #[cfg(feature = "simulation")]
            Self::Simulation { .. } => {
                "SIMULATION: no TEE protects this service. The administrators of this machine can read the model, the \
                 keys and what clients send. Programs, checks and encryption are the real ones."
                    .to_owned()
            }
            Self::Guest(guest) => {
                let Guest { platform, notes, .. } = &**guest;
                let mut text = format!(
                    "This machine is a {} guest, and the service is protected by it from its host. The owners' keys lie \
                     in this guest too: each person and each program that reads its files can do what an owner can. Its \
                     measurement covers the guest, not each program in it. For production keep the keys elsewhere: see \
                     `adytum deployment new`.",
                    match platform {
                        TeePlatform::Tdx => "TDX",
                        _ => "SEV-SNP",
                    }
                );
                for note in notes {
                    text.push_str("\n- ");
                    text.push_str(note);
                }
                text
            }
        }
    }

    /// The policy that a program of this identity meets here.
    pub(super) fn policy(&self, identity: WorkloadIdentity) -> Policy {
        match self {
            #[cfg(feature = "simulation")]
            Self::Simulation { .. } => simulated(identity),
            Self::Guest(guest) => {
                let _ = identity;
                guest.policy.clone()
            }
        }
    }

    /// The root certificate of the simulated platform, in PEM, if it is one.
    pub(super) fn simulation_root(&self) -> Option<&str> {
        match self {
            #[cfg(feature = "simulation")]
            Self::Simulation { root } => Some(root),
            Self::Guest(_) => None,
        }
    }

    /// The flags by which a server of this service finds its TEE and collateral.
    pub(super) fn server_flags(&self, directory: &OwnerDirectory) -> Vec<OsString> {
        match self {
            #[cfg(feature = "simulation")]
            Self::Simulation { .. } => {
                let mut flag = OsString::from("--tee=simulation=");
                flag.push(directory.platform());
                vec![flag]
            }
            Self::Guest(guest) => {
                let _ = directory;
                let places = guest.places.flags().map(|(name, place)| format!("--{name}={place}").into());
                ["--tee=tsm".into()].into_iter().chain(places).collect()
            }
        }
    }

    /// The roots by which the owner's tool verifies the broker.
    pub(super) fn trusted(&self, directory: &OwnerDirectory) -> TrustedRoots {
        match self {
            #[cfg(feature = "simulation")]
            Self::Simulation { .. } => {
                TrustedRoots::simulated(&directory.platform().join(adytum_sim::ROOT_CERTIFICATE_FILE))
            }
            Self::Guest(guest) => {
                let _ = directory;
                TrustedRoots::of_vendors(guest.places.clone())
            }
        }
    }

    /// The flags by which a data owner trusts the same roots; `public` is the directory with the
    /// files for clients, as a person would name it.
    pub(super) fn client_flags(&self, public: &str) -> Vec<(&'static str, String)> {
        match self {
            #[cfg(feature = "simulation")]
            Self::Simulation { .. } => {
                vec![("trust-simulation", format!("{public}/simulation-root.pem"))]
            }
            // A replica carries the collateral itself.
            Self::Guest(_) => {
                let _ = public;
                Vec::new()
            }
        }
    }

    /// As the Helm chart calls it.
    pub(super) fn tee(&self) -> Tee {
        match self {
            #[cfg(feature = "simulation")]
            Self::Simulation { .. } => Tee::Simulation,
            Self::Guest(guest) => Tee::of(&guest.policy).unwrap_or(Tee::Hardware),
        }
    }
}

impl Guest {
    async fn find(
        attester: Arc<dyn Attester>,
        places: &Places,
        directory: &OwnerDirectory,
    ) -> anyhow::Result<Self> {
        let platform = attester.platform();
        if !matches!(platform, TeePlatform::Tdx | TeePlatform::Snp) {
            bail_input!(
                "this program runs in an SGX enclave ({platform}), which can't start a broker and replicas: run \
                 `adytum up` outside of it (--tee simulation), or make the images with deploy/build.sh"
            );
        }
        let verifier = TrustedRoots::of_vendors(places.clone()).verifier()?;
        let attester = attester::endorsed(attester, places.pccs(), places.amd_kds())?;
        let evidence = evidence_for_file(&*attester).await?;
        let claims =
            verifier.verify(&evidence).await.context("this guest's evidence, as clients would verify it")?;
        // Of an earlier run, in which the platform was simulated.
        remove(&directory.public("simulation-root.pem"))?;
        Self::of(platform, &claims, places.clone())
    }

    /// The guest that has shown these claims.
    fn of(platform: TeePlatform, claims: &Claims, places: Places) -> anyhow::Result<Self> {
        let (policy, notes) = policy_of(claims)?;
        Ok(Self { platform, policy, notes, places })
    }
}

#[cfg(feature = "simulation")]
#[cfg(test)]
mod tests {
    use adytum_evidence::{
        clock::SystemClock,
        measurement::{HostData, ReportData, SnpMeasurement},
        snp::{Endorser, SnpProduct},
        verifier::Verifier,
    };
    use adytum_sim::snp::{SnpGuest, SnpPlatform};

    use super::*;

    async fn claims(chip: &Arc<SnpPlatform>, guest: &SnpGuest) -> Claims {
        let collateral = Arc::clone(chip);
        let verifier = Verifier::new(vec![chip.trust_root().unwrap()], collateral, Arc::new(SystemClock));
        verifier.verify(&chip.evidence(guest, ReportData([7; 64])).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn the_policies_of_a_guest_accept_it_and_no_other() {
        let chip = SnpPlatform::ephemeral(SnpProduct::Milan, Endorser::Vcek).unwrap();
        for host_data in [[0; 32], [9; 32]] {
            let own = SnpGuest::new(SnpMeasurement([1; 48]), HostData(host_data));
            let found = claims(&chip, &own).await;
            let guest = Guest::of(TeePlatform::Snp, &found, Places::default()).unwrap();
            let ground = Ground::Guest(Box::new(guest));
            // Broker and replica are other programs, and have the same evidence.
            let policy = ground.policy(WorkloadIdentity([3; 32]));
            assert_eq!(policy, ground.policy(WorkloadIdentity([4; 32])));
            policy.judge(&found).unwrap();
            let other = SnpGuest::new(SnpMeasurement([2; 48]), HostData(host_data));
            assert_eq!(policy.count_failures(&claims(&chip, &other).await), 1);
            assert!(ground.warning().contains("SEV-SNP guest") && ground.warning().contains("owners' keys"));
        }
    }

    #[tokio::test]
    async fn a_guest_that_can_be_debugged_is_no_ground() {
        let chip = SnpPlatform::ephemeral(SnpProduct::Milan, Endorser::Vcek).unwrap();
        let open = SnpGuest { policy: 11 << 16, ..SnpGuest::new(SnpMeasurement([1; 48]), HostData([0; 32])) };
        let error = Guest::of(TeePlatform::Snp, &claims(&chip, &open).await, Places::default()).unwrap_err();
        assert!(error.to_string().contains("debug"), "{error}");
    }

    #[tokio::test]
    async fn without_a_guest_it_is_a_simulation_only_if_nothing_else_was_asked_for() {
        let place = tempfile::tempdir().unwrap();
        let directory = OwnerDirectory::create(&place.path().join("d")).unwrap();
        let asked = Ground::find(Choice::Simulation, &Places::default(), &directory).await.unwrap();
        assert!(asked.warning().starts_with("SIMULATION") && asked.simulation_root().is_some());
        assert_eq!(asked.client_flags("p").len(), 1);
        if !Path::new(TSM_DIRECTORY).is_dir() {
            let error = Ground::find(Choice::Tsm, &Places::default(), &directory).await.unwrap_err();
            assert!(error.to_string().contains("no TDX or SEV-SNP guest"), "{error}");
        }
    }
}

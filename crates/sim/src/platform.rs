//! The simulated platform as a whole.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use adytum_evidence::{
    attester::SealingKey,
    clock::{Clock, SystemClock, UnixSeconds},
    collateral::{PckCa, QuoteCollateralV3},
    measurement::{Fmspc, ReportData},
    verifier::TrustRoot,
};
use aws_lc_rs::hkdf;
use zeroize::Zeroizing;

use crate::{
    certificates::{Chain, Validity},
    directory::{COLLATERAL_DIRECTORY, Contents, Directory, ROOT_CERTIFICATE_FILE},
    endorsements::{self, RENEWAL_MARGIN},
    error::SimError,
    faults::{Faults, PublishedTcbStatus},
    hardware::{CaKind, DEFAULT_FMSPC, Hardware},
    keys::SigningKey,
    quoting::{Program, QuotingEnclave},
};

/// A software SGX platform. It protects nothing.
pub struct Platform {
    hardware: Hardware,
    chain: Chain,
    quoting_enclave: QuotingEnclave,
    sealing_secret: Zeroizing<[u8; 32]>,
    directory: Option<Directory>,
    clock: Arc<dyn Clock>,
    issued: RwLock<Issued>,
}

struct Issued {
    faults: Faults,
    collateral: Arc<QuoteCollateralV3>,
    validity: Validity,
}

/// How a platform shall be. Nothing is wrong with it unless asked for.
#[derive(Clone)]
pub struct PlatformBuilder {
    fmspc: Fmspc,
    ca: CaKind,
    faults: Faults,
    clock: Arc<dyn Clock>,
}

impl PlatformBuilder {
    /// The platform family; the default is 53494d000000 ("SIM").
    #[must_use]
    pub fn fmspc(self, fmspc: Fmspc) -> Self {
        Self { fmspc, ..self }
    }

    /// The CA that issues the PCK certificate; the default is
    /// [`PckCa::Processor`].
    #[must_use]
    pub fn pck_ca(self, ca: PckCa) -> Self {
        Self { ca: ca.into(), ..self }
    }

    /// All faults at once.
    #[must_use]
    pub fn faults(self, faults: Faults) -> Self {
        Self { faults, ..self }
    }

    /// The PCK certificate is revoked.
    #[must_use]
    pub fn pck_revoked(mut self) -> Self {
        self.faults.pck_revoked = true;
        self
    }

    /// The PCK CA is revoked.
    #[must_use]
    pub fn pck_ca_revoked(mut self) -> Self {
        self.faults.pck_ca_revoked = true;
        self
    }

    /// What the TCB information says of the platform.
    #[must_use]
    pub fn tcb_status(mut self, status: PublishedTcbStatus) -> Self {
        self.faults.tcb_status = status;
        self
    }

    /// What the QE identity says of the quoting enclave.
    #[must_use]
    pub fn qe_status(mut self, status: PublishedTcbStatus) -> Self {
        self.faults.qe_status = status;
        self
    }

    /// All collateral is expired.
    #[must_use]
    pub fn collateral_expired(mut self) -> Self {
        self.faults.collateral_expired = true;
        self
    }

    /// The clock that dates collateral; the default is the host's.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// A platform in memory only.
    pub fn ephemeral(self) -> Result<Arc<Platform>, SimError> {
        let (contents, attestation_key) = self.contents()?;
        Platform::assemble(contents, attestation_key, None, self.clock, None)
    }

    /// Makes a platform in a directory that does not exist or is empty.
    pub fn create(self, directory: impl Into<PathBuf>) -> Result<Arc<Platform>, SimError> {
        let directory = Directory(directory.into());
        if directory.holds_platform() {
            return Err(SimError::Exists { path: directory.0 });
        }
        let lock = directory.lock_for_creation()?;
        // Somebody else may have been faster.
        if directory.holds_platform() {
            return Err(SimError::Exists { path: directory.0 });
        }
        let (contents, attestation_key) = self.contents()?;
        let (collateral, _) =
            endorsements::issue(&contents.chain, &contents.hardware, contents.faults, self.clock.now())?;
        directory.write(&lock, &contents, &collateral)?;
        Platform::assemble(contents, attestation_key, Some(directory), self.clock, Some(collateral))
    }

    /// Opens the platform in a directory. Family, CA and faults are those it was
    /// made with; of the builder only the clock counts.
    pub fn open(self, directory: impl Into<PathBuf>) -> Result<Arc<Platform>, SimError> {
        let directory = Directory(directory.into());
        let contents = directory.read()?;
        let attestation_key = directory.attestation_key(&contents)?;
        let collateral = directory.read_collateral(&contents.hardware)?;
        Platform::assemble(contents, attestation_key, Some(directory), self.clock, collateral)
    }

    /// [`Self::open`] where there is a platform, [`Self::create`] where not.
    pub fn create_or_open(self, directory: impl Into<PathBuf>) -> Result<Arc<Platform>, SimError> {
        let directory = directory.into();
        if Directory(directory.clone()).holds_platform() {
            return self.open(directory);
        }
        match self.clone().create(&directory) {
            Err(SimError::Exists { .. }) if Directory(directory.clone()).holds_platform() => {
                self.open(directory)
            }
            result => result,
        }
    }

    fn contents(&self) -> Result<(Contents, SigningKey), SimError> {
        let hardware = Hardware::new(self.fmspc, self.ca)?;
        let chain = Chain::issue(&hardware)?;
        let attestation_key = SigningKey::generate()?;
        let mut sealing_secret = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut *sealing_secret)
            .map_err(|error| SimError::cryptography("draw its sealing secret", error))?;
        let contents = Contents {
            hardware,
            faults: self.faults,
            chain,
            attestation_key_pem: attestation_key.to_pem(),
            sealing_secret,
        };
        Ok((contents, attestation_key))
    }
}

impl Platform {
    /// A sound platform of the default family on the host's clock, to be altered.
    pub fn builder() -> PlatformBuilder {
        PlatformBuilder {
            fmspc: DEFAULT_FMSPC,
            ca: CaKind::Processor,
            faults: Faults::default(),
            clock: Arc::new(SystemClock),
        }
    }

    /// A sound platform in memory.
    pub fn ephemeral() -> Result<Arc<Self>, SimError> {
        Self::builder().ephemeral()
    }

    /// Makes a sound platform in a directory that does not exist or is empty.
    pub fn create(directory: impl Into<PathBuf>) -> Result<Arc<Self>, SimError> {
        Self::builder().create(directory)
    }

    /// Opens the platform in a directory.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Arc<Self>, SimError> {
        Self::builder().open(directory)
    }

    /// Opens the platform in a directory, or makes one there.
    pub fn create_or_open(directory: impl Into<PathBuf>) -> Result<Arc<Self>, SimError> {
        Self::builder().create_or_open(directory)
    }

    fn assemble(
        contents: Contents,
        attestation_key: SigningKey,
        directory: Option<Directory>,
        clock: Arc<dyn Clock>,
        stored: Option<QuoteCollateralV3>,
    ) -> Result<Arc<Self>, SimError> {
        let Contents { hardware, faults, chain, sealing_secret, .. } = contents;
        let quoting_enclave = QuotingEnclave::new(attestation_key, &chain, &hardware)?;
        let (collateral, validity) = match (stored, &directory) {
            (Some(collateral), Some(directory)) => {
                let Some(validity) = endorsements::validity_of(&collateral) else {
                    return Err(directory.damaged_collateral(&hardware, "TCB information without dates"));
                };
                if collateral.tcb_info_issuer_chain != chain.tcb_signer_chain_pem() {
                    return Err(directory.damaged_collateral(&hardware, "another signer's"));
                }
                (collateral, validity)
            }
            (_, directory) => {
                let (collateral, validity) = endorsements::issue(&chain, &hardware, faults, clock.now())?;
                if let Some(Err(error)) =
                    directory.as_ref().map(|it| it.write_collateral(&hardware, &collateral))
                {
                    // The directory may be mounted read-only; quotes need none of it.
                    tracing::warn!(%error, code = error.code(), "simulated collateral is not stored");
                }
                (collateral, validity)
            }
        };
        let issued = Issued { faults, collateral: Arc::new(collateral), validity };
        let platform = Self {
            hardware,
            chain,
            quoting_enclave,
            sealing_secret,
            directory,
            clock,
            issued: RwLock::new(issued),
        };
        platform.renew_when_due();
        Ok(Arc::new(platform))
    }

    /// Another machine of the same family under the same root, in memory only. Nobody has
    /// seen its keys before.
    pub fn another_machine(&self) -> Result<Arc<Self>, SimError> {
        let hardware = Hardware::new(self.hardware.fmspc, self.hardware.ca)?;
        let chain = self.chain.of_another(&hardware)?;
        let attestation_key = SigningKey::generate()?;
        let mut sealing_secret = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut *sealing_secret)
            .map_err(|error| SimError::cryptography("draw its sealing secret", error))?;
        let contents = Contents {
            hardware,
            faults: self.faults(),
            chain,
            attestation_key_pem: attestation_key.to_pem(),
            sealing_secret,
        };
        Self::assemble(contents, attestation_key, None, Arc::clone(&self.clock), None)
    }

    pub(crate) fn quoting_enclave(&self) -> &QuotingEnclave {
        &self.quoting_enclave
    }

    pub(crate) fn chain(&self) -> &Chain {
        &self.chain
    }

    /// A quote over a report of this program, made at once.
    pub fn quote(&self, program: &Program, report_data: ReportData) -> Result<Vec<u8>, SimError> {
        self.quoting_enclave.quote(program, report_data)
    }

    /// The key that this program has on this platform, as SGX derives it with
    /// the MRENCLAVE policy: another program, product, debug mode or platform has
    /// another.
    pub fn sealing_key(&self, program: &Program) -> Result<SealingKey, SimError> {
        let mut key = Zeroizing::new([0; 32]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"adytum simulation sealing key v1")
            .extract(&*self.sealing_secret)
            .expand(
                &[&program.mr_enclave.0, &program.isv_prod_id.to_le_bytes(), &[u8::from(program.debug)]],
                hkdf::HKDF_SHA256,
            )
            .and_then(|okm| okm.fill(&mut *key))
            .map_err(|error| SimError::cryptography("derive a sealing key", error))?;
        Ok(SealingKey(key))
    }

    /// The platform's collateral, renewed when it is nearly due.
    pub fn collateral(&self) -> Arc<QuoteCollateralV3> {
        self.renew_when_due();
        Arc::clone(&self.read_issued().collateral)
    }

    /// The platform's collateral of the evaluation that is published and does not count yet,
    /// if there is one ([`Faults::early`]).
    pub fn early_collateral(&self) -> Result<Option<QuoteCollateralV3>, SimError> {
        self.renew_when_due();
        let issued = self.read_issued();
        endorsements::issue_early(&self.chain, &self.hardware, issued.faults, issued.validity)
    }

    /// Issues collateral again, dated by `now`, also in the directory.
    pub fn renew_collateral(&self, now: UnixSeconds) -> Result<(), SimError> {
        let faults = self.faults();
        self.issue(faults, now)
    }

    /// Changes what is wrong with the platform, as when Intel revokes it, and
    /// issues collateral that says so, also in the directory.
    pub fn set_faults(&self, faults: Faults) -> Result<(), SimError> {
        if let Some(directory) = &self.directory {
            directory.write_description(&self.hardware, faults)?;
        }
        self.issue(faults, self.clock.now())
    }

    /// The faults that the platform has on purpose.
    pub fn faults(&self) -> Faults {
        self.read_issued().faults
    }

    /// Renews collateral when less than [`RENEWAL_MARGIN`] is left of it, or the
    /// clock has been set to before its date. A directory that can't be written
    /// is logged, and the collateral renewed in memory.
    pub fn renew_when_due(&self) {
        let now = self.clock.now();
        let due = {
            let issued = self.read_issued();
            !issued.faults.collateral_expired
                && (now < issued.validity.issued || now.plus(RENEWAL_MARGIN) > issued.validity.next_update)
        };
        if due && let Err(error) = self.renew_collateral(now) {
            tracing::warn!(%error, code = error.code(), "simulated collateral is not renewed everywhere");
        }
    }

    fn issue(&self, faults: Faults, now: UnixSeconds) -> Result<(), SimError> {
        let (collateral, validity) = endorsements::issue(&self.chain, &self.hardware, faults, now)?;
        let collateral = Arc::new(collateral);
        {
            let mut issued = self.issued.write().unwrap_or_else(PoisonError::into_inner);
            *issued = Issued { faults, collateral: Arc::clone(&collateral), validity };
        }
        match &self.directory {
            Some(directory) => directory.write_collateral(&self.hardware, &collateral),
            None => Ok(()),
        }
    }

    fn read_issued(&self) -> std::sync::RwLockReadGuard<'_, Issued> {
        // An `Issued` is replaced whole, so a poisoned lock still guards a good one.
        self.issued.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The root to give to a verifier that shall trust this platform.
    pub fn trust_root(&self) -> Result<TrustRoot, SimError> {
        TrustRoot::simulation(self.root_certificate_der())
            .map_err(|error| SimError::cryptography("be trusted", error))
    }

    /// The root's certificate in DER.
    pub fn root_certificate_der(&self) -> &[u8] {
        &self.chain.root.certificate.der
    }

    /// The root's certificate in PEM.
    pub fn root_certificate_pem(&self) -> &str {
        &self.chain.root.certificate.pem
    }

    /// The platform family.
    pub fn fmspc(&self) -> Fmspc {
        self.hardware.fmspc
    }

    /// Which CA issued the PCK certificate.
    pub fn pck_ca(&self) -> PckCa {
        self.hardware.ca.into()
    }

    /// The CPU package's id: [`adytum_evidence::claims::Platform::id`].
    pub fn id(&self) -> String {
        hex::encode(self.hardware.ppid)
    }

    /// The directory, unless the platform is in memory only.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_ref().map(|directory| directory.0.as_path())
    }

    /// The file of the root's certificate, unless the platform is in memory only.
    pub fn root_certificate_path(&self) -> Option<PathBuf> {
        self.directory().map(|directory| directory.join(ROOT_CERTIFICATE_FILE))
    }

    /// The directory of collateral, unless the platform is in memory only.
    pub fn collateral_path(&self) -> Option<PathBuf> {
        self.directory().map(|directory| directory.join(COLLATERAL_DIRECTORY))
    }
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Platform")
            .field("hardware", &self.hardware)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

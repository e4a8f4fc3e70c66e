//! Which TEE this program runs in.

use std::{path::Path, sync::Arc};

use super::{
    Attester, AttesterError, Gramine, Occlum, TeeInterface, Tsm, gramine::GRAMINE_DIRECTORY,
    occlum::OCCLUM_DEVICE, tsm::TSM_DIRECTORY,
};

/// The attester of the TEE that this program runs in: Gramine's, Occlum's, then
/// the kernel's of a confidential guest. Simulation is never found: it is asked
/// for by name, elsewhere.
///
/// An interface that is there and does not work is an error, not a reason to
/// look further.
pub fn detect() -> Result<Arc<dyn Attester>, AttesterError> {
    detect_at(Path::new(GRAMINE_DIRECTORY), Path::new(OCCLUM_DEVICE), Path::new(TSM_DIRECTORY))
}

impl TeeInterface {
    /// The attester behind this interface.
    pub fn open(self) -> Result<Arc<dyn Attester>, AttesterError> {
        Ok(match self {
            Self::Auto => return detect(),
            Self::Occlum => Arc::new(Occlum::open(OCCLUM_DEVICE)?),
            Self::Gramine => Arc::new(Gramine::open(GRAMINE_DIRECTORY)?),
            Self::Tsm => Arc::new(Tsm::open(TSM_DIRECTORY)?),
        })
    }
}

fn detect_at(gramine: &Path, occlum: &Path, tsm: &Path) -> Result<Arc<dyn Attester>, AttesterError> {
    if gramine.join("attestation_type").exists() {
        return Ok(Arc::new(Gramine::open(gramine)?));
    }
    // On hosts `/dev/sgx` may be a directory of the driver's devices.
    if occlum.exists() && !occlum.is_dir() {
        return Ok(Arc::new(Occlum::open(occlum)?));
    }
    if tsm.is_dir() {
        return Ok(Arc::new(Tsm::open(tsm)?));
    }
    let looked_for = format!(
        "{}/attestation_type (Gramine), {} (Occlum), {} (TDX or SEV-SNP guest; needs configfs and the guest driver)",
        gramine.display(),
        occlum.display(),
        tsm.display()
    );
    Err(AttesterError::NoTee { looked_for })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{super::TeePlatform, *};

    #[test]
    fn without_a_tee_the_error_names_what_was_looked_for() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let error = detect_at(&at("attestation"), &at("sgx"), &at("tsm")).err().unwrap();
        assert_eq!(error.code(), "attester-no-tee");
        for name in ["Gramine", "Occlum", "TDX"] {
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn the_first_interface_there_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        // The host's SGX driver is not Occlum.
        fs::create_dir(at("sgx")).unwrap();
        assert_eq!(
            detect_at(&at("attestation"), &at("sgx"), &at("tsm")).err().unwrap().code(),
            "attester-no-tee"
        );
        // Broken is not absent.
        fs::create_dir(at("tsm")).unwrap();
        assert_eq!(
            detect_at(&at("attestation"), &at("sgx"), &at("tsm")).err().unwrap().code(),
            "attester-interface"
        );
        fs::create_dir(at("attestation")).unwrap();
        fs::write(at("attestation/attestation_type"), "dcap").unwrap();
        let found = detect_at(&at("attestation"), &at("sgx"), &at("tsm")).unwrap();
        assert_eq!(found.platform(), TeePlatform::Gramine);
    }
}

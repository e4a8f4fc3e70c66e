//! SGX under Occlum, through its device.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use async_trait::async_trait;

use super::{
    Attester, AttesterError, SealingKey, TeePlatform, blocking, checked_dcap_quote, files, occlum_ioctl,
};
use crate::{
    evidence::{Evidence, MAXIMUM_EVIDENCE_LENGTH},
    measurement::ReportData,
};

/// Occlum's device.
pub const OCCLUM_DEVICE: &str = "/dev/sgx";

/// Evidence from Occlum's device.
#[derive(Clone, Debug)]
pub struct Occlum {
    device: PathBuf,
}

impl Occlum {
    /// Under Occlum: a device ([`OCCLUM_DEVICE`]) that answers how long a quote is.
    pub fn open(device: impl Into<PathBuf>) -> Result<Self, AttesterError> {
        let device = device.into();
        let (_, size) = size(&device)?;
        tracing::debug!(device = %device.display(), size, "Occlum offers DCAP quotes");
        Ok(Self { device })
    }
}

fn size(device: &Path) -> Result<(File, u32), AttesterError> {
    let file = File::open(device).map_err(|error| files::failed(device, "open", &error))?;
    let size = occlum_ioctl::quote_size(&file)
        .map_err(|error| files::failed(device, "ask for the size of a quote", &error))?;
    // The device is the LibOS's own, yet what it says decides an allocation.
    if size == 0 || usize::try_from(size).is_ok_and(|size| size > MAXIMUM_EVIDENCE_LENGTH) {
        return Err(AttesterError::Answer {
            interface: device.display().to_string(),
            expected: format!("a quote of 1 to {MAXIMUM_EVIDENCE_LENGTH} bytes"),
            found: format!("{size} bytes"),
        });
    }
    Ok((file, size))
}

#[async_trait]
impl Attester for Occlum {
    async fn evidence(&self, report_data: ReportData) -> Result<Evidence, AttesterError> {
        let device = self.device.clone();
        blocking("occlum", move || {
            let (file, size) = size(&device)?;
            let quote = occlum_ioctl::quote(&file, report_data.as_bytes(), size)
                .map_err(|error| files::failed(&device, "generate a quote", &error))?;
            checked_dcap_quote(&device.display().to_string(), quote, report_data)
        })
        .await
    }

    fn sealing_key(&self) -> Result<Option<SealingKey>, AttesterError> {
        // Occlum derives keys for its own file systems only.
        Ok(None)
    }

    fn platform(&self) -> TeePlatform {
        TeePlatform::Occlum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_the_device_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Occlum::open(file.path()).unwrap_err();
        assert_eq!(error.code(), "attester-interface");
        assert!(error.to_string().contains("size of a quote"), "{error}");
        assert_eq!(Occlum::open("/nowhere/sgx").unwrap_err().code(), "attester-interface");
    }
}

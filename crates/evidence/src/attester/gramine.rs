//! SGX under Gramine (Gramine documentation, "Attestation and secret
//! provisioning": the pseudo-files below `/dev/attestation`).

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use aws_lc_rs::hkdf;
use zeroize::Zeroizing;

use super::{Attester, AttesterError, SealingKey, TeePlatform, blocking, checked_dcap_quote, files};
use crate::{
    evidence::{Evidence, MAXIMUM_EVIDENCE_LENGTH},
    measurement::ReportData,
};

/// Where Gramine has its pseudo-files.
pub const GRAMINE_DIRECTORY: &str = "/dev/attestation";

/// Evidence from Gramine's pseudo-files. The manifest must say
/// `sgx.remote_attestation = "dcap"`.
#[derive(Clone, Debug)]
pub struct Gramine {
    directory: PathBuf,
    /// A write to `user_report_data` counts for the next reader of `quote`, in any
    /// thread.
    one_at_a_time: Arc<Mutex<()>>,
}

impl Gramine {
    /// Under Gramine, or under files that stand for it.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, AttesterError> {
        let directory = directory.into();
        let path = directory.join("attestation_type");
        match files::read_line(&path)?.as_str() {
            "dcap" => Ok(Self { directory, one_at_a_time: Arc::default() }),
            found => Err(AttesterError::Answer {
                interface: path.display().to_string(),
                expected: "\"dcap\" (sgx.remote_attestation in Gramine's manifest)".to_owned(),
                found: format!("{found:?}"),
            }),
        }
    }
}

#[async_trait]
impl Attester for Gramine {
    async fn evidence(&self, report_data: ReportData) -> Result<Evidence, AttesterError> {
        let this = self.clone();
        blocking("gramine", move || {
            // A panic elsewhere leaves nothing behind that the next write does
            // not replace.
            let _turn = this.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
            files::write(&this.directory.join("user_report_data"), report_data.as_bytes())?;
            let path = this.directory.join("quote");
            let quote = files::read(&path, MAXIMUM_EVIDENCE_LENGTH)?;
            checked_dcap_quote(&path.display().to_string(), quote.to_vec(), report_data)
        })
        .await
    }

    fn sealing_key(&self) -> Result<Option<SealingKey>, AttesterError> {
        // Derived by EGETKEY with the MRENCLAVE policy; 16 bytes.
        let path = self.directory.join("keys/_sgx_mrenclave");
        let key = files::read(&path, 16)?;
        if key.len() != 16 {
            return Err(AttesterError::Answer {
                interface: path.display().to_string(),
                expected: "16 bytes".to_owned(),
                found: format!("{} bytes", key.len()),
            });
        }
        derive(&path, &key).map(Some)
    }

    fn platform(&self) -> TeePlatform {
        TeePlatform::Gramine
    }
}

/// A key of 32 bytes for our use alone: the 16 bytes also encrypt the files of
/// Gramine's manifest.
fn derive(path: &Path, key: &[u8]) -> Result<SealingKey, AttesterError> {
    let mut derived = Zeroizing::new([0; 32]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"adytum sealing key v1")
        .extract(key)
        .expand(&[b"gramine _sgx_mrenclave"], hkdf::HKDF_SHA256)
        .and_then(|output| output.fill(&mut *derived))
        .map_err(|error| files::failed(path, "derive a key from", &error))?;
    Ok(SealingKey(derived))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::attester::fixture::sgx_quote;

    const REPORT_DATA: ReportData = ReportData([7; 64]);

    fn emulated(quote: &[u8]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| fs::write(directory.path().join(name), content).unwrap();
        file("attestation_type", b"dcap\n");
        file("user_report_data", b"");
        file("quote", quote);
        fs::create_dir(directory.path().join("keys")).unwrap();
        file("keys/_sgx_mrenclave", &[3; 16]);
        directory
    }

    #[tokio::test]
    async fn writes_the_report_data_and_reads_the_quote() {
        let quote = sgx_quote(REPORT_DATA);
        let directory = emulated(&quote);
        let gramine = Gramine::open(directory.path()).unwrap();
        let evidence = gramine.evidence(REPORT_DATA).await.unwrap();
        assert_eq!(evidence.bytes, quote);
        assert_eq!(fs::read(directory.path().join("user_report_data")).unwrap(), REPORT_DATA.0);
        assert_eq!(gramine.platform(), TeePlatform::Gramine);
    }

    #[tokio::test]
    async fn a_quote_over_other_report_data_is_not_handed_out() {
        let directory = emulated(&sgx_quote(ReportData([8; 64])));
        let gramine = Gramine::open(directory.path()).unwrap();
        let error = gramine.evidence(REPORT_DATA).await.unwrap_err();
        assert_eq!(error.code(), "attester-answer", "{error}");
        assert!(error.to_string().contains("report data"), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_quote_is_refused() {
        for quote in [vec![], vec![0; 100], vec![1; MAXIMUM_EVIDENCE_LENGTH + 1]] {
            let directory = emulated(&quote);
            let gramine = Gramine::open(directory.path()).unwrap();
            assert_eq!(gramine.evidence(REPORT_DATA).await.unwrap_err().code(), "attester-answer");
        }
    }

    #[test]
    fn attestation_must_be_dcap() {
        let directory = emulated(b"");
        fs::write(directory.path().join("attestation_type"), "none").unwrap();
        let error = Gramine::open(directory.path()).unwrap_err();
        assert!(
            error.to_string().contains("found \"none\"") || error.to_string().contains("\"none\""),
            "{error}"
        );
    }

    #[test]
    fn the_sealing_key_is_derived_from_the_enclaves() {
        let directory = emulated(b"");
        let gramine = Gramine::open(directory.path()).unwrap();
        let key = |gramine: &Gramine| *gramine.sealing_key().unwrap().unwrap().0;
        let first = key(&gramine);
        assert_eq!(first, key(&gramine));
        assert_ne!(first[..16], [3; 16]);
        fs::write(directory.path().join("keys/_sgx_mrenclave"), [4; 16]).unwrap();
        assert_ne!(first, key(&gramine));
        for wrong in [15, 17] {
            fs::write(directory.path().join("keys/_sgx_mrenclave"), vec![4; wrong]).unwrap();
            assert_eq!(gramine.sealing_key().unwrap_err().code(), "attester-answer");
        }
    }
}

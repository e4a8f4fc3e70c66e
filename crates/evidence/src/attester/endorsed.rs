//! SEV-SNP: the certificate of the key that signs a guest's reports. A host may hand
//! it to its guests, and many don't; then the guest gets it from AMD itself, so that
//! nobody who verifies fetches anything about a stranger's chip.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::{Attester, AttesterError, SealingKey, TeePlatform};
use crate::{
    clock::{Clock, SystemClock},
    collateral::{Collateral, CollateralError, CollateralSource, from_places},
    evidence::{Evidence, EvidenceFormat},
    measurement::ReportData,
    snp::{AMD_KDS, CertificateTable, Endorser, KdsSource, VcekRequest, certificate_table, parse_report},
};

/// `attester`, whose SEV-SNP reports come with their key's certificate: from these
/// places ([`from_places`]), by default AMD's own service, if the host gives none. Other
/// attesters are left as they are.
pub fn endorsed(
    attester: Arc<dyn Attester>,
    intel: Option<&str>,
    amd: Option<&str>,
) -> Result<Arc<dyn Attester>, CollateralError> {
    if attester.platform() != TeePlatform::Snp {
        return Ok(attester);
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let source = match from_places(intel, amd, None, &clock)? {
        Some(source) => source,
        None => Arc::new(KdsSource::new(AMD_KDS)?),
    };
    Ok(Arc::new(Endorsed::new(attester, source)))
}

/// An attester whose SEV-SNP reports come with their key's certificate. It changes
/// nothing about other evidence.
pub struct Endorsed {
    attester: Arc<dyn Attester>,
    source: Arc<dyn CollateralSource>,
    /// The last that was fetched: a guest stays on its chip, and the key changes with
    /// the firmware only.
    kept: Mutex<Option<(VcekRequest, Arc<[u8]>)>>,
}

impl Endorsed {
    /// Adds certificates from `source` to what `attester` produces.
    pub fn new(attester: Arc<dyn Attester>, source: Arc<dyn CollateralSource>) -> Self {
        Self { attester, source, kept: Mutex::default() }
    }

    async fn vcek(&self, request: VcekRequest) -> Result<Arc<[u8]>, AttesterError> {
        if let Some((_, vcek)) = self.kept().as_ref().filter(|(kept, _)| *kept == request) {
            return Ok(Arc::clone(vcek));
        }
        let failed = |reason: String| AttesterError::Interface {
            interface: "the source of AMD's certificates".to_owned(),
            operation: "get this chip's VCEK certificate, which the host did not give",
            reason,
        };
        let vcek = match self.source.collateral(&request.clone().into()).await {
            Ok(Collateral::Vcek(vcek)) => vcek,
            Ok(_) => return Err(failed("it answered with something else".to_owned())),
            Err(error) => return Err(failed(error.to_string())),
        };
        *self.kept() = Some((request, Arc::clone(&vcek)));
        Ok(vcek)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<(VcekRequest, Arc<[u8]>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Attester for Endorsed {
    async fn evidence(&self, report_data: ReportData) -> Result<Evidence, AttesterError> {
        let mut evidence = self.attester.evidence(report_data).await?;
        if evidence.format != EvidenceFormat::SnpReport {
            return Ok(evidence);
        }
        let answer = |found: String| AttesterError::Answer {
            interface: self.platform().to_string(),
            expected: "a SEV-SNP report and a certificate table".to_owned(),
            found,
        };
        let report = parse_report(&evidence.bytes).map_err(|error| answer(error.to_string()))?;
        let table = CertificateTable::parse(&evidence.endorsements).map_err(answer)?;
        if let Some(certificate) = table.endorser(report.endorser) {
            // The rest of the table is of no use to anybody who verifies.
            evidence.endorsements = certificate_table(report.endorser, certificate);
            return Ok(evidence);
        }
        if report.endorser == Endorser::Vlek {
            return Err(answer("no VLEK certificate, which only the host has".to_owned()));
        }
        let Some(product) = report.product else {
            return Err(answer(format!(
                "no VCEK certificate from the host, and a report of version {} that does not tell the processor",
                report.version
            )));
        };
        let request = VcekRequest { product, chip_id: report.chip_id, reported_tcb: report.reported_tcb };
        evidence.endorsements = certificate_table(Endorser::Vcek, &self.vcek(request).await?);
        Ok(evidence)
    }

    fn sealing_key(&self) -> Result<Option<SealingKey>, AttesterError> {
        self.attester.sealing_key()
    }

    fn platform(&self) -> TeePlatform {
        self.attester.platform()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{
        collateral::CollateralRequest,
        snp::{REPORT_LENGTH, SnpProduct},
    };

    /// A guest with this report and this certificate table.
    struct Guest(Vec<u8>, Vec<u8>);

    #[async_trait]
    impl Attester for Guest {
        async fn evidence(&self, _: ReportData) -> Result<Evidence, AttesterError> {
            Ok(Evidence::snp_report(self.0.clone(), self.1.clone()))
        }

        fn sealing_key(&self) -> Result<Option<SealingKey>, AttesterError> {
            Ok(None)
        }

        fn platform(&self) -> TeePlatform {
            TeePlatform::Snp
        }
    }

    /// Gives each chip a certificate, and counts.
    #[derive(Default)]
    struct Source(AtomicUsize);

    #[async_trait]
    impl CollateralSource for Source {
        async fn collateral(&self, request: &CollateralRequest) -> Result<Collateral, CollateralError> {
            let CollateralRequest::Vcek(request) = request else {
                return Err(CollateralError::NoSource { what: request.to_string() });
            };
            assert_eq!(request.product, SnpProduct::Genoa);
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(Collateral::Vcek(request.to_string().into_bytes().into()))
        }
    }

    fn report(version: u8, keys: u8, microcode: u8) -> Vec<u8> {
        let mut report = vec![0; REPORT_LENGTH];
        (report[0], report[0x34], report[0x48], report[0x187]) = (version, 1, keys, microcode);
        report[0x188..0x18a].copy_from_slice(&[0x19, 0x11]);
        report
    }

    #[tokio::test]
    async fn a_certificate_that_the_host_gives_is_kept_and_the_rest_is_not() {
        let mut table = certificate_table(Endorser::Vcek, b"the host's");
        table.extend_from_slice(b"other things");
        let source = Arc::new(Source::default());
        let attester = Endorsed::new(Arc::new(Guest(report(2, 0, 0), table)), source.clone());
        let evidence = attester.evidence(ReportData([0; 64])).await.unwrap();
        assert_eq!(evidence.endorsements, certificate_table(Endorser::Vcek, b"the host's"));
        assert_eq!(source.0.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn one_that_it_does_not_give_is_fetched_once_for_each_firmware() {
        let source = Arc::new(Source::default());
        for (microcode, fetched) in [(7, 1), (8, 2)] {
            let attester =
                Endorsed::new(Arc::new(Guest(report(3, 0, microcode), Vec::new())), source.clone());
            for _ in 0..3 {
                let evidence = attester.evidence(ReportData([0; 64])).await.unwrap();
                let table = CertificateTable::parse(&evidence.endorsements).unwrap();
                let name = String::from_utf8(table.endorser(Endorser::Vcek).unwrap().to_vec()).unwrap();
                assert!(name.ends_with(&format!("{microcode:02x}")), "{name}");
            }
            assert_eq!(source.0.load(Ordering::SeqCst), fetched);
        }
    }

    #[tokio::test]
    async fn what_nobody_can_fetch_is_said() {
        for (guest, reason) in [
            (Guest(report(3, 1 << 2, 0), Vec::new()), "only the host has"),
            (Guest(report(2, 0, 0), Vec::new()), "does not tell the processor"),
            (Guest(report(3, 0, 0), vec![1; 5]), "before an entry of zeros"),
            (Guest(vec![1; 5], Vec::new()), "expected 1184 bytes"),
        ] {
            let attester = Endorsed::new(Arc::new(guest), Arc::new(Source::default()));
            let error = attester.evidence(ReportData([0; 64])).await.unwrap_err();
            assert_eq!(error.code(), "attester-answer");
            assert!(error.to_string().contains(reason), "{error}");
        }
    }
}

//! The kernel's side of configfs-tsm, emulated.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::*;
use crate::attester::fixture::tdx_quote;

const REPORT_DATA: ReportData = ReportData([9; 64]);

/// Keeps reports as the kernel does: attributes appear with the directory, the
/// generation counts writes, the report is made when it is read.
struct ScriptedKernel {
    provider: &'static str,
    reports: Mutex<HashMap<String, (u64, Vec<u8>)>>,
    /// Somebody else writes to the report after our write, this number of times.
    intruder: AtomicUsize,
    /// Reading `outblob` fails.
    broken: bool,
    /// The first names, this number of them, are taken.
    taken: AtomicUsize,
    /// Every name that was tried.
    names: Mutex<Vec<String>>,
}

impl ScriptedKernel {
    fn new(provider: &'static str) -> Self {
        Self {
            provider,
            reports: Mutex::default(),
            intruder: AtomicUsize::new(0),
            broken: false,
            taken: AtomicUsize::new(0),
            names: Mutex::default(),
        }
    }

    fn left_over(&self) -> usize {
        self.reports.lock().unwrap().len()
    }
}

fn names(path: &Path) -> (String, String) {
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    (name(path.parent().unwrap()), name(path))
}

impl Kernel for ScriptedKernel {
    fn create(&self, report: &str) -> io::Result<()> {
        self.names.lock().unwrap().push(report.to_owned());
        if self.taken.load(Ordering::SeqCst) > 0 {
            self.taken.fetch_sub(1, Ordering::SeqCst);
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let mut reports = self.reports.lock().unwrap();
        if reports.insert(report.to_owned(), (0, Vec::new())).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(())
    }

    fn remove(&self, report: &str) -> io::Result<()> {
        self.reports.lock().unwrap().remove(report).map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn attribute(&self, report: &str, name: &str) -> PathBuf {
        Path::new("/tsm").join(report).join(name)
    }

    fn read(&self, path: &Path, _limit: usize) -> Result<Vec<u8>, AttesterError> {
        let (report, attribute) = names(path);
        let reports = self.reports.lock().unwrap();
        let (generation, input) = reports.get(&report).unwrap();
        match attribute.as_str() {
            "provider" => Ok(format!("{}\n", self.provider).into_bytes()),
            "generation" => Ok(format!("{generation}\n").into_bytes()),
            "outblob" if self.broken => Err(files::failed(path, "read", &"Device or resource busy")),
            "outblob" if self.provider == "tdx_guest" => {
                Ok(tdx_quote(ReportData(input[..].try_into().unwrap())))
            }
            "outblob" => Ok([&[0; 0x50], &input[..], &[0; 1000]].concat()),
            "auxblob" => Ok(b"certificates".to_vec()),
            _ => Err(files::failed(path, "read", &"No such file or directory")),
        }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), AttesterError> {
        let (report, attribute) = names(path);
        assert_eq!(attribute, "inblob");
        let mut reports = self.reports.lock().unwrap();
        let (generation, input) = reports.get_mut(&report).unwrap();
        *generation += 1;
        *input = bytes.to_vec();
        if self.intruder.load(Ordering::SeqCst) > 0 {
            self.intruder.fetch_sub(1, Ordering::SeqCst);
            *generation += 1;
            *input = vec![0; 64];
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_tdx_guest_gets_its_quote_and_leaves_no_directory() {
    let kernel = Arc::new(ScriptedKernel::new("tdx_guest"));
    let tsm = Tsm::with(Arc::clone(&kernel) as _).unwrap();
    assert_eq!(tsm.platform(), TeePlatform::Tdx);
    let evidence = tsm.evidence(REPORT_DATA).await.unwrap();
    assert_eq!(evidence, Evidence::dcap_quote(tdx_quote(REPORT_DATA)));
    assert_eq!(kernel.left_over(), 0);
    assert!(tsm.sealing_key().unwrap().is_none());
}

#[tokio::test]
async fn a_sev_snp_guest_gets_its_report_with_certificates() {
    let kernel = Arc::new(ScriptedKernel::new("sev_guest"));
    let tsm = Tsm::with(Arc::clone(&kernel) as _).unwrap();
    assert_eq!(tsm.platform(), TeePlatform::Snp);
    let evidence = tsm.evidence(REPORT_DATA).await.unwrap();
    assert_eq!(evidence.format, crate::evidence::EvidenceFormat::SnpReport);
    assert_eq!(evidence.endorsements, b"certificates");
    assert_eq!(kernel.left_over(), 0);
}

#[tokio::test]
async fn a_report_that_somebody_else_wrote_to_is_asked_for_again() {
    for (intrusions, outcome) in [(1, true), (2, true), (3, false)] {
        let kernel = Arc::new(ScriptedKernel::new("tdx_guest"));
        let tsm = Tsm::with(Arc::clone(&kernel) as _).unwrap();
        kernel.intruder.store(intrusions, Ordering::SeqCst);
        let evidence = tsm.evidence(REPORT_DATA).await;
        assert_eq!(evidence.is_ok(), outcome, "{intrusions}: {evidence:?}");
        assert_eq!(kernel.left_over(), 0);
    }
}

#[tokio::test]
async fn a_failure_leaves_no_directory_either() {
    let kernel = Arc::new(ScriptedKernel { broken: true, ..ScriptedKernel::new("tdx_guest") });
    let tsm = Tsm::with(Arc::clone(&kernel) as _).unwrap();
    let error = tsm.evidence(REPORT_DATA).await.unwrap_err();
    assert_eq!(error.code(), "attester-interface");
    assert!(error.to_string().contains("busy"), "{error}");
    assert_eq!(kernel.left_over(), 0);
}

#[tokio::test]
async fn a_name_that_is_taken_is_replaced_by_another_a_few_times() {
    for (taken, outcome) in [(1, true), (3, true), (4, false)] {
        let kernel = Arc::new(ScriptedKernel::new("tdx_guest"));
        let tsm = Tsm::with(Arc::clone(&kernel) as _).unwrap();
        kernel.taken.store(taken, Ordering::SeqCst);
        let evidence = tsm.evidence(REPORT_DATA).await;
        assert_eq!(evidence.is_ok(), outcome, "{taken}: {evidence:?}");
        assert_eq!(kernel.left_over(), 0);
        let names = kernel.names.lock().unwrap();
        let different: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len(), "{names:?}");
    }
}

#[test]
fn other_providers_are_refused_by_name() {
    let kernel = Arc::new(ScriptedKernel::new("arm_cca_guest"));
    let error = Tsm::with(Arc::clone(&kernel) as _).unwrap_err();
    assert!(error.to_string().contains("arm_cca_guest"), "{error}");
    assert_eq!(kernel.left_over(), 0);
}

#[test]
fn without_the_kernels_directory_there_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(Tsm::open(directory.path().join("none")).unwrap_err().code(), "attester-interface");
    // A directory that the kernel does not fill is none of its own, and it is
    // removed again.
    assert_eq!(Tsm::open(directory.path()).unwrap_err().code(), "attester-interface");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

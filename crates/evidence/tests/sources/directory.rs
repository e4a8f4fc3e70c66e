//! Collateral in files.

use std::{fs, sync::Arc};

use adytum_evidence::{
    claims::TeeKind,
    clock::SystemClock,
    collateral::{
        Collateral, CollateralSource, DcapRequest, DirectorySource, MAXIMUM_COLLATERAL_LENGTH, PckCa,
        from_url, from_url_with_clock,
    },
    measurement::Fmspc,
};
use adytum_sim::Platform;

fn request(platform: &Platform) -> DcapRequest {
    DcapRequest { tee: TeeKind::Sgx, fmspc: platform.fmspc(), ca: platform.pck_ca() }
}

#[tokio::test]
async fn a_file_url_names_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let platform = Platform::create(directory.path().join("platform")).unwrap();
    let path = platform.collateral_path().unwrap();
    let collateral = from_url(&format!("file://{}", path.display())).unwrap();
    let found = collateral.collateral(&request(&platform).into()).await.unwrap();
    assert_eq!(found, Collateral::Dcap(platform.collateral()));
}

#[test]
fn files_are_named_as_documented() {
    let request =
        DcapRequest { tee: TeeKind::Sgx, fmspc: Fmspc([0, 0xA0, 0x67, 0x11, 0, 0]), ca: PckCa::Processor };
    let path = DirectorySource::new("/collateral").path(&request);
    assert_eq!(path.to_str(), Some("/collateral/sgx-00a067110000-processor.json"));
    let request = DcapRequest { tee: TeeKind::Tdx, ca: PckCa::Platform, ..request };
    let path = DirectorySource::new("/collateral").path(&request);
    assert_eq!(path.to_str(), Some("/collateral/tdx-00a067110000-platform.json"));
}

#[tokio::test]
async fn every_way_a_file_can_be_wrong_has_its_code() {
    let directory = tempfile::tempdir().unwrap();
    let platform = Platform::ephemeral().unwrap();
    let source = DirectorySource::new(directory.path());
    let path = source.path(&request(&platform));
    let code = async || {
        let error = source.collateral(&request(&platform).into()).await.unwrap_err();
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        (error.code(), error.retry())
    };
    assert_eq!(code().await, ("collateral-missing", false));
    for text in ["", "{}", "[]", "\0"] {
        fs::write(&path, text).unwrap();
        assert_eq!(code().await, ("collateral-malformed", false), "{text:?}");
    }
    fs::write(&path, vec![b' '; MAXIMUM_COLLATERAL_LENGTH + 1]).unwrap();
    assert_eq!(code().await, ("collateral-malformed", false));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(code().await, ("collateral-unreachable", true));
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let platform = Platform::ephemeral().unwrap();
    let away = directory.path().join("away");
    let source = DirectorySource::new(&away);
    let error = source.collateral(&request(&platform).into()).await.unwrap_err();
    assert_eq!(error.code(), "collateral-no-directory", "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("directory {};", away.display())), "{text}");
    assert!(text.contains("--collateral") && text.contains(".json"), "{text}");
    // From there on it is the file that is missing.
    fs::create_dir(&away).unwrap();
    let error = source.collateral(&request(&platform).into()).await.unwrap_err();
    assert_eq!(error.code(), "collateral-missing", "{error}");
}

#[test]
fn texts_that_name_no_source_are_refused() {
    for text in ["", "collateral", "file://collateral", "file:/collateral", "ftp://host", "http://", "https:"]
    {
        let error = from_url_with_clock(text, Arc::new(SystemClock)).err().unwrap();
        assert_eq!(error.code(), "collateral-url", "{text}: {error}");
        assert!(error.to_string().contains("file:///DIRECTORY"), "{error}");
    }
}

//! Collateral in files.

use std::{fs, sync::Arc};

use adytum_evidence::{
    claims::TeeKind,
    clock::{Clock, SystemClock},
    collateral::{
        Collateral, CollateralSource, DcapRequest, DirectorySource, MAXIMUM_COLLATERAL_LENGTH, PckCa,
        from_places, from_url, from_url_with_clock,
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
fn a_host_without_a_scheme_is_no_directory() {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    for place in [
        "localhost",
        "pccs:8081",
        "pccs.example",
        "10.0.0.1:8081/sgx/certification/v3/",
        "pccs/sgx/certification/v4/",
    ] {
        let error = from_places(Some(place), None, None, &clock).err().unwrap();
        assert_eq!(error.code(), "collateral-url-without-scheme", "{place}: {error}");
        assert!(error.to_string().contains(&format!("http://{place}")), "{error}");
    }
    // Directories, whatever they are called.
    for place in ["collateral", "./pccs.example", "/var/pccs.example:8081"] {
        assert!(from_places(Some(place), None, None, &clock).unwrap().is_some(), "{place}");
    }
}

#[test]
fn texts_that_name_no_source_are_refused() {
    let url = "collateral-url";
    let without_scheme = "collateral-url-without-scheme";
    for (text, code) in [
        ("", url),
        ("collateral", without_scheme),
        ("file://collateral", url),
        ("file:/collateral", url),
        ("ftp://host", url),
        ("http://", url),
        ("https:", url),
    ] {
        let error = from_url_with_clock(text, Arc::new(SystemClock)).err().unwrap();
        assert_eq!(error.code(), code, "{text}: {error}");
        assert!(error.to_string().contains("file:///DIRECTORY"), "{error}");
    }
}

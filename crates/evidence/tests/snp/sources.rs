//! Where AMD's certificates come from: a KDS, a directory, and what guests do whose
//! host gives them none.

use std::{fs, sync::Arc, time::Duration};

use adytum_evidence::{
    attester::{Attester, Endorsed, TeePlatform},
    clock::{Clock, FixedClock, SystemClock},
    collateral::{
        CachedSource, Collateral, CollateralRequest, CollateralSource, SnpRequest, VcekRequest, from_places,
    },
    evidence::Evidence,
    measurement::WorkloadIdentity,
    snp::{Endorser, SnpProduct},
    verifier::Verifier,
};
use adytum_sim::{Platform, SimAttester, snp::SnpPlatform};
use adytum_testkit::tee::ScriptedTee;
use base64::{Engine, engine::general_purpose::STANDARD};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};

use crate::fixture::{REPORT_DATA, evidence, guest, milan};

/// A guest whose host gives it no certificates.
fn guest_without_certificates(platform: &Arc<SnpPlatform>) -> Arc<dyn Attester> {
    let platform = Arc::clone(platform);
    let evidence = move |report_data| {
        let evidence = platform.evidence(&guest(), report_data).unwrap();
        async move { Ok(Evidence::snp_report(evidence.bytes, Vec::new())) }
    };
    Arc::new(ScriptedTee::new(evidence).on(TeePlatform::Snp))
}

fn pem(platform: &SnpPlatform) -> String {
    let collateral = platform.published();
    [&collateral.issuer, &collateral.root]
        .map(|der| {
            format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
        })
        .concat()
}

/// A KDS of one platform, at this address, and the paths that it was asked for.
async fn kds(platform: Arc<SnpPlatform>) -> (String, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, paths) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let path = head.split(' ').nth(1).unwrap();
            let body = match path.rsplit('/').next().unwrap() {
                "cert_chain" => pem(&platform).into_bytes(),
                "crl" => platform.published().crl.clone(),
                _ => platform.endorsement().to_vec(),
            };
            asked.send(path.to_owned()).unwrap();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
        }
    });
    (url, paths)
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

#[tokio::test]
async fn a_guest_without_certificates_gets_its_own_and_who_verifies_the_rest() {
    for product in [SnpProduct::Genoa, SnpProduct::Turin] {
        let platform = SnpPlatform::ephemeral(product, Endorser::Vcek).unwrap();
        let (url, mut paths) = kds(Arc::clone(&platform)).await;
        let source = from_places(None, Some(&url), None, &clock()).unwrap().unwrap();
        let attester = Endorsed::new(guest_without_certificates(&platform), Arc::clone(&source));
        let verifier = Verifier::new(vec![platform.trust_root().unwrap()], source, clock());
        for _ in 0..3 {
            let evidence = attester.evidence(REPORT_DATA).await.unwrap();
            verifier.verify(&evidence).await.unwrap();
        }
        let mut asked = Vec::new();
        while let Ok(path) = paths.try_recv() {
            asked.push(path);
        }
        asked.sort();
        // Each once, however often it is needed.
        let (chip, levels) = if product == SnpProduct::Turin {
            (hex::encode(&platform.chip_id()[..8]), "fmcSPL=03&blSPL=00&teeSPL=08&snpSPL=04&ucodeSPL=210")
        } else {
            (hex::encode(platform.chip_id()), "blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=210")
        };
        let mut expected = [
            format!("/vcek/v1/{product}/{chip}?{levels}"),
            format!("/vcek/v1/{product}/cert_chain"),
            format!("/vcek/v1/{product}/crl"),
        ];
        expected.sort();
        assert_eq!(asked, expected);
    }
}

#[tokio::test]
async fn a_directory_serves_both_vendors() {
    let platform = SnpPlatform::ephemeral(SnpProduct::Milan, Endorser::Vcek).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    for text in [place.to_owned(), format!("file://{place}")] {
        let source = from_places(Some(&text), None, None, &clock()).unwrap().unwrap();
        let verifier = Verifier::new(vec![platform.trust_root().unwrap()], source, clock());
        let error = verifier.verify(&evidence(&platform)).await.unwrap_err();
        assert_eq!(error.code(), "collateral-missing", "{error}");
        assert!(error.to_string().contains("snp-milan-vcek"), "{error}");
    }

    fs::write(directory.path().join("snp-milan-vcek.pem"), pem(&platform)).unwrap();
    fs::write(directory.path().join("snp-milan-vcek.crl"), &platform.published().crl).unwrap();
    let source = from_places(Some(place), None, None, &clock()).unwrap().unwrap();
    let verifier = Verifier::new(vec![platform.trust_root().unwrap()], Arc::clone(&source), clock());
    verifier.verify(&evidence(&platform)).await.unwrap();

    // And chips' certificates, for guests without.
    let request = CollateralRequest::Vcek(VcekRequest {
        product: SnpProduct::Milan,
        chip_id: *platform.chip_id(),
        reported_tcb: [3, 0, 0, 0, 0, 0, 8, 210],
    });
    assert_eq!(source.collateral(&request).await.unwrap_err().code(), "collateral-missing");
    fs::write(directory.path().join(format!("{request}.der")), platform.endorsement()).unwrap();
    assert_eq!(source.collateral(&request).await.unwrap(), Collateral::Vcek(platform.endorsement().into()));
}

/// Naming the source of AMD's does not lose those of a simulated platform.
#[tokio::test]
async fn what_a_simulated_platform_has_itself_stays_beside_amds() {
    let (quoting, chip) = (Platform::ephemeral().unwrap(), milan());
    let own: Arc<dyn CollateralSource> = Arc::new(quoting.collateral_source());
    let (url, _paths) = kds(Arc::clone(&chip)).await;
    let roots = vec![quoting.trust_root().unwrap(), chip.trust_root().unwrap()];
    let quote = SimAttester::new(Arc::clone(&quoting), WorkloadIdentity([1; 32])).evidence(REPORT_DATA).await;
    let quote = quote.unwrap();
    let source = from_places(None, Some(&url), Some(Arc::clone(&own)), &clock()).unwrap().unwrap();
    let both = Verifier::new(roots.clone(), source, clock());
    both.verify(&quote).await.unwrap();
    both.verify(&evidence(&chip)).await.unwrap();
    // And alone it is all there is.
    let source = from_places(None, None, Some(own), &clock()).unwrap().unwrap();
    let alone = Verifier::new(roots, source, clock());
    alone.verify(&quote).await.unwrap();
    assert_eq!(alone.verify(&evidence(&chip)).await.unwrap_err().code(), "collateral-no-source");
}

#[tokio::test]
async fn a_directory_with_something_else_says_so() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("snp-genoa-vlek.pem"), "no certificates").unwrap();
    fs::write(directory.path().join("snp-genoa-vlek.crl"), "no list").unwrap();
    let source = from_places(None, directory.path().to_str(), None, &clock()).unwrap().unwrap();
    let request = SnpRequest { product: SnpProduct::Genoa, endorser: Endorser::Vlek };
    assert_eq!(source.collateral(&request.into()).await.unwrap_err().code(), "collateral-malformed");
}

#[tokio::test]
async fn nowhere_to_get_it_from_is_said() {
    assert!(from_places(None, Some(" "), None, &clock()).unwrap().is_none());
    assert_eq!(from_places(None, Some("ftp://host"), None, &clock()).err().unwrap().code(), "collateral-url");
    // A service that is down.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let platform = SnpPlatform::ephemeral(SnpProduct::Milan, Endorser::Vcek).unwrap();
    let source = from_places(None, Some(&url), None, &clock()).unwrap().unwrap();
    let attester = Endorsed::new(guest_without_certificates(&platform), Arc::clone(&source));
    let error = attester.evidence(REPORT_DATA).await.unwrap_err();
    assert!(error.to_string().contains("VCEK certificate, which the host did not give"), "{error}");
    let verifier = Verifier::new(vec![platform.trust_root().unwrap()], source, clock());
    let error = verifier.verify(&evidence(&platform)).await.unwrap_err();
    assert_eq!(error.code(), "collateral-unreachable", "{error}");
    assert!(error.retry());
}

/// A list from before a revocation, still valid, never takes the place of the one after
/// it: a source that serves it could undo revocations.
#[tokio::test(start_paused = true)]
async fn an_older_crl_does_not_undo_a_revocation() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let start = SystemClock.now();
    let clock = Arc::new(FixedClock::new(start));
    let at = |days: u32| start.plus(DAY * days);
    let platform = SnpPlatform::ephemeral(SnpProduct::Milan, Endorser::Vcek).unwrap();
    let cached = Arc::new(CachedSource::new(Arc::clone(&platform), clock.clone()));
    let verifier = Verifier::new(vec![platform.trust_root().unwrap()], cached, clock.clone());
    let evidence = evidence(&platform);
    // Twice, since what is a day old is served while it is fetched again.
    let verified = async || {
        let _ = verifier.verify(&evidence).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        verifier.verify(&evidence).await.map(drop).map_err(|error| error.code())
    };
    platform.publish_crl((start, at(60)), false).unwrap();
    let before = platform.published();
    assert_eq!(verified().await, Ok(()));

    platform.publish_crl((at(1), at(61)), true).unwrap();
    clock.set(at(2));
    assert_eq!(verified().await, Err("platform-revoked"));

    platform.publish(before);
    for days in [4, 8, 50] {
        clock.set(at(days));
        assert_eq!(verified().await, Err("platform-revoked"), "after {days} days");
    }
}

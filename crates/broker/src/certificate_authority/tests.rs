use adytum_evidence::measurement::Sha256Digest;
use adytum_governance::manifest::{
    Contents,
    certificate::{CertificateRule, CertificateUsage, SslConfigRule},
    duration::WrittenDuration,
};
use proptest::prelude::*;
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, PublicKeyData as _, SanType};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
};

use super::*;

const NOW: UnixSeconds = UnixSeconds(1_790_000_000);

fn genesis() -> GenesisDigest {
    GenesisDigest(Sha256Digest([7; 32]))
}

fn authority() -> CertificateAuthority {
    CertificateAuthority::found(genesis(), NOW).unwrap()
}

fn rule() -> CertificateRule {
    CertificateRule {
        dns_names: vec!["tf-demo-svc".parse().unwrap(), "*.demo.svc".parse().unwrap()],
        ip_addresses: vec!["127.0.0.1".parse().unwrap()],
        usages: vec![CertificateUsage::Server],
        lifetime: WrittenDuration::from_seconds(3600),
    }
}

fn request(parameters: &CertificateParams, key: &KeyPair) -> Vec<u8> {
    parameters.serialize_request(key).unwrap().der().to_vec()
}

fn plain(key: &KeyPair) -> RequestedKey {
    RequestedKey::parse(&request(&CertificateParams::default(), key)).unwrap()
}

/// The certificates of a chain or bundle, in DER.
fn ders(pem: &str) -> Vec<Vec<u8>> {
    pem::parse_many(pem).unwrap().into_iter().map(pem::Pem::into_contents).collect()
}

fn read(der: &[u8]) -> X509Certificate<'_> {
    x509_parser::parse_x509_certificate(der).unwrap().1
}

/// What a TLS client that trusts these roots says of this chain.
fn verify(roots: &str, chain: &str, name: &str, at: UnixSeconds) -> Result<(), String> {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut store = rustls::RootCertStore::empty();
    ders(roots).into_iter().for_each(|root| store.add(root.into()).unwrap());
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(store.into(), provider);
    let verifier = verifier.build().unwrap();
    let chain: Vec<rustls::pki_types::CertificateDer<'_>> = ders(chain).into_iter().map(Into::into).collect();
    let (leaf, between) = chain.split_first().unwrap();
    let now = rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(at.0));
    let name = rustls::pki_types::ServerName::try_from(name).unwrap();
    rustls::client::danger::ServerCertVerifier::verify_server_cert(&*verifier, leaf, between, &name, &[], now)
        .map(drop)
        .map_err(|error| error.to_string())
}

#[test]
fn what_is_issued_is_what_the_manifest_says_and_clients_accept_it() {
    let authority = authority();
    let key = KeyPair::generate().unwrap();
    let issued = authority.issue(&rule(), &plain(&key), NOW).unwrap();
    assert_eq!(issued.not_after, UnixSeconds(NOW.0 + 3600));
    let roots = authority.bundle(NOW);
    for name in ["tf-demo-svc", "0.demo.svc", "127.0.0.1"] {
        verify(&roots, &issued.chain, name, NOW).unwrap();
    }
    for name in ["localhost", "demo.svc", "127.0.0.2"] {
        verify(&roots, &issued.chain, name, NOW).unwrap_err();
    }
    verify(&roots, &issued.chain, "tf-demo-svc", UnixSeconds(NOW.0 - 200)).unwrap();
    verify(&roots, &issued.chain, "tf-demo-svc", UnixSeconds(NOW.0 - 400)).unwrap_err();
    verify(&roots, &issued.chain, "tf-demo-svc", UnixSeconds(NOW.0 + 3601)).unwrap_err();
    verify(&self::authority().bundle(NOW), &issued.chain, "tf-demo-svc", NOW).unwrap_err();

    let ders = ders(&issued.chain);
    let [leaf] = ders.as_slice() else { panic!("the authority itself does not belong to the chain") };
    let leaf = read(leaf);
    assert_eq!(leaf.public_key().subject_public_key.data, key.der_bytes());
    assert!(!leaf.is_ca());
    let usage = leaf.key_usage().unwrap().unwrap().value;
    assert_eq!(usage.flags, 1, "digital signature only");
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && !extended.client_auth && !extended.any);
    assert!(
        leaf.extensions().iter().any(|extension| matches!(
            extension.parsed_extension(),
            ParsedExtension::AuthorityKeyIdentifier(_)
        ))
    );
    assert_eq!(leaf.raw_serial().len(), 16);
    assert_eq!(hex::encode(leaf.raw_serial()), issued.serial);
    let again = authority.issue(&rule(), &plain(&key), NOW).unwrap();
    assert_ne!(again.serial, issued.serial);

    let client = CertificateRule { usages: vec![CertificateUsage::Client], ..rule() };
    let client = authority.issue(&client, &plain(&key), NOW).unwrap();
    let error = verify(&roots, &client.chain, "tf-demo-svc", NOW).unwrap_err();
    assert!(error.contains("usage"), "{error}");
}

#[test]
fn nothing_that_a_request_asks_for_gets_into_the_certificate() {
    let authority = authority();
    let key = KeyPair::generate().unwrap();
    let mut greedy = CertificateParams::new(vec!["bank.example".to_owned(), "10.0.0.1".to_owned()]).unwrap();
    greedy.distinguished_name.push(DnType::CommonName, "bank.example");
    greedy.subject_alt_names.push(SanType::Rfc822Name("root@bank.example".try_into().unwrap()));
    greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    greedy.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any, ExtendedKeyUsagePurpose::CodeSigning];
    greedy.custom_extensions =
        vec![rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0])];
    let asked = RequestedKey::parse(&request(&greedy, &key)).unwrap();
    assert_eq!(asked, plain(&key), "only the key is taken");
    let issued = authority.issue(&rule(), &asked, NOW).unwrap();
    let der = ders(&issued.chain).remove(0);
    let leaf = read(&der);
    assert!(!leaf.is_ca());
    assert_eq!(leaf.subject().iter_common_name().next().unwrap().as_str().unwrap(), "tf-demo-svc");
    let names = &leaf.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert_eq!(
        names.as_slice(),
        [
            GeneralName::DNSName("tf-demo-svc"),
            GeneralName::DNSName("*.demo.svc"),
            GeneralName::IPAddress(&[127, 0, 0, 1])
        ]
    );
    assert!(!leaf.key_usage().unwrap().unwrap().value.key_cert_sign());
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(!extended.any && !extended.code_signing && extended.other.is_empty());
    assert!(!issued.chain.contains("bank") && !String::from_utf8_lossy(&der).contains("bank.example"));
    assert!(leaf.extensions().iter().all(|one| !one.oid.to_id_string().contains("99999")));

    // Its holder can certify nobody: clients refuse what it signs.
    let mut parameters = CertificateParams::new(vec!["bank.example".to_owned()]).unwrap();
    parameters.not_before = date(UnixSeconds(NOW.0 - 60));
    parameters.not_after = date(UnixSeconds(NOW.0 + 60));
    let mut pretender = CertificateParams::default();
    pretender.distinguished_name = DistinguishedName::new();
    pretender.distinguished_name.push(DnType::CommonName, "tf-demo-svc");
    let victim = KeyPair::generate().unwrap();
    let forged = parameters.signed_by(&victim, &Issuer::new(pretender, &key)).unwrap().pem();
    let error = verify(&authority.bundle(NOW), &format!("{forged}{}", issued.chain), "bank.example", NOW);
    assert!(error.is_err());
}

#[test]
fn requests_are_for_one_good_key_and_signed_with_it() {
    let parse = |der: &[u8]| RequestedKey::parse(der).map_err(|error| error.code());
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let requested = parse(&request(&CertificateParams::default(), &key)).unwrap();
        assert_eq!(requested.der_bytes(), key.der_bytes());
        let issued = authority();
        let issued = (issued.bundle(NOW), issued.issue(&rule(), &requested, NOW).unwrap());
        verify(&issued.0, &issued.1.chain, "tf-demo-svc", NOW).unwrap();
    }
    let p521 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
    let p521 = request(&CertificateParams::default(), &p521);
    assert_eq!(parse(&p521), Err("certificate-request-key-unsupported"));

    let key = KeyPair::generate().unwrap();
    let good = request(&CertificateParams::default(), &key);
    assert_eq!(parse(b""), Err("certificate-request-malformed"));
    assert_eq!(parse(&[good.as_slice(), b"x"].concat()), Err("certificate-request-malformed"));
    assert_eq!(parse(&vec![0; MAXIMUM_REQUEST_LENGTH + 1]), Err("certificate-request-too-long"));
    // Somebody else's public key in the place of one's own.
    let other = KeyPair::generate().unwrap();
    let at = good.windows(65).position(|window| window == key.der_bytes()).unwrap();
    let mut stolen = good.clone();
    stolen[at..at + 65].copy_from_slice(other.der_bytes());
    assert_eq!(parse(&stolen), Err("certificate-request-signature"));
    // A certificate is no request.
    assert_eq!(parse(&authority().certificate.der), Err("certificate-request-malformed"));
}

#[test]
fn an_authority_survives_its_record_and_prints_no_key() {
    let authority = authority();
    let kept = authority.encode().unwrap();
    let again = CertificateAuthority::decode(&kept).unwrap();
    assert_eq!(again.id(), authority.id());
    let key = KeyPair::generate().unwrap();
    let issued = again.issue(&rule(), &plain(&key), NOW).unwrap();
    verify(&authority.bundle(NOW), &issued.chain, "tf-demo-svc", NOW).unwrap();
    assert!(!format!("{authority:?}").contains("key"));

    let twice = authority.rotated(genesis(), NOW).unwrap().rotated(genesis(), NOW).unwrap();
    let again = CertificateAuthority::decode(&twice.encode().unwrap()).unwrap();
    assert_eq!(again.bundle(NOW), twice.bundle(NOW));
    assert_eq!(ders(&again.bundle(NOW)).len(), 3);

    for bytes in [&b""[..], b"\xff", &kept[..kept.len() / 2]] {
        assert_eq!(CertificateAuthority::decode(bytes).unwrap_err().code(), "certificate-authority-record");
    }
}

#[test]
fn after_a_rotation_clients_of_the_former_authority_and_of_the_new_one_are_content() {
    let first = authority();
    let second = first.rotated(genesis(), NOW).unwrap();
    assert_ne!(first.id(), second.id());
    let key = plain(&KeyPair::generate().unwrap());
    let issued = second.issue(&rule(), &key, NOW).unwrap();
    for roots in [first.bundle(NOW), second.bundle(NOW), second.certificate.pem()] {
        verify(&roots, &issued.chain, "tf-demo-svc", NOW).unwrap();
    }
    // The previous one goes when it has expired, and so does its certificate for the new one.
    let expired = UnixSeconds(first.certificate.not_after.0 + 1);
    assert_eq!(ders(&second.bundle(NOW)).len(), 2);
    let late = CertificateAuthority::found(genesis(), NOW).unwrap();
    let late = late.rotated(genesis(), UnixSeconds(expired.0 - 86_400 * 30)).unwrap();
    let issued = late.issue(&rule(), &key, expired).unwrap();
    assert_eq!((ders(&late.bundle(expired)).len(), ders(&issued.chain).len()), (1, 1));
    verify(&late.bundle(expired), &issued.chain, "tf-demo-svc", expired).unwrap();
    // However often it is rotated.
    let many = (0..12).fold(first, |authority, _| authority.rotated(genesis(), NOW).unwrap());
    assert_eq!(ders(&many.bundle(NOW)).len(), 1 + MAXIMUM_FORMER);
}

#[test]
fn no_certificate_outlives_its_authority() {
    let authority = authority();
    let end = authority.certificate.not_after;
    let key = plain(&KeyPair::generate().unwrap());
    let issued = authority.issue(&rule(), &key, UnixSeconds(end.0 - 60)).unwrap();
    assert_eq!(issued.not_after, end);
    let error = authority.issue(&rule(), &key, end).unwrap_err();
    assert_eq!(error.code(), "certificate-authority-expired");
}

#[test]
fn other_terms_have_another_digest() {
    let authority = authority();
    let terms = |rule: &CertificateRule| {
        let tls = authority.terms(&Contents::TlsCertificate(rule.clone()), rule);
        let ssl = |verify, ca: Option<&str>| {
            let ssl = SslConfigRule { client_verify: verify, custom_ca: ca.map(str::to_owned) };
            authority.terms(&Contents::SslConfig(rule.clone(), ssl), rule)
        };
        [tls, ssl(false, None), ssl(true, None), ssl(true, Some("ca"))]
    };
    let base = rule();
    let moved = CertificateRule {
        dns_names: base.dns_names[..1].to_vec(),
        ip_addresses: vec!["127.0.0.2".parse().unwrap()],
        ..base.clone()
    };
    let longer = CertificateRule { lifetime: WrittenDuration::from_seconds(7200), ..base.clone() };
    let both =
        CertificateRule { usages: vec![CertificateUsage::Server, CertificateUsage::Client], ..base.clone() };
    let all: Vec<_> = [&base, &moved, &longer, &both].into_iter().flat_map(terms).collect();
    let distinct: std::collections::BTreeSet<_> = all.iter().map(|digest| digest.0).collect();
    assert_eq!(distinct.len(), all.len());
    assert_eq!(terms(&base), terms(&base.clone()));
    let other = self::authority();
    assert_ne!(other.terms(&Contents::TlsCertificate(base.clone()), &base), terms(&base)[0]);
}

/// What OpenSSL says, by its strict rules (Python's default), or `None` where it is not
/// installed.
fn openssl_verifies(roots: &str, chain: &str, name: &str) -> Option<Result<(), String>> {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let output = std::process::Command::new("openssl")
        .args(["verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", name])
        .args(["-attime", &NOW.0.to_string(), "-CAfile"])
        .arg(file("roots.pem", roots))
        .arg("-untrusted")
        .arg(file("chain.pem", chain))
        .arg(file("leaf.pem", chain))
        .output();
    match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        output => {
            let output = output.unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            Some(if output.status.success() { Ok(()) } else { Err(said) })
        }
    }
}

#[test]
fn openssl_accepts_what_is_issued_by_its_strict_rules() {
    let first = authority();
    let second = first.rotated(genesis(), NOW).unwrap();
    let key = plain(&KeyPair::generate().unwrap());
    let issued = first.issue(&rule(), &key, NOW).unwrap();
    let Some(accepted) = openssl_verifies(&first.bundle(NOW), &issued.chain, "tf-demo-svc") else {
        println!("SKIPPED: openssl is not installed");
        return;
    };
    accepted.unwrap();
    let verify = |roots: &str, chain: &str, name: &str| openssl_verifies(roots, chain, name).unwrap();
    verify(&first.bundle(NOW), &issued.chain, "localhost").unwrap_err();
    verify(&second.certificate.pem(), &issued.chain, "tf-demo-svc").unwrap_err();
    let issued = second.issue(&rule(), &key, NOW).unwrap();
    for roots in [first.bundle(NOW), second.bundle(NOW), second.certificate.pem()] {
        verify(&roots, &issued.chain, "tf-demo-svc").unwrap();
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_request_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = RequestedKey::parse(&bytes);
        let _ = CertificateAuthority::decode(&bytes);
    }

    #[test]
    fn any_flip_in_a_request_is_noticed_or_changes_nothing(at in 0usize..400, mask in 1u8..) {
        let key = KeyPair::generate().unwrap();
        let good = request(&CertificateParams::default(), &key);
        let mut changed = good.clone();
        let at = at % changed.len();
        changed[at] ^= mask;
        if let Ok(requested) = RequestedKey::parse(&changed) {
            prop_assert_eq!(requested.der_bytes(), key.der_bytes());
        }
    }
}

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, string::Ia5String};

use super::*;

/// Everything here happens at this moment.
const NOW: i64 = 1_750_000_000;
const DAY: i64 = 86_400;

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(NOW as u64))
}

fn parameters(names: &[&str]) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.subject_alt_names = names
        .iter()
        .map(|name| match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(Ia5String::try_from(*name).unwrap()),
        })
        .collect();
    valid_for(&mut parameters, -DAY, DAY);
    parameters
}

fn valid_for(parameters: &mut CertificateParams, from: i64, until: i64) {
    let at = |offset: i64| {
        let days = (NOW + offset).div_euclid(DAY);
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs((days * DAY) as u64)
    };
    parameters.not_before = at(from);
    parameters.not_after = at(until);
}

fn self_signed(parameters: &CertificateParams) -> rcgen::Certificate {
    parameters.self_signed(&KeyPair::generate().unwrap()).unwrap()
}

fn trusting(certificate: &rcgen::Certificate) -> TrustedCertificates {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    TrustedCertificates::parse(certificate.pem().as_bytes(), &provider).unwrap()
}

fn judge(trusted: &TrustedCertificates, shown: &CertificateDer<'_>, name: &str) -> Result<(), TrustError> {
    trusted.verify(shown, &[], &ServerName::try_from(name.to_owned()).unwrap(), now())
}

#[test]
fn exactly_the_given_certificate_is_trusted() {
    let certificate = self_signed(&parameters(&["localhost", "127.0.0.1"]));
    let trusted = trusting(&certificate);
    judge(&trusted, certificate.der(), "localhost").unwrap();
    judge(&trusted, certificate.der(), "127.0.0.1").unwrap();

    // Of the same names, by another key.
    let impostor = self_signed(&parameters(&["localhost", "127.0.0.1"]));
    let error = judge(&trusted, impostor.der(), "localhost").unwrap_err();
    assert_eq!(error.code(), "certificate-not-trusted");
    assert!(error.to_string().contains(&hex::encode(Sha256::digest(impostor.der()))), "{error}");
}

#[test]
fn the_name_must_be_the_servers() {
    let certificate = self_signed(&parameters(&["tf-demo-svc"]));
    let error = judge(&trusting(&certificate), certificate.der(), "localhost").unwrap_err();
    assert_eq!(error.code(), "certificate-wrong-name");
    assert!(error.to_string().contains("for tf-demo-svc, not for localhost"), "{error}");
}

#[test]
fn the_subject_counts_where_no_other_name_is_given() {
    // What `openssl req -x509 -subj /CN=localhost` makes.
    let mut only_subject = parameters(&[]);
    only_subject.distinguished_name.push(DnType::CommonName, "localhost");
    only_subject.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = self_signed(&only_subject);
    judge(&trusting(&certificate), certificate.der(), "localhost").unwrap();
    let error = judge(&trusting(&certificate), certificate.der(), "elsewhere").unwrap_err();
    assert_eq!(error.code(), "certificate-wrong-name");

    let mut both = parameters(&["tf-demo-svc"]);
    both.distinguished_name.push(DnType::CommonName, "localhost");
    let certificate = self_signed(&both);
    let error = judge(&trusting(&certificate), certificate.der(), "localhost").unwrap_err();
    assert_eq!(error.code(), "certificate-wrong-name");
}

#[test]
fn dates_count_for_the_given_certificate_too() {
    for (from, until, code) in
        [(-3 * DAY, -DAY, "certificate-expired"), (2 * DAY, 3 * DAY, "certificate-not-yet-valid")]
    {
        let mut dated = parameters(&["localhost"]);
        valid_for(&mut dated, from, until);
        let certificate = self_signed(&dated);
        let error = judge(&trusting(&certificate), certificate.der(), "localhost").unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
}

fn signed_by(authority: &CertificateParams, key: &KeyPair, server: &CertificateParams) -> rcgen::Certificate {
    server.signed_by(&KeyPair::generate().unwrap(), &Issuer::from_params(authority, key)).unwrap()
}

#[test]
fn an_authority_may_vouch_and_a_server_may_not() {
    let key = KeyPair::generate().unwrap();
    let mut authority = parameters(&["authority"]);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut server = parameters(&["localhost"]);
    server.use_authority_key_identifier_extension = true;

    let root = authority.self_signed(&key).unwrap();
    let vouched = signed_by(&authority, &key, &server);
    judge(&trusting(&root), vouched.der(), "localhost").unwrap();
    let error = judge(&trusting(&root), vouched.der(), "elsewhere").unwrap_err();
    assert_eq!(error.code(), "certificate-wrong-name");

    // The same signature by a key whose certificate makes it no authority.
    authority.is_ca = IsCa::ExplicitNoCa;
    let leaf = authority.self_signed(&key).unwrap();
    let error = judge(&trusting(&leaf), signed_by(&authority, &key, &server).der(), "localhost").unwrap_err();
    assert_eq!(error.code(), "certificate-not-trusted");
}

#[test]
fn unusable_files_say_why() {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("server.crt");
    let read = || TrustedCertificates::read(&path, &provider).unwrap_err();
    assert_eq!(read().code(), "bad-certificate-file");
    for (content, words) in [
        ("", "found an empty file"),
        ("hello", "found no PEM block"),
        ("-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n", "not base64"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "a PEM block \"PRIVATE KEY\""),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "can't be read"),
    ] {
        std::fs::write(&path, content).unwrap();
        let error = read();
        assert!(error.to_string().contains(words), "{content:?}: {error}");
        assert!(error.to_string().contains("server.crt"), "{error}");
    }
    std::fs::write(&path, vec![b'\n'; (1 << 20) + 1]).unwrap();
    assert!(read().to_string().contains("found more"));
}

#[test]
fn garbage_for_a_certificate_is_an_error() {
    let trusted = trusting(&self_signed(&parameters(&["localhost"])));
    for bytes in [&b""[..], b"\x30\x82", &[0xff; 100]] {
        let error = judge(&trusted, &CertificateDer::from(bytes), "localhost").unwrap_err();
        assert_eq!(error.code(), "certificate-malformed");
    }
}

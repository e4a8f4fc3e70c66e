use super::*;
use crate::{
    configuration::MeasuredConfiguration,
    fixture::{Authority, DIGEST},
};

fn read(tables: &str) -> Result<MeasuredConfiguration, ConfigurationError> {
    MeasuredConfiguration::parse(&format!("format = \"adytum workload v1\"\n{tables}"))
}

fn code(tables: &str) -> &'static str {
    read(tables).unwrap_err().code()
}

fn root() -> String {
    format!("\"\"\"\n{}\"\"\"", Authority::new().pem())
}

const VAULT: &str =
    "[key_vault]\nvault = \"a.vault.azure.net\"\nattestation = \"https://b.attest.azure.net\"\n";

#[test]
fn a_vault_has_names_and_forms_for_the_secrets() {
    let secret = "[[secret]]\nname = \"key\"\nlocation = \"model/12\"\nencoding = \"age-identity\"\n";
    let configuration = read(&format!("{VAULT}{secret}")).unwrap();
    let PinnedSource::KeyVault(vault) = configuration.source() else { panic!() };
    assert_eq!(vault.names["key"].to_string(), "model/12");
    assert_eq!((vault.wrapping, &vault.roots), (KeyWrapping::Sha256, &None));
    assert!(configuration.source().policies().is_empty() && configuration.broker().is_none());
    // All of it is measured.
    for (from, to) in [
        ("a.vault", "c.vault"),
        ("b.attest", "c.attest"),
        ("model/12", "model/13"),
        ("age-identity", "hexadecimal"),
        ("[[secret]]", "wrapping = \"CKM_RSA_AES_KEY_WRAP\"\n[[secret]]"),
    ] {
        let other = read(&format!("{VAULT}{secret}").replace(from, to)).unwrap();
        assert_ne!(other.digest(), configuration.digest(), "{from} -> {to}");
    }
    let by_name = read(&format!("{VAULT}[[secret]]\nname = \"key\"\n")).unwrap();
    let PinnedSource::KeyVault(vault) = by_name.source() else { panic!() };
    assert_eq!(vault.names["key"].to_string(), "key");
    for wrong in [
        secret.replace("model/12", "model/../12"),
        secret.replace("age-identity", "base64"),
        format!("roots = \"none\"\n{secret}"),
    ] {
        assert_eq!(code(&format!("{VAULT}{wrong}")), "configuration-invalid", "{wrong}");
    }
    assert_eq!(code(&VAULT.replace("a.vault", "https://a.vault")), "configuration-malformed");
}

#[test]
fn a_broker_may_be_shown_tokens_of_a_service_that_is_measured() {
    let broker = format!(
        "[broker]\ngenesis = \"{DIGEST}\"\n[broker.policy]\nvendors = [\"intel\"]\ntee = [\"sgx\"]\nmr_enclave = \
         [\"{DIGEST}\"]\n"
    );
    let service = "[broker.azure_attestation]\nservice = \"https://a.weu.attest.azure.net\"\n";
    let (without, with) = (read(&broker).unwrap(), read(&format!("{broker}{service}")).unwrap());
    assert!(without.broker().unwrap().azure_attestation.is_none());
    assert!(!String::from_utf8(without.canonical()).unwrap().contains("azure"));
    let pinned = with.broker().unwrap().azure_attestation.clone().unwrap();
    assert_eq!((pinned.service.as_str(), pinned.roots), ("https://a.weu.attest.azure.net", None));
    for changed in [service.replace("//a.", "//b."), format!("{service}roots = {}\n", root())] {
        assert_ne!(read(&format!("{broker}{changed}")).unwrap().digest(), with.digest(), "{changed}");
    }
    for wrong in [service.replace("https", "http"), format!("{service}roots = \"none\"\n")] {
        assert_eq!(code(&format!("{broker}{wrong}")), "configuration-invalid", "{wrong}");
    }
    assert_eq!(code(&format!("{broker}[broker.azure_attestation]\n")), "configuration-malformed");
}

#[test]
fn a_kbs_is_one_by_its_certificate() {
    let table = format!("[kbs]\nurl = \"https://kbs.example\"\nroots = {}\n", root());
    let secret = "[[secret]]\nname = \"key\"\nlocation = \"key/model\"\n";
    let configuration = read(&format!("{table}{secret}")).unwrap();
    let PinnedSource::Kbs(kbs) = configuration.source() else { panic!() };
    assert_eq!(kbs.names["key"].to_string(), "default/key/model");
    for wrong in [
        format!("{}{secret}", table.replace("https", "http")),
        format!("{table}{}", secret.replace("location = \"key/model\"\n", "")),
        format!("{table}{secret}encoding = \"base64\"\n"),
        "[kbs]\nurl = \"https://kbs.example\"\nroots = \"\"\n".to_owned(),
    ] {
        assert_eq!(code(&wrong), "configuration-invalid", "{wrong}");
    }
    assert_eq!(code("[kbs]\nurl = \"https://kbs.example\"\n"), "configuration-malformed");
    assert_eq!(code(&format!("{VAULT}{table}")), "configuration-sources");
}

#[test]
fn a_lease_is_for_sources_that_lend_nothing() {
    let secret = "[[secret]]\nname = \"key\"\n";
    let lease = "[lease]\nduration = \"1h\"\ngrace = \"10m\"\n";
    let (without, with) =
        (read(&format!("{VAULT}{secret}")).unwrap(), read(&format!("{VAULT}{secret}{lease}")).unwrap());
    assert_eq!((without.lease(), with.lease().unwrap().grace.seconds()), (None, 600));
    assert!(!String::from_utf8(without.canonical()).unwrap().contains("lease"));
    let other = read(&format!("{VAULT}{secret}{}", lease.replace("1h", "2h"))).unwrap();
    assert_ne!(other.digest(), with.digest());
    let policy = format!("vendors = [\"intel\"]\ntee = [\"sgx\"]\nmr_enclave = [\"{DIGEST}\"]\n");
    assert!(read(&format!("[aecs.policy]\n{policy}{lease}")).is_ok());
    for wrong in [
        format!("[broker]\ngenesis = \"{DIGEST}\"\n[broker.policy]\n{policy}{lease}"),
        format!("[azure_attestation]\n{lease}"),
        format!("{VAULT}{}", lease.replace("1h", "9s")),
    ] {
        assert_eq!(code(&wrong), "configuration-invalid", "{wrong}");
    }
}

#[test]
fn only_a_workload_without_secrets_does_without_a_source() {
    let token = "[azure_attestation]\nreport_data = \"ZXhhbXBsZQ==\"\n";
    let configuration = read(token).unwrap();
    assert!(matches!(configuration.source(), PinnedSource::Nothing(_)));
    let wanted = configuration.attestation_token().unwrap();
    assert_eq!((wanted.directory.as_str(), wanted.report_data.as_slice()), ("/root", &b"example"[..]));
    let canonical = String::from_utf8(configuration.canonical()).unwrap();
    assert!(canonical.contains("\"nothing\":{}"), "{canonical}");
    assert_eq!(code(&format!("{token}[[secret]]\nname = \"key\"\n")), "configuration-sources");
    assert_eq!(code("[[secret]]\nname = \"key\"\n"), "configuration-sources");
    assert_eq!(code(&token.replace("ZX", "?")), "configuration-invalid");
    assert_eq!(code(&format!("{token}api_version = \"2022\"\n")), "configuration-invalid");
    let policy = format!("vendors = [\"intel\"]\ntee = [\"sgx\"]\nmr_enclave = [\"{DIGEST}\"]\n");
    assert!(read(&format!("[aecs.policy]\n{policy}{token}")).is_ok(), "besides a source, too");
}

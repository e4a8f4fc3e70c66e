//! Manifests that are admitted, and those that are not.

mod fields;

use adytum_signing::OwnerSigningKey;
use adytum_testkit::owners::owner as key;
use proptest::prelude::*;

use super::{document::Document, *};
use crate::{genesis::Genesis, rules::admit};

/// A manifest with one of each. Lines count from 1; `[trust]` is line 5.
fn text(genesis: GenesisDigest, version: u64) -> String {
    format!(
        r#"format = "adytum manifest v1"
genesis = "{genesis}"
version = {version}

[trust]
vendors = ["intel"]

[[workload]]
name = "serving"
models = ["resnet"]
[workload.policy]
vendors = ["intel"]
tee = ["sgx"]
mr_enclave = ["{enclave}"]

[[secret]]
name = "model_key"
kind = "age-identity"
workloads = ["serving"]

[[secret]]
name = "ssl_config"
kind = "opaque"
workloads = ["serving"]

[[model]]
name = "resnet"
minimum_version = 3
digests = ["{digest}"]
"#,
        enclave = "aa".repeat(32),
        digest = "cd".repeat(32),
    )
}

fn sample() -> String {
    text(Genesis::create([key().public_key()], 1).unwrap().digest(), 1)
}

fn error(text: &str) -> ManifestError {
    Manifest::parse(text).expect_err(text)
}

#[test]
fn a_manifest_is_read_and_written() {
    let manifest = Manifest::parse(&sample()).unwrap();
    assert_eq!(manifest.version, 1);
    assert_eq!(manifest.secrets.len(), 2);
    let rule = &manifest.secrets["model_key"];
    assert_eq!(rule.kind(), SecretKind::AgeIdentity);
    assert_eq!(rule.workloads.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["serving"]);
    assert_eq!(manifest.models["resnet"].minimum_version, 3);

    let document: Document = toml::from_str(&sample()).unwrap();
    let written = document.to_toml().unwrap();
    assert_eq!(toml::from_str::<Document>(&written).unwrap(), document, "{written}");
    Manifest::parse(&written).unwrap();
}

#[test]
fn what_does_not_hold_together_is_refused_and_located() {
    let sample = sample();
    let again = |from: &str, to: &str| {
        let tail = &sample[sample.find(from).unwrap()..];
        format!("{sample}\n{}", &tail[..tail[1..].find(to).map_or(tail.len(), |end| end + 1)])
    };
    for (text, code, says) in [
        (again("[[secret]]", "[[secret]]"), "manifest-duplicate", "line 31: secret \"model_key\""),
        (again("[[workload]]", "[[secret]]"), "manifest-duplicate", "line 31: workload \"serving\""),
        (again("[[model]]", "[[never"), "manifest-duplicate", "line 31: model \"resnet\""),
        (
            sample.replace("workloads = [\"serving\"]", "workloads = [\"serving\", \"serving\"]"),
            "manifest-duplicate",
            "line 16: secret \"model_key\", field `workloads`: \"serving\" is there twice; remove one of the two",
        ),
        (
            sample.replace("workloads = [\"serving\"]", "workloads = [\"servign\"]"),
            "manifest-dangling-name",
            "line 16: secret \"model_key\", field `workloads`: there is no [[workload]] named \"servign\"",
        ),
        (
            sample.replace("models = [\"resnet\"]", "models = [\"resent\"]"),
            "manifest-dangling-name",
            "line 8: workload \"serving\", field `models`: there is no [[model]] named \"resent\"",
        ),
        (
            sample.replace("workloads = [\"serving\"]", "workloads = []"),
            "manifest-without-effect",
            "line 16: secret \"model_key\", field `workloads`: nobody",
        ),
        (
            sample.replace("models = [\"resnet\"]", "models = []"),
            "manifest-without-effect",
            "line 26: model \"resnet\"",
        ),
        (
            sample.replace(&format!("digests = [\"{}\"]", "cd".repeat(32)), ""),
            "manifest-without-effect",
            "line 26: model \"resnet\", field `signers`",
        ),
        (
            sample.replacen("vendors = [\"intel\"]", "vendors = []", 1),
            "manifest-without-effect",
            "line 5: [trust], field `vendors`",
        ),
        (
            sample.replacen("vendors = [\"intel\"]", "vendors = [\"amd\"]", 1),
            "manifest-dangling-name",
            "line 8: workload \"serving\", field `policy.vendors`",
        ),
        (
            sample.replacen("vendors = [\"intel\"]", "vendors = [\"intel\", \"simulation\"]", 1),
            "manifest-root",
            "line 5: [trust], field `simulation_roots`",
        ),
        (
            sample.replacen("vendors = [\"intel\"]", "vendors = [\"intel\"]\nsimulation_roots = [\"x\"]", 1),
            "manifest-root",
            "does not name simulation",
        ),
        (
            sample.replacen(
                "vendors = [\"intel\"]",
                "vendors = [\"intel\", \"simulation\"]\nsimulation_roots = [\"x\"]",
                1,
            ),
            "manifest-root",
            "PEM",
        ),
        (sample.replace("version = 1", "version = 0"), "manifest-version-zero", "0"),
        (sample.replace("manifest v1", "manifest v2"), "manifest-format", "manifest v2"),
        (sample.replace("kind = ", "knid = "), "manifest-syntax", "line 18"),
        (sample.replace("\"opaque\"", "\"opqaue\""), "manifest-syntax", "line 23"),
        (sample.replace("mr_enclave = ", "#"), "manifest-syntax", "line"),
        (sample.replace("[trust]\nvendors = [\"intel\"]", ""), "manifest-syntax", "trust"),
        (sample.replace("name = \"serving\"", "name = \"../x\""), "manifest-syntax", "line 9"),
        (sample.replace("minimum_version = 3", "minimum_version = -3"), "manifest-syntax", "line"),
        (" ".repeat(MAXIMUM_LENGTH + 1), "manifest-too-long", "2097153"),
    ] {
        let error = error(&text);
        assert_eq!(error.code(), code, "{error}\n{text}");
        assert!(error.to_string().contains(says), "{error}\nexpected: {says}\n{text}");
    }
}

#[test]
fn the_owners_signatures_over_genesis_version_and_text_admit_it() {
    let (a, b, thief) = (key(), key(), key());
    let genesis = Genesis::create([a.public_key(), b.public_key()], 2).unwrap();
    let other = Genesis::create([a.public_key(), b.public_key()], 2).unwrap();
    let signed = |genesis: &Genesis, version, keys: &[&OwnerSigningKey]| {
        let mut signed = SignedManifest::unsigned(text(genesis.digest(), version));
        keys.iter().for_each(|key| signed.sign(key).unwrap());
        signed
    };
    let code = |current, signed| {
        admit(&genesis, genesis.first_owners(), current, signed).map(|_| ()).map_err(|error| error.code())
    };
    let good = signed(&genesis, 5, &[&a, &b]);
    assert_eq!(code(0, good.clone()), Ok(()));
    assert_eq!(code(4, good.clone()), Ok(()));
    assert_eq!(code(5, good.clone()), Err("manifest-replayed"));
    assert_eq!(code(6, good.clone()), Err("manifest-older"));
    assert_eq!(code(0, signed(&other, 5, &[&a, &b])), Err("manifest-other-genesis"));
    assert_eq!(code(0, signed(&genesis, 5, &[])), Err("signature-missing"));
    assert_eq!(code(0, signed(&genesis, 5, &[&a])), Err("signatures-below-threshold"));
    assert_eq!(code(0, signed(&genesis, 5, &[&a, &thief])), Err("signature-by-stranger"));
    let mut twice = signed(&genesis, 5, &[&a]);
    twice.approvals.push(twice.approvals[0]);
    assert_eq!(code(0, twice), Err("signature-by-same-owner-twice"));
    // A changed comment, and another version under the same signatures.
    let commented = SignedManifest { text: format!("{}# hello\n", good.text), ..good.clone() };
    assert_eq!(code(0, commented), Err("signature-invalid"));
    let raised = SignedManifest { text: good.text.replace("version = 5", "version = 9"), ..good.clone() };
    assert_eq!(code(0, raised), Err("signature-invalid"));
    // Signed for another broker of the same owners, the genesis rewritten.
    let moved =
        SignedManifest { text: text(genesis.digest(), 5), approvals: signed(&other, 5, &[&a, &b]).approvals };
    assert_eq!(code(0, moved), Err("signature-invalid"));
}

#[test]
fn signatures_have_a_file_of_their_own() {
    let mut signed = SignedManifest::unsigned(sample());
    let owner = key();
    signed.sign(&owner).unwrap();
    signed.sign(&key()).unwrap();
    let file = signed.signatures_to_text();
    assert_eq!(SignedManifest::from_texts(&signed.text, &file).unwrap(), signed);
    signed.sign(&owner).unwrap();
    assert_eq!(signed.approvals.len(), 2, "signing again replaces the former signature");

    let line = file.lines().nth(1).unwrap();
    for (file, code) in [
        (String::new(), "signatures-format"),
        (file.replace("v1", "v2"), "signatures-format"),
        (format!("{file}hello\n"), "signatures-line"),
        (format!("{file}{}\n", &line[..line.len() - 2]), "signatures-line"),
        (format!("{file}{}", format!("{line}\n").repeat(63)), "signature-too-many"),
    ] {
        assert_eq!(SignedManifest::from_texts("", &file).unwrap_err().code(), code);
    }
}

#[cfg(feature = "simulation")]
#[test]
fn only_a_simulated_platforms_root_is_taken_as_one() {
    let platform = adytum_sim::Platform::ephemeral().unwrap();
    let with_root = |pem: &str| {
        sample().replacen(
            "vendors = [\"intel\"]",
            &format!("vendors = [\"intel\", \"simulation\"]\nsimulation_roots = [\"\"\"\n{pem}\"\"\"]"),
            1,
        )
    };
    let manifest = Manifest::parse(&with_root(platform.root_certificate_pem())).unwrap();
    let roots = crate::trust::roots(&manifest.trust).unwrap();
    assert_eq!(roots.len(), 2);
    assert!(roots.contains(&platform.trust_root().unwrap()));
    // Intel's own root is no simulated platform's.
    let intel = adytum_evidence::verifier::TrustRoot::intel();
    let pem = pem::encode(&pem::Pem::new("CERTIFICATE", intel.certificate_der().unwrap()));
    assert_eq!(error(&with_root(&pem)).code(), "manifest-root");
}

#[cfg(not(feature = "simulation"))]
#[test]
fn a_production_build_follows_no_manifest_that_names_simulation() {
    let owner = key();
    let genesis = Genesis::create([owner.public_key()], 1).unwrap();
    let pem = pem::encode(&pem::Pem::new("CERTIFICATE", &b"any"[..]));
    let text = text(genesis.digest(), 1).replacen(
        "vendors = [\"intel\"]",
        &format!("vendors = [\"intel\", \"simulation\"]\nsimulation_roots = [\"\"\"\n{pem}\"\"\"]"),
        1,
    );
    let mut signed = SignedManifest::unsigned(text);
    signed.sign(&owner).unwrap();
    let error = admit(&genesis, genesis.first_owners(), 0, signed).unwrap_err();
    assert_eq!(error.code(), "manifest-names-simulation");
}

#[test]
fn a_service_of_azure_is_named_with_its_keys() {
    let sample = sample();
    let jwk = |kid: &str| {
        let modulus = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, [0xff; 256]);
        format!(r#"{{"kty":"RSA","kid":"{kid}","n":"{modulus}","e":"AQAB"}}"#)
    };
    let keys = format!(r#"{{"keys":[{},{}]}}"#, jwk("a"), jwk("b"));
    let table =
        |issuer: &str, keys: &str| format!("[[trust.azure]]\nissuer = \"{issuer}\"\nkeys = '{keys}'\n");
    let with = |vendors: &str, tables: &str| {
        sample.replacen("vendors = [\"intel\"]\n", &format!("vendors = [{vendors}]\n{tables}"), 1)
    };
    let issuer = "https://sharedweu.weu.attest.azure.net";
    let sound = with("\"intel\", \"azure\"", &table(issuer, &keys));
    let manifest = Manifest::parse(&sound).unwrap();
    assert_eq!(manifest.trust.azure[0].trust.issuer, issuer);
    // A root for each key that is another one.
    let roots = crate::trust::roots(&manifest.trust).unwrap();
    assert!(roots.iter().any(|root| root.vendor() == Vendor::Azure), "{roots:?}");
    let document: Document = toml::from_str(&sound).unwrap();
    assert_eq!(toml::from_str::<Document>(&document.to_toml().unwrap()).unwrap(), document);
    let azure = "\"azure\"";
    for wrong in [
        with(azure, ""),
        with("\"intel\"", &table(issuer, &keys)),
        with(azure, &table(issuer, &keys).repeat(2)),
        with(azure, &table("sharedweu.weu.attest.azure.net", &keys)),
        with(azure, &table("https://sharedweu.weu.attest.azure.net/", &keys)),
        with(azure, &table(issuer, "")),
        with(azure, &table(issuer, r#"{"keys":[{"kty":"oct","kid":"a","k":"AAAA"}]}"#)),
        with(azure, &table(issuer, &keys.replace("\"b\"", "\"a\""))),
        with(
            azure,
            &(0..65).map(|number| table(&format!("https://{number}.example.com"), &keys)).collect::<String>(),
        ),
    ] {
        assert_eq!(error(&wrong).code(), "manifest-azure-service", "{wrong:.400}");
    }
}

#[test]
fn amd_is_trusted_by_its_three_roots() {
    let owner = key();
    let genesis = Genesis::create([owner.public_key()], 1).unwrap();
    let text =
        text(genesis.digest(), 1).replacen("vendors = [\"intel\"]", "vendors = [\"intel\", \"amd\"]", 1);
    let mut signed = SignedManifest::unsigned(text);
    signed.sign(&owner).unwrap();
    let admitted = admit(&genesis, genesis.first_owners(), 0, signed).unwrap();
    let vendors: Vec<_> = admitted.roots.iter().map(|root| root.vendor().to_string()).collect();
    assert_eq!(vendors, ["intel", "amd", "amd", "amd"]);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,500}") {
        let _ = Manifest::parse(&text);
    }

    #[test]
    fn any_change_is_read_or_refused(at in 0usize..700, with in any::<char>()) {
        let mut text: Vec<char> = sample().chars().collect();
        let at = at % text.len();
        text[at] = with;
        let _ = Manifest::parse(&text.into_iter().collect::<String>());
    }

    #[test]
    fn any_line_left_out_is_read_or_refused(line in 0usize..30) {
        let sample = sample();
        let lines: Vec<&str> =
            sample.lines().enumerate().filter(|(number, _)| *number != line).map(|(_, line)| line).collect();
        let _ = Manifest::parse(&lines.join("\n"));
    }

    #[test]
    fn any_file_of_signatures_is_read_or_refused(lines in "(ed25519:[0-9a-f]{0,70} ?[0-9a-f]{0,130}\n){0,3}") {
        let _ = SignedManifest::from_texts("", &format!("{}\n{lines}", signed::SIGNATURES_FORMAT));
    }
}

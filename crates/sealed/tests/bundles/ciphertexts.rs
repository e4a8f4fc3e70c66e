//! What a host can do to a sealed bundle.

use std::fs;

use adytum_evidence::measurement::Sha256Digest;
use adytum_sealed::{
    bundle::{BundleError, SealedBundle, seal_bundle},
    keys::ModelIdentity,
    rule::ModelRule,
    seal::{SealOptions, seal},
    statement::{FileName, Statement},
};

use crate::fixture::{Archive, Fixture, LIMIT, state};

const CHUNK: usize = 64 * 1024;

fn archive() -> Vec<u8> {
    let content: Vec<u8> = (0..3 * CHUNK).map(|position| (position * 31 + position / 251) as u8).collect();
    Archive::new().directory("etc").file("etc/f", &content).finish()
}

/// Where the payload begins, after header and nonce.
fn payload(ciphertext: &[u8]) -> usize {
    let mac = ciphertext.windows(5).position(|window| window == b"\n--- ").unwrap() + 1;
    mac + ciphertext[mac..].iter().position(|&byte| byte == b'\n').unwrap() + 1 + 16
}

#[test]
fn truncated_reordered_joined_and_changed() {
    let fixture = Fixture::new();
    let file = fixture.genuine("web", &archive());
    fixture.unpack(&file).unwrap();
    let whole = fs::read(&file).unwrap();
    let (start, step) = (payload(&whole), CHUNK + 16);
    let attempt = |ciphertext: &[u8]| {
        fs::write(&file, ciphertext).unwrap();
        match fixture.unpack(&file) {
            Ok(()) => panic!("it was unpacked"),
            Err(error) => error.code(),
        }
    };
    for cut in [0, 10, start - 1, start, start + step, start + step + 1, whole.len() - 1] {
        let code = attempt(&whole[..cut]);
        assert!(matches!(code, "unseal-truncated" | "unseal-altered"), "cut at {cut}: {code}");
    }
    let chunk = |number: usize| &whole[start + number * step..start + (number + 1) * step];
    let rest = &whole[start + 2 * step..];
    let swapped = [&whole[..start], chunk(1), chunk(0), rest].concat();
    assert_eq!(attempt(&swapped), "unseal-altered");
    let repeated = [&whole[..start], chunk(0), chunk(0), rest].concat();
    assert_eq!(attempt(&repeated), "unseal-altered");
    // Two files, one after the other.
    assert_eq!(attempt(&[&whole[..], &whole[..]].concat()), "unseal-longer");
    assert_eq!(attempt(&[&whole[..], &[0]].concat()), "unseal-altered");
    for position in [0, start - 20, start, start + step, whole.len() - 1] {
        let mut changed = whole.clone();
        changed[position] ^= 1;
        let code = attempt(&changed);
        assert!(matches!(code, "unseal-altered" | "unseal-header"), "{position}: {code}");
    }
    fs::write(&file, &whole).unwrap();
    fixture.unpack(&file).unwrap();
}

/// Anybody can encrypt to the recipient.
#[test]
fn encryption_is_not_authorship() {
    let fixture = Fixture::new();
    let recipient = fixture.identity.recipient();
    let by_host = fixture.publish("by-host", &archive(), &recipient, &fixture.host);
    let failures = |error: BundleError| match error {
        BundleError::Rule(refusal) => refusal.failures.iter().map(|f| f.code()).collect::<Vec<_>>(),
        other => panic!("{other}"),
    };
    let error = fixture.unpack(&by_host).unwrap_err();
    assert_eq!(error.code(), "bundle-not-genuine");
    assert!(failures(error).contains(&"model-signer-unlisted"));

    // The host's tree under the owner's statement: encrypted to the right key, and
    // found out at its end.
    let genuine = fixture.genuine("genuine", &archive());
    let statement = fs::read_to_string(fixture.path("genuine.seal")).unwrap();
    let mut other = archive();
    let position = other.len() - 1600;
    other[position] ^= 1;
    fixture.publish("genuine", &other, &recipient, &fixture.host);
    fs::write(fixture.path("genuine.seal"), &statement).unwrap();
    assert_eq!(fixture.unpack(&genuine).unwrap_err().code(), "unseal-digest");

    let foreign =
        fixture.publish("foreign", &archive(), &ModelIdentity::generate().recipient(), &fixture.owner);
    assert_eq!(fixture.unpack(&foreign).unwrap_err().code(), "unseal-wrong-key");

    // An older version, and another bundle.
    let file = fixture.genuine("web", &archive());
    let to = fixture.path("to");
    let error = fixture.unpack_by(&file, &fixture.rule(4), &to).unwrap_err();
    assert_eq!(failures(error)[1..], ["model-version-below-floor"]);
    let other = ModelRule { name: "mail".parse().unwrap(), ..fixture.rule(0) };
    assert_eq!(failures(fixture.unpack_by(&file, &other, &to).unwrap_err()), ["model-name"]);
    assert!(!to.exists());

    // A listed digest is enough, with any signer.
    let digests = [Sha256Digest::of_bytes(&archive())].into();
    let listed = ModelRule { signers: [].into(), digests, ..fixture.rule(9) };
    fixture.unpack_by(&by_host, &listed, &to).unwrap();
}

#[test]
fn a_model_is_no_bundle() {
    let fixture = Fixture::new();
    let file = fixture.path("web");
    let options =
        SealOptions { model: "web".parse().unwrap(), version: 3, file_name: FileName::model_onnx() };
    let mut ciphertext = Vec::new();
    let recipient = fixture.identity.recipient();
    let statement =
        seal(&archive()[..], &mut ciphertext, &recipient, &fixture.owner, &options, &mut |_| {}).unwrap();
    fs::write(&file, ciphertext).unwrap();
    state(&file, &statement);
    assert_eq!(fixture.unpack(&file).unwrap_err().code(), "bundle-statement-of-model");
    // Said to be one: the signature covers that.
    let said = Statement { file_name: FileName::bundle_tar(), ..statement };
    state(&file, &said);
    assert_eq!(fixture.unpack(&file).unwrap_err().code(), "bundle-not-genuine");
}

#[test]
fn files_that_are_missing_no_files_or_too_large() {
    let fixture = Fixture::new();
    let file = fixture.genuine("web", &archive());
    let link = fixture.path("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    fs::copy(fixture.path("web.seal"), fixture.path("link.seal")).unwrap();
    assert_eq!(fixture.unpack(&link).unwrap_err().code(), "bundle-unreadable");
    assert_eq!(fixture.unpack(&fixture.path("none")).unwrap_err().code(), "bundle-unreadable");
    fs::write(fixture.path("web.seal"), "{}").unwrap();
    assert_eq!(fixture.unpack(&file).unwrap_err().code(), "statement-malformed");
    fs::write(fixture.path("web.seal"), " ".repeat(5000)).unwrap();
    assert_eq!(fixture.unpack(&file).unwrap_err().code(), "statement-too-long");

    let file = fixture.genuine("large", &archive());
    let genuine = SealedBundle::open(&file).unwrap().judge(&fixture.rule(0)).unwrap();
    let size = archive().len() as u64;
    let identities = [fixture.identity.clone()];
    let mut none = crate::fixture::Rebuilt::default();
    let error = genuine.unseal(&identities, size - 1, &mut none, &mut |_| Ok(())).unwrap_err();
    assert_eq!(error.code(), "bundle-too-large");
    assert!(none.archive.is_empty());
}

/// The caller ends it when it wants, and nothing is left of what was begun.
#[test]
fn work_can_be_stopped() {
    let fixture = Fixture::new();
    let tree = fixture.path("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("f"), vec![1; 200_000]).unwrap();
    let stop = || std::io::Error::other("enough");
    let (out, recipient) = (fixture.path("web"), fixture.identity.recipient());
    let name = "web".parse().unwrap();
    let mut stopping = |_| Err(stop());
    let error = seal_bundle(&tree, &out, &recipient, &fixture.owner, &name, 3, &mut stopping).unwrap_err();
    assert_eq!(error.code(), "seal-stopped");
    assert_eq!(fs::read_dir(fixture.directory.path()).unwrap().count(), 1);
    seal_bundle(&tree, &out, &recipient, &fixture.owner, &name, 3, &mut |_| Ok(())).unwrap();
    let genuine = SealedBundle::open(&out).unwrap().judge(&fixture.rule(0)).unwrap();
    let mut rebuilt = crate::fixture::Rebuilt::default();
    let error =
        genuine.unseal(std::slice::from_ref(&fixture.identity), LIMIT, &mut rebuilt, &mut |_| Err(stop()));
    assert_eq!(error.unwrap_err().code(), "bundle-stopped");
}

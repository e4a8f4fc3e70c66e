use adytum_evidence::{
    claims::Claims,
    clock::{Day, UnixSeconds},
    measurement::{Sha256Digest, WorkloadIdentity},
};
use adytum_sealed::statement::{FileName, Statement};
use adytum_signing::{OwnerSignature, OwnerSigningKey, Purpose};
use adytum_testkit::{
    claims,
    directory::Directory,
    manifest::{Manifest as Text, enclave_policy},
    owners::owners,
};
use proptest::prelude::*;

use super::{
    document::Document,
    memory::ServiceMemory,
    signed::{MAXIMUM_LENGTH, SignedService},
    *,
};
use crate::{
    announcement::ServingAnnouncement,
    genesis::Genesis,
    manifest::{Manifest, ManifestInForce, SignedManifest},
};

const IDENTITY: WorkloadIdentity = WorkloadIdentity([5; 32]);

struct Fixture {
    keys: Vec<OwnerSigningKey>,
    genesis: Genesis,
    signer: OwnerSigningKey,
}

fn now() -> UnixSeconds {
    "2026-12-01".parse::<Day>().unwrap().start()
}

impl Fixture {
    fn new() -> Self {
        let keys = owners(3);
        let genesis = Genesis::create(keys[..2].iter().map(OwnerSigningKey::public_key), 2).unwrap();
        Self { keys, genesis, signer: OwnerSigningKey::generate().unwrap() }
    }

    fn text(&self, version: u64, floor: u64) -> String {
        Text::intel(self.genesis.digest(), version)
            .workload("serving", &enclave_policy(5), &["digits"])
            .workload("other", &enclave_policy(6), &[])
            .model("digits", &self.signer.public_key().to_string(), floor)
            .text()
    }

    fn document(&self, version: u64, revision: u32, floor: u64) -> Document {
        let signed = SignedManifest::unsigned(self.text(version, floor));
        let manifest = Manifest::parse(&signed.text).unwrap();
        let expires = "2026-12-31".parse().unwrap();
        let name: WorkloadName = "serving".parse().unwrap();
        Document::extract((&signed, &manifest), name.clone(), &[name].into(), revision, expires).unwrap()
    }

    /// Of the manifest of this version, with the floor of the services below.
    fn digest(&self, version: u64) -> Sha256Digest {
        Sha256Digest::of_bytes(self.text(version, 2).as_bytes())
    }

    fn signed(&self, document: &Document) -> SignedService {
        let mut signed = SignedService::unsigned(&self.genesis, Vec::new(), document).unwrap();
        self.keys[..2].iter().for_each(|key| signed.sign(key).unwrap());
        signed
    }

    fn service(&self, version: u64, revision: u32, floor: u64) -> Service {
        self.signed(&self.document(version, revision, floor)).verify(self.genesis.digest(), now()).unwrap()
    }

    fn model(&self, signer: &OwnerSigningKey, name: &str, version: u64) -> Statement {
        let mut statement = Statement {
            model: name.parse().unwrap(),
            version,
            file_name: FileName::model_onnx(),
            size: 9,
            sha256: Sha256Digest([7; 32]),
            signer: signer.public_key(),
            signature: OwnerSignature([0; 64]),
        };
        let (version, size) = (version.to_be_bytes(), 9_u64.to_be_bytes());
        let fields: [&[u8]; 6] =
            [name.as_bytes(), &version, b"model.onnx", &size, &[7; 32], &statement.signer.0];
        statement.signature = signer.sign(Purpose::Seal, &fields);
        statement
    }

    fn announced(&self, models: Vec<Statement>) -> ServingAnnouncement {
        ServingAnnouncement {
            identity: IDENTITY,
            genesis: self.genesis.digest(),
            manifest: Some(ManifestInForce { version: 3, digest: self.digest(3) }),
            models,
        }
    }
}

fn replica() -> Claims {
    claims::sgx([5; 32])
}

#[test]
fn a_service_is_what_enough_owners_of_the_confirmed_genesis_signed() {
    let fixture = Fixture::new();
    let mut signed =
        SignedService::unsigned(&fixture.genesis, Vec::new(), &fixture.document(3, 1, 2)).unwrap();
    let genesis = fixture.genesis.digest();
    let code = |signed: &SignedService| signed.verify(genesis, now()).map(drop).map_err(|error| error.code());
    assert_eq!(code(&signed), Err("signature-missing"));
    signed.sign(&fixture.keys[0]).unwrap();
    signed.sign(&fixture.keys[0]).unwrap();
    assert_eq!(code(&signed), Err("signatures-below-threshold"));
    signed.sign(&fixture.keys[1]).unwrap();
    assert_eq!(code(&signed), Ok(()));
    let again = SignedService::from_file(&signed.to_file().unwrap()).unwrap();
    assert_eq!(again, signed);
    // Another code, a lower floor, a later day: nobody has signed the changed text.
    for (from, to) in [
        ("05".repeat(32), "06".repeat(32)),
        ("minimum_version = 2".into(), "minimum_version = 1".into()),
        ("2026-12-31".into(), "2027-12-31".into()),
    ] {
        let changed = SignedService { text: signed.text.replace(&from, &to), ..signed.clone() };
        assert_ne!(changed.text, signed.text, "{from}");
        assert_eq!(code(&changed), Err("signature-invalid"), "{from}");
    }
    // The genesis of somebody else, who signs for themselves.
    let thief = Fixture::new();
    let stolen = thief.signed(&thief.document(3, 1, 2));
    assert_eq!(code(&stolen), Err("service-other-genesis"));
    let grafted = SignedService { genesis: signed.genesis.clone(), ..stolen };
    assert_eq!(code(&grafted), Err("service-other-genesis"));
    let mut stranger = signed.clone();
    stranger.sign(&fixture.keys[2]).unwrap();
    assert_eq!(code(&stranger), Err("signature-by-stranger"));
    let after = "2027-01-01".parse::<Day>().unwrap().start();
    assert_eq!(signed.verify(genesis, after).unwrap_err().code(), "service-expired");
    let last = "2026-12-31".parse::<Day>().unwrap().start();
    assert!(signed.verify(genesis, last).is_ok());
}

#[test]
fn owners_who_were_replaced_sign_no_more() {
    let fixture = Fixture::new();
    let owners = format!("[owners]\nthreshold = 1\nkeys = [\"{}\"]\n", fixture.keys[2].public_key());
    let mut change = SignedManifest::unsigned(format!("{}\n{owners}", fixture.text(2, 2)));
    fixture.keys[..2].iter().for_each(|key| change.sign(key).unwrap());
    let document = fixture.document(3, 1, 2);
    let mut signed = SignedService::unsigned(&fixture.genesis, vec![change.clone()], &document).unwrap();
    signed.sign(&fixture.keys[2]).unwrap();
    let genesis = fixture.genesis.digest();
    let new = SignedService::from_file(&signed.to_file().unwrap()).unwrap().verify(genesis, now()).unwrap();
    assert_eq!(new.edition.owners_since, 2);
    signed.approvals.clear();
    fixture.keys[..2].iter().for_each(|key| signed.sign(key).unwrap());
    assert_eq!(signed.verify(genesis, now()).unwrap_err().code(), "signature-by-stranger");
    // They leave the change out, and state a high version. A memory that has seen the change notices.
    let old = fixture.signed(&fixture.document(9, 1, 2)).verify(genesis, now()).unwrap();
    let directory = Directory::new();
    let memory = ServiceMemory::new(directory.path("services.json"));
    memory.accept(&new).unwrap();
    assert_eq!(memory.accept(&old).unwrap_err().code(), "service-older");
    // A change that the first owners did not sign, and one that changes nothing.
    let forged = SignedManifest { approvals: Vec::new(), ..change.clone() };
    signed.owners_changes = vec![forged];
    assert_eq!(signed.verify(genesis, now()).unwrap_err().code(), "signature-missing");
    let mut idle = SignedManifest::unsigned(fixture.text(2, 2));
    fixture.keys[..2].iter().for_each(|key| idle.sign(key).unwrap());
    signed.owners_changes = vec![idle];
    assert_eq!(signed.verify(genesis, now()).unwrap_err().code(), "service-owners-chain");
}

#[test]
fn an_older_edition_or_two_of_one_number_are_noticed() {
    let fixture = Fixture::new();
    let directory = Directory::new();
    let memory = ServiceMemory::new(directory.path("new/services.json"));
    assert!(!memory.knows(fixture.genesis.digest()).unwrap());
    let code = |service: &Service| memory.accept(service).map_err(|error| error.code());
    let second = fixture.service(3, 2, 2);
    assert_eq!(code(&second), Ok(()));
    assert!(memory.knows(fixture.genesis.digest()).unwrap());
    assert_eq!(code(&second), Ok(()));
    assert_eq!(code(&fixture.service(3, 1, 2)), Err("service-older"));
    assert_eq!(code(&fixture.service(2, 9, 2)), Err("service-older"));
    assert_eq!(code(&fixture.service(3, 2, 1)), Err("service-at-odds"));
    assert_eq!(code(&fixture.service(4, 1, 2)), Ok(()));
    assert_eq!(code(&second), Err("service-older"));
    directory.write("new/services.json", "{}");
    assert_eq!(code(&second), Err("services-malformed"));
}

#[test]
fn only_replicas_of_the_service_are_accepted() {
    let fixture = Fixture::new();
    let service = fixture.service(3, 1, 2);
    let good = fixture.announced(vec![fixture.model(&fixture.signer, "digits", 2)]);
    let code = |claims: &Claims, announced: &ServingAnnouncement| {
        service.judge(claims, &announced.encode()).map(drop).map_err(|error| error.code())
    };
    assert_eq!(code(&replica(), &good), Ok(()));
    // Another program, one with a debugger, and one on a simulated platform.
    assert_eq!(code(&claims::sgx([6; 32]), &good), Err("policy-refused"));
    assert_eq!(code(&Claims { debug: true, ..replica() }, &good), Err("policy-refused"));
    let simulated = Claims { vendor: adytum_evidence::trust::Vendor::Simulation, ..replica() };
    assert_eq!(code(&simulated, &good), Err("policy-refused"));
    // The same program with somebody else's keys.
    let theirs = ServingAnnouncement { genesis: Fixture::new().genesis.digest(), ..good.clone() };
    assert_eq!(code(&replica(), &theirs), Err("replica-of-other-owners"));
    let of = |version, digest| {
        let manifest = Some(ManifestInForce { version, digest });
        code(&replica(), &ServingAnnouncement { manifest, ..good.clone() })
    };
    assert_eq!(of(2, fixture.digest(2)), Err("replica-manifest-older"));
    let none = ServingAnnouncement { manifest: None, ..good.clone() };
    assert_eq!(code(&replica(), &none), Err("replica-manifest-older"));
    assert_eq!(of(3, fixture.digest(2)), Err("replica-manifest-other"));
    // A later one is the owners' own, too.
    assert_eq!(of(4, fixture.digest(4)), Ok(()));
    assert_eq!(code(&replica(), &fixture.announced(Vec::new())), Err("replica-without-model"));
    // Another model, an old version, another owner, an altered statement: one is enough.
    let other = OwnerSigningKey::generate().unwrap();
    let altered = Statement { size: 10, ..fixture.model(&fixture.signer, "digits", 3) };
    for (model, expected) in [
        (fixture.model(&fixture.signer, "weather", 2), "replica-model-unknown"),
        (fixture.model(&fixture.signer, "digits", 1), "replica-model-refused"),
        (fixture.model(&other, "digits", 3), "replica-model-refused"),
        (altered, "replica-model-refused"),
    ] {
        let mut models = vec![fixture.model(&fixture.signer, "digits", 2), model];
        models.sort_by_key(|model| (model.model.clone(), model.version));
        assert_eq!(code(&replica(), &fixture.announced(models)), Err(expected));
    }
    assert_eq!(service.judge(&replica(), b"").unwrap_err().code(), "announcement-malformed");
}

#[test]
fn an_announcement_has_one_form() {
    let fixture = Fixture::new();
    let models = [1, 2].map(|version| fixture.model(&fixture.signer, "digits", version));
    let announced = fixture.announced(models.to_vec());
    let bytes = announced.encode();
    assert_eq!(ServingAnnouncement::decode(&bytes).unwrap(), announced);
    let length: usize = models.iter().map(ServingAnnouncement::length_of).sum();
    assert!(bytes.len() <= length + 256, "{}", bytes.len());
    for models in [vec![models[1].clone(), models[0].clone()], vec![models[0].clone(), models[0].clone()]] {
        let error = ServingAnnouncement::decode(&fixture.announced(models).encode()).unwrap_err();
        assert!(error.to_string().contains("order"), "{error}");
    }
    assert!(ServingAnnouncement::decode(&[&bytes[..], &bytes[..]].concat()).is_err());
}

#[test]
fn what_is_too_long_or_of_another_format_is_refused() {
    let fixture = Fixture::new();
    let file = fixture.signed(&fixture.document(1, 1, 1)).to_file().unwrap();
    let code = |text: &str| SignedService::from_file(text).map(drop).map_err(|error| error.code());
    assert_eq!(code(&file), Ok(()));
    assert_eq!(code(&file.replace("signed service v1", "signed service v2")), Err("service-format"));
    assert_eq!(code(&"#".repeat(MAXIMUM_LENGTH + 1)), Err("service-too-long"));
    assert_eq!(code("x = 1"), Err("service-syntax"));
    let unknown = "nobody".parse().unwrap();
    let signed = SignedManifest::unsigned(fixture.text(1, 1));
    let manifest = Manifest::parse(&signed.text).unwrap();
    let day = "2026-12-31".parse().unwrap();
    let extract = |workload: WorkloadName| {
        Document::extract((&signed, &manifest), workload.clone(), &[workload].into(), 1, day)
            .map(drop)
            .map_err(|error| error.code())
    };
    assert_eq!(extract(unknown), Err("service-no-workload"));
    assert_eq!(extract("other".parse().unwrap()), Err("service-no-model"));
}

proptest! {
    #[test]
    fn any_text_and_any_bytes_are_read_or_refused(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = SignedService::from_file(&text);
        let _ = ServingAnnouncement::decode(&bytes);
    }
}

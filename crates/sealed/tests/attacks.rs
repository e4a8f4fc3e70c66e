//! What a host can do to sealed models, and what comes of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use adytum_sealed::{
    directory::{STATEMENT_FILE, scan},
    keys::ModelIdentity,
    rule::{GenuineStatement, ModelRule},
    seal::{SealOptions, seal, seal_to_directory},
    select::{SelectedModel, Selection, select},
    signing::OwnerSigningKey,
    statement::{FileName, Statement},
    unseal::{UnsealError, open_in_memory, unseal_to_file, unseal_to_writer},
};

const CHUNK: usize = 64 * 1024;
const LIMIT: u64 = 64 << 20;

/// An owner, the key that the broker would release, and the host that has
/// neither but knows everything public.
struct House {
    owner: OwnerSigningKey,
    host: OwnerSigningKey,
    identity: ModelIdentity,
    base: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        Self {
            owner: OwnerSigningKey::generate().unwrap(),
            host: OwnerSigningKey::generate().unwrap(),
            identity: ModelIdentity::generate(),
            base: tempfile::tempdir().unwrap(),
        }
    }

    fn rule(&self, minimum_version: u64) -> ModelRule {
        ModelRule {
            name: "digits".parse().unwrap(),
            signers: [self.owner.public_key()].into(),
            minimum_version,
            digests: [].into(),
        }
    }

    fn seal_bytes(&self, plaintext: &[u8], signer: &OwnerSigningKey) -> (Vec<u8>, Statement) {
        let mut ciphertext = Vec::new();
        let recipient = self.identity.recipient();
        let statement =
            seal(plaintext, &mut ciphertext, &recipient, signer, &options("digits", 1), &mut |_| {}).unwrap();
        (ciphertext, statement)
    }

    fn genuine(&self, plaintext: &[u8]) -> (Vec<u8>, GenuineStatement) {
        let (ciphertext, statement) = self.seal_bytes(plaintext, &self.owner);
        (ciphertext, self.rule(0).judge(&statement).unwrap())
    }

    fn open(&self, ciphertext: &[u8], genuine: &GenuineStatement) -> Result<Vec<u8>, UnsealError> {
        let identities = std::slice::from_ref(&self.identity);
        open_in_memory(ciphertext, genuine, identities, LIMIT).map(|secret| secret.into_vec())
    }

    /// Seals into the model directory.
    fn publish(&self, model: &str, version: u64, plaintext: &[u8], signer: &OwnerSigningKey) -> PathBuf {
        let recipient = self.identity.recipient();
        let options = options(model, version);
        seal_to_directory(plaintext, self.base.path(), &recipient, signer, &options, &mut |_| {}).unwrap().0
    }

    fn select(&self, minimum_version: u64, allow_plain: bool) -> Selection {
        select(scan(self.base.path()).unwrap(), Some(&self.rule(minimum_version)), allow_plain)
    }
}

fn options(model: &str, version: u64) -> SealOptions {
    SealOptions { model: model.parse().unwrap(), version, file_name: FileName::model_onnx() }
}

fn plaintext(length: usize) -> Vec<u8> {
    (0..length).map(|position| (position * 31 + position / 251) as u8).collect()
}

fn codes(selection: &Selection) -> Vec<&'static str> {
    selection.refused.iter().map(|refused| refused.code()).collect()
}

fn versions(selection: &Selection) -> Vec<u64> {
    selection.models.iter().map(SelectedModel::version).collect()
}

/// Where the header ends and the nonce begins.
fn header_length(ciphertext: &[u8]) -> usize {
    let mac = ciphertext.windows(5).position(|window| window == b"\n--- ").unwrap() + 1;
    mac + ciphertext[mac..].iter().position(|&byte| byte == b'\n').unwrap() + 1
}

#[test]
fn models_of_every_length_around_a_chunk_come_back() {
    let house = House::new();
    for length in [1, 15, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK - 1, 3 * CHUNK + 7] {
        let model = plaintext(length);
        let (ciphertext, genuine) = house.genuine(&model);
        assert_eq!(house.open(&ciphertext, &genuine).unwrap(), model, "{length}");
        let mut written = Vec::new();
        let identities = [ModelIdentity::generate(), house.identity.clone()];
        unseal_to_writer(&ciphertext[..], &genuine, &identities, &mut written, &mut |_| {}).unwrap();
        assert_eq!(written, model, "{length}");
    }
}

#[test]
fn truncated_anywhere_is_refused() {
    let house = House::new();
    let (ciphertext, genuine) = house.genuine(&plaintext(3 * CHUNK));
    let payload = header_length(&ciphertext) + 16;
    let chunks = (0..=3).map(|chunk| payload + chunk * (CHUNK + 16));
    let mut cuts: Vec<usize> = (0..payload + 40).collect();
    cuts.extend(chunks.flat_map(|end| [end - 1, end, end + 1, end + 17]));
    cuts.retain(|&cut| cut < ciphertext.len());
    for cut in cuts {
        let error = house.open(&ciphertext[..cut], &genuine).unwrap_err();
        let code = error.code();
        assert!(matches!(code, "unseal-truncated" | "unseal-altered"), "cut at {cut}: {error}");
    }
    let mut longer = ciphertext.clone();
    longer.push(0);
    assert_eq!(house.open(&longer, &genuine).unwrap_err().code(), "unseal-altered");
}

#[test]
fn reordered_dropped_and_repeated_chunks_are_refused() {
    let house = House::new();
    let (ciphertext, genuine) = house.genuine(&plaintext(4 * CHUNK));
    let (head, payload) = ciphertext.split_at(header_length(&ciphertext) + 16);
    let chunks: Vec<&[u8]> = payload.chunks(CHUNK + 16).collect();
    assert_eq!(chunks.len(), 4);
    for order in [
        &[1, 0, 2, 3][..],
        &[0, 2, 1, 3],
        &[0, 1, 3, 2],
        &[3, 2, 1, 0],
        &[0, 1, 2],
        &[1, 2, 3],
        &[0, 2, 3],
        &[0, 0, 1, 2, 3],
        &[0, 1, 2, 3, 3],
    ] {
        let mut changed = head.to_vec();
        order.iter().for_each(|&chunk| changed.extend_from_slice(chunks[chunk]));
        let code = house.open(&changed, &genuine).unwrap_err().code();
        assert!(matches!(code, "unseal-altered" | "unseal-truncated"), "{order:?}: {code}");
    }
}

#[test]
fn chunks_of_another_genuine_model_are_refused() {
    let house = House::new();
    let (one, genuine) = house.genuine(&plaintext(2 * CHUNK));
    let (other, _) = house.genuine(&plaintext(2 * CHUNK));
    let start = header_length(&one) + 16 + CHUNK + 16;
    let mut mixed = one[..start].to_vec();
    mixed.extend_from_slice(&other[start..]);
    assert_eq!(house.open(&mixed, &genuine).unwrap_err().code(), "unseal-altered");
}

#[test]
fn every_flipped_bit_of_header_and_payload_is_refused() {
    let house = House::new();
    let (ciphertext, genuine) = house.genuine(b"a small model");
    for position in 0..ciphertext.len() {
        for bit in 0..8 {
            let mut changed = ciphertext.clone();
            changed[position] ^= 1 << bit;
            let outcome = house.open(&changed, &genuine);
            assert!(outcome.is_err(), "byte {position} bit {bit} went unnoticed");
        }
    }
}

#[test]
fn flipped_bits_in_a_model_of_several_chunks_are_refused() {
    let house = House::new();
    let (ciphertext, genuine) = house.genuine(&plaintext(2 * CHUNK + 100));
    let payload = header_length(&ciphertext) + 16;
    for position in
        [payload, payload + CHUNK, payload + CHUNK + 15, payload + CHUNK + 16, ciphertext.len() - 1]
    {
        let mut changed = ciphertext.clone();
        changed[position] ^= 0x40;
        assert_eq!(house.open(&changed, &genuine).unwrap_err().code(), "unseal-altered", "{position}");
    }
}

#[test]
fn another_key_opens_nothing() {
    let house = House::new();
    let (ciphertext, genuine) = house.genuine(b"model");
    let other = ModelIdentity::generate();
    let error = open_in_memory(&ciphertext[..], &genuine, std::slice::from_ref(&other), LIMIT).unwrap_err();
    assert_eq!(error.code(), "unseal-wrong-key");
    assert!(error.to_string().contains(&other.recipient().to_string()), "{error}");
    assert!(!error.to_string().contains("SECRET"), "{error}");
    assert_eq!(open_in_memory(&ciphertext[..], &genuine, &[], LIMIT).unwrap_err().code(), "unseal-wrong-key");
}

/// The statement is the owner's own, but beside it lies what the host sealed to
/// the right recipient.
#[test]
fn the_hosts_own_ciphertext_under_a_genuine_statement_is_refused() {
    let house = House::new();
    let (_, genuine) = house.genuine(&plaintext(CHUNK + 5));
    let mut same_length = plaintext(CHUNK + 5);
    same_length[CHUNK] ^= 1;
    for (model, code) in [
        (same_length, "unseal-digest"),
        (plaintext(CHUNK + 4), "unseal-shorter"),
        (plaintext(CHUNK), "unseal-shorter"),
        (plaintext(CHUNK + 6), "unseal-longer"),
        (plaintext(5 * CHUNK), "unseal-longer"),
    ] {
        let (ciphertext, _) = house.seal_bytes(&model, &house.host);
        assert_eq!(house.open(&ciphertext, &genuine).unwrap_err().code(), code);
    }
    // A plaintext of exactly one chunk more or less than whole chunks.
    let (_, genuine) = house.genuine(&plaintext(2 * CHUNK));
    for (length, code) in [(CHUNK, "unseal-shorter"), (3 * CHUNK, "unseal-longer")] {
        let (ciphertext, _) = house.seal_bytes(&plaintext(length), &house.host);
        assert_eq!(house.open(&ciphertext, &genuine).unwrap_err().code(), code);
    }
}

#[test]
fn sizes_that_lie_cost_no_memory() {
    let house = House::new();
    let (ciphertext, statement) = house.seal_bytes(b"model", &house.owner);
    // A digest that the rule lists makes the signature, and so the size, the
    // host's to choose.
    let mut rule = house.rule(0);
    rule.digests.insert(statement.sha256);
    let lie = |size| rule.judge(&Statement { size, ..statement.clone() }).unwrap();
    let open = |size, limit| {
        open_in_memory(&ciphertext[..], &lie(size), std::slice::from_ref(&house.identity), limit)
            .unwrap_err()
            .code()
    };
    assert_eq!(open(u64::MAX, u64::MAX), "unseal-out-of-memory");
    assert_eq!(open(1 << 60, u64::MAX), "unseal-out-of-memory");
    assert_eq!(open(LIMIT + 1, LIMIT), "unseal-too-large");
    assert_eq!(open(6, LIMIT), "unseal-shorter");
    assert_eq!(open(4, LIMIT), "unseal-longer");

    let directory = house.publish("digits", 1, b"model", &house.owner);
    let text = fs::read_to_string(directory.join(STATEMENT_FILE)).unwrap();
    fs::write(directory.join(STATEMENT_FILE), text.replace("\"size\": 5", "\"size\": 60000000")).unwrap();
    let selection = select(scan(house.base.path()).unwrap(), Some(&rule), false);
    let SelectedModel::Sealed(model) = selection.highest().unwrap() else { panic!("{selection:?}") };
    let error = model.open(std::slice::from_ref(&house.identity), LIMIT).unwrap_err();
    assert_eq!(error.code(), "unseal-truncated", "{error}");
}

#[test]
fn headers_without_end_are_cut_off() {
    let house = House::new();
    let (_, genuine) = house.genuine(b"model");
    let mut endless = b"age-encryption.org/v1\n-> X25519 ".to_vec();
    endless.resize(8 << 20, b'a');
    assert_eq!(house.open(&endless, &genuine).unwrap_err().code(), "unseal-header-too-long");
    let mut stanzas = b"age-encryption.org/v1\n".to_vec();
    while stanzas.len() < 1 << 20 {
        stanzas.extend_from_slice(b"-> a\n\n");
    }
    assert_eq!(house.open(&stanzas, &genuine).unwrap_err().code(), "unseal-header-too-long");
    for garbage in [&b""[..], b"\x7fELF", b"age-encryption.org/v2\n", b"age-encryption.org/v1\n--- x\n"] {
        let code = house.open(garbage, &genuine).unwrap_err().code();
        assert!(matches!(code, "unseal-header" | "unseal-truncated"), "{garbage:?}: {code}");
    }
}

#[test]
fn the_highest_genuine_version_is_selected_and_opens() {
    let house = House::new();
    for version in [2, 9, 10] {
        house.publish("digits", version, format!("model {version}").as_bytes(), &house.owner);
    }
    let selection = house.select(0, false);
    assert_eq!(versions(&selection), [10, 9, 2]);
    assert_eq!(selection.refused, []);
    let SelectedModel::Sealed(model) = selection.highest().unwrap() else { panic!("{selection:?}") };
    let secret = model.open(std::slice::from_ref(&house.identity), LIMIT).unwrap();
    assert_eq!(secret.as_slice(), b"model 10");
}

#[test]
fn a_model_that_the_host_sealed_is_refused() {
    let house = House::new();
    house.publish("digits", 1, b"genuine", &house.owner);
    house.publish("digits", 2, b"forged", &house.host);
    // Under the owner's name.
    let forged = house.publish("digits", 3, b"forged", &house.host);
    let text = fs::read_to_string(forged.join(STATEMENT_FILE)).unwrap();
    let (host, owner) = (house.host.public_key().to_string(), house.owner.public_key().to_string());
    fs::write(forged.join(STATEMENT_FILE), text.replace(&host, &owner)).unwrap();
    // With no statement at all.
    let unsigned = house.publish("digits", 4, b"forged", &house.host);
    fs::remove_file(unsigned.join(STATEMENT_FILE)).unwrap();

    let selection = house.select(0, false);
    assert_eq!(versions(&selection), [1]);
    assert_eq!(codes(&selection), ["model-statement-missing", "model-not-genuine", "model-not-genuine"]);
    let report = selection.refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(report.contains(&format!("signer: wanted one of the 1 listed, got {host}")), "{report}");
    assert!(report.contains(&format!("signature: not valid for {owner}")), "{report}");
}

#[test]
fn without_a_rule_nothing_sealed_is_selected() {
    let house = House::new();
    house.publish("digits", 1, b"model", &house.owner);
    let selection = select(scan(house.base.path()).unwrap(), None, true);
    assert_eq!(versions(&selection), [0; 0]);
    assert_eq!(codes(&selection), ["model-rule-missing"]);
}

#[test]
fn older_genuine_versions_below_the_floor_are_refused() {
    let house = House::new();
    house.publish("digits", 4, b"old", &house.owner);
    assert_eq!(versions(&house.select(4, false)), [4]);
    let selection = house.select(5, false);
    assert_eq!(selection.highest(), None);
    assert!(selection.refused[0].to_string().contains("wanted at least 5, got 4"), "{selection:?}");
}

#[test]
fn renamed_version_directories_are_refused() {
    let house = House::new();
    let old = house.publish("digits", 4, b"old", &house.owner);
    house.publish("digits", 6, b"new", &house.owner);
    fs::rename(old, house.base.path().join("7")).unwrap();
    let selection = house.select(5, false);
    assert_eq!(versions(&selection), [6]);
    assert_eq!(codes(&selection), ["model-version-renamed"]);
}

#[test]
fn statements_swapped_between_models_are_refused() {
    let house = House::new();
    let ours = house.publish("digits", 1, b"digits model", &house.owner);
    let other = tempfile::tempdir().unwrap();
    let recipient = house.identity.recipient();
    let (theirs, _) = seal_to_directory(
        &b"another model"[..],
        other.path(),
        &recipient,
        &house.owner,
        &options("fraud", 1),
        &mut |_| {},
    )
    .unwrap();
    // The other model with its own statement, in our model's place.
    for file in [STATEMENT_FILE, "model.onnx.age"] {
        fs::copy(theirs.join(file), ours.join(file)).unwrap();
    }
    let selection = house.select(0, false);
    assert_eq!(versions(&selection), [0; 0]);
    assert!(selection.refused[0].to_string().contains("name: wanted digits, got fraud"), "{selection:?}");

    // Our statement with the other model's ciphertext.
    fs::remove_dir_all(&ours).unwrap();
    let ours = house.publish("digits", 1, b"digits model ", &house.owner);
    fs::copy(theirs.join("model.onnx.age"), ours.join("model.onnx.age")).unwrap();
    let selection = house.select(0, false);
    let SelectedModel::Sealed(model) = selection.highest().unwrap() else { panic!("{selection:?}") };
    let error = model.open(std::slice::from_ref(&house.identity), LIMIT).unwrap_err();
    assert_eq!(error.code(), "unseal-digest");
}

#[test]
fn plain_models_and_unlisted_files_are_refused_and_reported() {
    let house = House::new();
    let genuine = house.publish("digits", 1, b"model", &house.owner);
    fs::write(genuine.join("model.onnx"), b"plain beside sealed").unwrap();
    fs::write(genuine.join("custom_ops.so"), b"\x7fELF").unwrap();
    let plain = house.base.path().join("2");
    fs::create_dir(&plain).unwrap();
    fs::write(plain.join("model.onnx"), b"plain").unwrap();
    fs::create_dir(house.base.path().join("3")).unwrap();
    fs::write(house.base.path().join("README"), b"hello").unwrap();

    let selection = house.select(0, false);
    assert_eq!(versions(&selection), [1]);
    let mut found = codes(&selection);
    found.sort();
    assert_eq!(
        found,
        [
            "model-directory-name",
            "model-file-unlisted",
            "model-file-unlisted",
            "model-missing",
            "model-plain"
        ]
    );
    let selection = house.select(0, true);
    assert_eq!(versions(&selection), [2, 1]);
    assert_eq!(
        selection.highest(),
        Some(&SelectedModel::Plain { version: 2, file: plain.join("model.onnx") })
    );
}

#[test]
fn odd_names_links_and_special_files_are_reported_and_never_opened() {
    use std::os::unix::{ffi::OsStrExt, fs::symlink};

    let house = House::new();
    let base = house.base.path();
    let genuine = house.publish("digits", 1, b"model", &house.owner);
    for name in ["01", "-1", "+2", "1.0", " 3", "9223372036854775808", "lost+found", "..data", "৩"] {
        fs::create_dir(base.join(name)).unwrap();
    }
    fs::create_dir(base.join(std::ffi::OsStr::from_bytes(b"\xff\n7"))).unwrap();
    fs::write(base.join("8"), b"a file").unwrap();
    symlink(&genuine, base.join("9")).unwrap();
    let fifo = base.join("10");
    fs::create_dir(&fifo).unwrap();
    make_fifo(&fifo.join(STATEMENT_FILE));
    make_fifo(&fifo.join("model.onnx"));
    let linked = base.join("11");
    fs::create_dir(&linked).unwrap();
    symlink(genuine.join(STATEMENT_FILE), linked.join(STATEMENT_FILE)).unwrap();
    symlink("/dev/zero", linked.join("model.onnx.age")).unwrap();

    let selection = house.select(0, true);
    assert_eq!(versions(&selection), [1]);
    let count = |code| codes(&selection).iter().filter(|found| **found == code).count();
    assert_eq!(count("model-directory-name"), 10);
    assert_eq!(count("model-file-kind"), 3);
    assert_eq!(count("model-symbolic-link"), 3);
    assert!(selection.refused.iter().all(|refused| !refused.to_string().contains('\n')));
}

fn make_fifo(path: &Path) {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
}

#[test]
fn directories_that_overflow_are_refused() {
    let house = House::new();
    let directory = house.publish("digits", 1, b"model", &house.owner);
    for number in 0..100 {
        fs::write(directory.join(format!("extra{number}")), b"").unwrap();
    }
    let selection = house.select(0, false);
    assert_eq!(codes(&selection), ["model-too-many-entries"]);
    for number in 0..1000 {
        fs::write(house.base.path().join(format!("extra{number}")), b"").unwrap();
    }
    assert_eq!(scan(house.base.path()).unwrap_err().code(), "model-directory-too-many-entries");
    let missing = house.base.path().join("nowhere");
    assert_eq!(scan(&missing).unwrap_err().code(), "model-directory-unreadable");
}

#[test]
fn broken_statements_in_a_directory_are_reported() {
    let house = House::new();
    for (version, text) in [(1, String::new()), (2, "x".repeat(5000)), (3, "{\"format\": 1}".into())] {
        let directory = house.publish("digits", version, b"model", &house.owner);
        fs::write(directory.join(STATEMENT_FILE), text).unwrap();
    }
    let directory = house.publish("digits", 4, b"model", &house.owner);
    fs::remove_file(directory.join("model.onnx.age")).unwrap();
    let selection = house.select(0, false);
    assert_eq!(versions(&selection), [0; 0]);
    assert_eq!(
        codes(&selection),
        ["statement-malformed", "statement-too-long", "statement-malformed", "model-ciphertext-missing"]
    );
}

#[test]
fn a_file_gets_its_name_only_after_the_digest_matched() {
    use std::os::unix::fs::PermissionsExt;

    let house = House::new();
    let (ciphertext, genuine) = house.genuine(&plaintext(CHUNK * 2));
    let (forged, _) = house.seal_bytes(&plaintext(CHUNK * 2 + 1), &house.host);
    let out = house.base.path().join("out.onnx");
    let identities = std::slice::from_ref(&house.identity);
    let unseal =
        |bytes: &[u8]| unseal_to_file(bytes, &genuine, identities, &out, &mut |_| {}).map_err(|e| e.code());
    assert_eq!(unseal(&forged), Err("unseal-longer"));
    assert_eq!(unseal(&ciphertext[..ciphertext.len() - 1]), Err("unseal-altered"));
    assert_eq!(fs::read_dir(house.base.path()).unwrap().count(), 0, "something was left behind");
    assert_eq!(unseal(&ciphertext), Ok(()));
    assert_eq!(fs::read(&out).unwrap(), plaintext(CHUNK * 2));
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(house.base.path()).unwrap().count(), 1);
    assert_eq!(unseal(&ciphertext), Err("unseal-exists"));
}

//! A model that is not the one that was sealed.

use std::fs;

use adytum_sealed::{
    directory::{STATEMENT_FILE, scan},
    keys::ModelIdentity,
    select::{SelectedModel, select},
    statement::Statement,
    unseal::{open_in_memory, unseal_to_file, unseal_to_writer},
};

use crate::fixture::{CHUNK, Fixture, LIMIT, header_length, plaintext};

#[test]
fn models_of_every_length_around_a_chunk_come_back() {
    let fixture = Fixture::new();
    for length in [1, 15, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK - 1, 3 * CHUNK + 7] {
        let model = plaintext(length);
        let (ciphertext, genuine) = fixture.genuine(&model);
        assert_eq!(fixture.open(&ciphertext, &genuine).unwrap(), model, "{length}");
        let mut written = Vec::new();
        let identities = [ModelIdentity::generate(), fixture.identity.clone()];
        unseal_to_writer(&ciphertext[..], &genuine, &identities, &mut written, &mut |_| {}).unwrap();
        assert_eq!(written, model, "{length}");
    }
}

#[test]
fn truncated_anywhere_is_refused() {
    let fixture = Fixture::new();
    let (ciphertext, genuine) = fixture.genuine(&plaintext(3 * CHUNK));
    let payload = header_length(&ciphertext) + 16;
    let chunks = (0..=3).map(|chunk| payload + chunk * (CHUNK + 16));
    let mut cuts: Vec<usize> = (0..payload + 40).collect();
    cuts.extend(chunks.flat_map(|end| [end - 1, end, end + 1, end + 17]));
    cuts.retain(|&cut| cut < ciphertext.len());
    for cut in cuts {
        let error = fixture.open(&ciphertext[..cut], &genuine).unwrap_err();
        let code = error.code();
        assert!(matches!(code, "unseal-truncated" | "unseal-altered"), "cut at {cut}: {error}");
    }
    let mut longer = ciphertext.clone();
    longer.push(0);
    assert_eq!(fixture.open(&longer, &genuine).unwrap_err().code(), "unseal-altered");
}

#[test]
fn reordered_dropped_and_repeated_chunks_are_refused() {
    let fixture = Fixture::new();
    let (ciphertext, genuine) = fixture.genuine(&plaintext(4 * CHUNK));
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
        let code = fixture.open(&changed, &genuine).unwrap_err().code();
        assert!(matches!(code, "unseal-altered" | "unseal-truncated"), "{order:?}: {code}");
    }
}

#[test]
fn chunks_of_another_genuine_model_are_refused() {
    let fixture = Fixture::new();
    let (one, genuine) = fixture.genuine(&plaintext(2 * CHUNK));
    let (other, _) = fixture.genuine(&plaintext(2 * CHUNK));
    let start = header_length(&one) + 16 + CHUNK + 16;
    let mut mixed = one[..start].to_vec();
    mixed.extend_from_slice(&other[start..]);
    assert_eq!(fixture.open(&mixed, &genuine).unwrap_err().code(), "unseal-altered");
}

#[test]
fn every_flipped_bit_of_header_and_payload_is_refused() {
    let fixture = Fixture::new();
    let (ciphertext, genuine) = fixture.genuine(b"a small model");
    for position in 0..ciphertext.len() {
        for bit in 0..8 {
            let mut changed = ciphertext.clone();
            changed[position] ^= 1 << bit;
            let outcome = fixture.open(&changed, &genuine);
            assert!(outcome.is_err(), "byte {position} bit {bit} went unnoticed");
        }
    }
}

#[test]
fn flipped_bits_in_a_model_of_several_chunks_are_refused() {
    let fixture = Fixture::new();
    let (ciphertext, genuine) = fixture.genuine(&plaintext(2 * CHUNK + 100));
    let payload = header_length(&ciphertext) + 16;
    for position in
        [payload, payload + CHUNK, payload + CHUNK + 15, payload + CHUNK + 16, ciphertext.len() - 1]
    {
        let mut changed = ciphertext.clone();
        changed[position] ^= 0x40;
        assert_eq!(fixture.open(&changed, &genuine).unwrap_err().code(), "unseal-altered", "{position}");
    }
}

#[test]
fn another_key_opens_nothing() {
    let fixture = Fixture::new();
    let (ciphertext, genuine) = fixture.genuine(b"model");
    let other = ModelIdentity::generate();
    let error = open_in_memory(&ciphertext[..], &genuine, std::slice::from_ref(&other), LIMIT).unwrap_err();
    assert_eq!(error.code(), "unseal-wrong-key");
    assert!(error.to_string().contains(&other.recipient().to_string()), "{error}");
    assert!(!error.to_string().contains("SECRET"), "{error}");
    assert_eq!(open_in_memory(&ciphertext[..], &genuine, &[], LIMIT).unwrap_err().code(), "unseal-wrong-key");
}

/// The statement is the owner's own, but next to it is a ciphertext that the host sealed
/// to the right recipient.
#[test]
fn the_hosts_own_ciphertext_under_a_genuine_statement_is_refused() {
    let fixture = Fixture::new();
    let (_, genuine) = fixture.genuine(&plaintext(CHUNK + 5));
    let mut same_length = plaintext(CHUNK + 5);
    same_length[CHUNK] ^= 1;
    for (model, code) in [
        (same_length, "unseal-digest"),
        (plaintext(CHUNK + 4), "unseal-shorter"),
        (plaintext(CHUNK), "unseal-shorter"),
        (plaintext(CHUNK + 6), "unseal-longer"),
        (plaintext(5 * CHUNK), "unseal-longer"),
    ] {
        let (ciphertext, _) = fixture.seal_bytes(&model, &fixture.host);
        assert_eq!(fixture.open(&ciphertext, &genuine).unwrap_err().code(), code);
    }
    // A plaintext of exactly one chunk more or less than whole chunks.
    let (_, genuine) = fixture.genuine(&plaintext(2 * CHUNK));
    for (length, code) in [(CHUNK, "unseal-shorter"), (3 * CHUNK, "unseal-longer")] {
        let (ciphertext, _) = fixture.seal_bytes(&plaintext(length), &fixture.host);
        assert_eq!(fixture.open(&ciphertext, &genuine).unwrap_err().code(), code);
    }
}

#[test]
fn sizes_that_lie_cost_no_memory() {
    let fixture = Fixture::new();
    let (ciphertext, statement) = fixture.seal_bytes(b"model", &fixture.owner);
    // A digest that the rule lists makes the signature, and so the size, the
    // host's to choose.
    let mut rule = fixture.rule(0);
    rule.digests.insert(statement.sha256);
    let lie = |size| rule.judge(&Statement { size, ..statement.clone() }).unwrap();
    let open = |size, limit| {
        open_in_memory(&ciphertext[..], &lie(size), std::slice::from_ref(&fixture.identity), limit)
            .unwrap_err()
            .code()
    };
    assert_eq!(open(u64::MAX, u64::MAX), "unseal-out-of-memory");
    assert_eq!(open(1 << 60, u64::MAX), "unseal-out-of-memory");
    assert_eq!(open(LIMIT + 1, LIMIT), "unseal-too-large");
    assert_eq!(open(6, LIMIT), "unseal-shorter");
    assert_eq!(open(4, LIMIT), "unseal-longer");

    let directory = fixture.publish("digits", 1, b"model", &fixture.owner);
    let text = fs::read_to_string(directory.join(STATEMENT_FILE)).unwrap();
    fs::write(directory.join(STATEMENT_FILE), text.replace("\"size\": 5", "\"size\": 60000000")).unwrap();
    let selection = select(scan(fixture.base.path()).unwrap(), Some(&rule), false);
    let SelectedModel::Sealed(model) = selection.highest().unwrap() else { panic!("{selection:?}") };
    let error = model.open(std::slice::from_ref(&fixture.identity), LIMIT).unwrap_err();
    assert_eq!(error.code(), "unseal-truncated", "{error}");
}

#[test]
fn headers_without_end_are_cut_off() {
    let fixture = Fixture::new();
    let (_, genuine) = fixture.genuine(b"model");
    let mut endless = b"age-encryption.org/v1\n-> X25519 ".to_vec();
    endless.resize(8 << 20, b'a');
    assert_eq!(fixture.open(&endless, &genuine).unwrap_err().code(), "unseal-header-too-long");
    let mut stanzas = b"age-encryption.org/v1\n".to_vec();
    while stanzas.len() < 1 << 20 {
        stanzas.extend_from_slice(b"-> a\n\n");
    }
    assert_eq!(fixture.open(&stanzas, &genuine).unwrap_err().code(), "unseal-header-too-long");
    for garbage in [&b""[..], b"\x7fELF", b"age-encryption.org/v2\n", b"age-encryption.org/v1\n--- x\n"] {
        let code = fixture.open(garbage, &genuine).unwrap_err().code();
        assert!(matches!(code, "unseal-header" | "unseal-truncated"), "{garbage:?}: {code}");
    }
}

#[test]
fn a_file_gets_its_name_only_after_the_digest_matched() {
    use std::os::unix::fs::PermissionsExt;

    let fixture = Fixture::new();
    let (ciphertext, genuine) = fixture.genuine(&plaintext(CHUNK * 2));
    let (forged, _) = fixture.seal_bytes(&plaintext(CHUNK * 2 + 1), &fixture.host);
    let out = fixture.base.path().join("out.onnx");
    let identities = std::slice::from_ref(&fixture.identity);
    let unseal =
        |bytes: &[u8]| unseal_to_file(bytes, &genuine, identities, &out, &mut |_| {}).map_err(|e| e.code());
    assert_eq!(unseal(&forged), Err("unseal-longer"));
    assert_eq!(unseal(&ciphertext[..ciphertext.len() - 1]), Err("unseal-altered"));
    assert_eq!(fs::read_dir(fixture.base.path()).unwrap().count(), 0, "something was left behind");
    assert_eq!(unseal(&ciphertext), Ok(()));
    assert_eq!(fs::read(&out).unwrap(), plaintext(CHUNK * 2));
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(fixture.base.path()).unwrap().count(), 1);
    assert_eq!(unseal(&ciphertext), Err("unseal-exists"));
}

use proptest::prelude::*;

use super::*;

const GENESIS: GenesisDigest = GenesisDigest(Sha256Digest([1; 32]));

fn head(epoch: u64) -> StateHead {
    StateHead { epoch, manifest_version: 2, audit_size: 3, audit_hash: Some(Sha256Digest([4; 32])) }
}

fn confirmation(given_up: Option<StateHead>) -> SignedConfirmation {
    let challenge = Challenge(Sha256Digest([5; 32]));
    SignedConfirmation::unsigned(Confirmation { challenge, head: head(6), given_up })
}

fn keys() -> ([OwnerSigningKey; 3], Owners) {
    let keys: [_; 3] = std::array::from_fn(|_| OwnerSigningKey::generate().unwrap());
    let owners = Owners::new(keys.iter().map(OwnerSigningKey::public_key), 2).unwrap();
    (keys, owners)
}

fn code(signed: &SignedConfirmation, owners: &Owners, by: Option<usize>) -> Result<usize, &'static str> {
    let by = by.and_then(NonZeroUsize::new);
    signed.approved_by(GENESIS, owners, by).map(|signers| signers.len()).map_err(|error| error.code())
}

#[test]
fn as_many_confirm_as_must_agree_unless_fewer_are_named() {
    let ([a, b, _], owners) = keys();
    for given_up in [None, Some(head(9))] {
        let mut signed = confirmation(given_up.clone());
        assert_eq!(code(&signed, &owners, None), Err("signature-missing"));
        signed.sign(GENESIS, &a, None);
        assert_eq!(code(&signed, &owners, None), Err("signatures-below-threshold"));
        // A weaker rule is one for confirmations only.
        let by_one = if given_up.is_none() { Ok(1) } else { Err("signatures-below-threshold") };
        assert_eq!(code(&signed, &owners, Some(1)), by_one);
        signed.sign(GENESIS, &a, Some(head(5)));
        assert_eq!(signed.signatures.len(), 1, "one owner counts once");
        signed.sign(GENESIS, &b, Some(head(4)));
        assert_eq!(code(&signed, &owners, None), Ok(2));
        assert_eq!(code(&signed, &owners, Some(3)), Ok(2), "never more than must agree");
        let twice = signed.signatures[0].clone();
        signed.signatures.push(twice);
        assert_eq!(code(&signed, &owners, None), Err("signature-by-same-owner-twice"));
    }
}

#[test]
fn every_field_is_signed() {
    let ([a, b, _], owners) = keys();
    for given_up in [None, Some(head(9))] {
        let mut signed = confirmation(given_up);
        signed.sign(GENESIS, &a, Some(head(5)));
        signed.sign(GENESIS, &b, None);
        let change = |change: &dyn Fn(&mut SignedConfirmation)| {
            let mut changed = signed.clone();
            change(&mut changed);
            assert_eq!(code(&changed, &owners, None), Err("signature-invalid"));
        };
        change(&|signed| signed.confirmation.challenge = Challenge(Sha256Digest([6; 32])));
        change(&|signed| signed.confirmation.head.epoch += 1);
        change(&|signed| signed.confirmation.head.manifest_version += 1);
        change(&|signed| signed.confirmation.head.audit_hash = None);
        change(&|signed| signed.confirmation.given_up = Some(head(10)));
        change(&|signed| signed.signatures[0].seen = Some(head(4)));
        change(&|signed| signed.signatures[0].seen = None);
        change(&|signed| signed.signatures[1].seen = Some(head(5)));
        let other = GenesisDigest(Sha256Digest([2; 32]));
        assert_eq!(signed.approved_by(other, &owners, None).unwrap_err().code(), "signature-invalid");
    }
    // What confirms does not give up, and the other way round.
    let mut signed = confirmation(Some(head(9)));
    for key in [&a, &b] {
        signed.sign(GENESIS, key, None);
    }
    signed.confirmation.given_up = None;
    assert_eq!(code(&signed, &owners, None), Err("signature-invalid"));
}

#[test]
fn file_and_wire_keep_all_of_it() {
    let ([a, b, _], _) = keys();
    for given_up in [None, Some(head(9))] {
        let mut signed = confirmation(given_up);
        signed.sign(GENESIS, &a, Some(head(5)));
        signed.sign(GENESIS, &b, None);
        let file = signed.to_file(GENESIS).unwrap();
        assert_eq!(SignedConfirmation::from_file(&file, GENESIS).unwrap(), signed);
        let other = GenesisDigest(Sha256Digest([2; 32]));
        let error = SignedConfirmation::from_file(&file, other).unwrap_err();
        assert_eq!(error.code(), "confirmation-other-genesis");
        assert_eq!(SignedConfirmation::from_wire(signed.to_wire()).unwrap(), signed);
    }
    let long = "x".repeat(MAXIMUM_LENGTH + 1);
    assert_eq!(SignedConfirmation::from_file(&long, GENESIS).unwrap_err().code(), "confirmation-too-long");
    let wrong = wire::ConfirmState { challenge: vec![1; 31], ..confirmation(None).to_wire() };
    assert_eq!(SignedConfirmation::from_wire(wrong).unwrap_err().code(), "confirmation-syntax");
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        let _ = SignedConfirmation::from_file(&text, GENESIS);
    }

    #[test]
    fn any_change_of_a_file_is_read_or_refused(at in 0usize..600, with in any::<char>()) {
        let mut signed = confirmation(Some(head(9)));
        signed.sign(GENESIS, &OwnerSigningKey::generate().unwrap(), Some(head(5)));
        let mut text: Vec<char> = signed.to_file(GENESIS).unwrap().chars().collect();
        let at = at % text.len();
        text[at] = with;
        let _ = SignedConfirmation::from_file(&text.into_iter().collect::<String>(), GENESIS);
    }
}

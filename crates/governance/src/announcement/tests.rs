use proptest::prelude::*;

use super::*;

fn announced(audit_size: u64) -> BrokerAnnouncement {
    BrokerAnnouncement {
        genesis: GenesisDigest(Sha256Digest([7; 32])),
        head: StateHead {
            epoch: 3,
            manifest_version: 2,
            audit_size,
            audit_hash: (audit_size > 0).then_some(Sha256Digest([9; 32])),
        },
        occlum: (audit_size > 1).then_some(Sha256Digest([8; 32])),
    }
}

#[test]
fn announcements_come_back_as_they_were() {
    for audit_size in [0, 1, u64::MAX] {
        assert_eq!(BrokerAnnouncement::decode(&announced(audit_size).encode()), Ok(announced(audit_size)));
    }
}

#[test]
fn other_lengths_of_digests_are_refused() {
    let of = |genesis: usize, audit_hash: usize| {
        let message = wire::BrokerAnnouncement {
            genesis: vec![1; genesis],
            audit_size: 1,
            audit_hash: vec![2; audit_hash],
            ..Default::default()
        };
        BrokerAnnouncement::decode(&message.encode_to_vec())
    };
    assert!(of(32, 32).is_ok());
    for length in [0, 31, 33, 64] {
        assert_eq!(of(length, 32), Err(AnnouncementError::GenesisLength { found: length }));
    }
    for length in [1, 31, 33] {
        assert_eq!(of(32, length), Err(MalformedHead::HashLength { found: length }.into()));
    }
    assert_eq!(of(32, 0), Err(MalformedHead::Hash { audit_size: 1 }.into()));
}

/// Defence: exact parsing. Protobuf lets the last of several values win, so a
/// second genesis could hide behind a first one.
#[test]
fn a_second_genesis_or_anything_else_behind_the_announcement_is_refused() {
    let good = announced(1).encode();
    let second = wire::BrokerAnnouncement { genesis: vec![8; 32], ..Default::default() }.encode_to_vec();
    for tail in [second.as_slice(), &[0x78, 1], &[0], &[0x10, 3]] {
        let bytes = [&good[..], tail].concat();
        assert!(
            matches!(BrokerAnnouncement::decode(&bytes), Err(AnnouncementError::Encoding { .. })),
            "{tail:?}"
        );
    }
}

proptest! {
    #[test]
    fn what_decodes_is_what_encodes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(read) = BrokerAnnouncement::decode(&bytes) {
            prop_assert_eq!(&read.encode()[..], &bytes[..]);
        }
    }

    #[test]
    fn one_changed_byte_never_passes_for_the_same_announcement(at in 0usize..74, flip in 1u8..) {
        let mut bytes = announced(5).encode().to_vec();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        prop_assert_ne!(BrokerAnnouncement::decode(&bytes), Ok(announced(5)));
    }
}

#[test]
fn a_workload_states_one_identity_or_none() {
    let announced = WorkloadAnnouncement { identity: WorkloadIdentity([5; 32]) };
    assert_eq!(WorkloadAnnouncement::decode(&announced.encode()), Ok(Some(announced)));
    assert_eq!(WorkloadAnnouncement::decode(b""), Ok(None));
    for length in [1, 31, 33] {
        let message = wire::WorkloadAnnouncement { identity: vec![5; length] }.encode_to_vec();
        let refused = WorkloadAnnouncement::decode(&message);
        assert_eq!(refused, Err(AnnouncementError::IdentityLength { found: length }));
    }
    // A second identity after the first, which a lax reader would take.
    let two = [announced.encode(), announced.encode()].concat();
    assert!(matches!(WorkloadAnnouncement::decode(&two), Err(AnnouncementError::Workload { .. })));
    let broker = wire::BrokerAnnouncement { genesis: vec![7; 32], occlum: vec![1; 31], ..Default::default() };
    let refused = BrokerAnnouncement::decode(&broker.encode_to_vec());
    assert_eq!(refused, Err(AnnouncementError::OcclumLength { found: 31 }));
}

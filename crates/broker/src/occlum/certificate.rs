//! The form of Occlum's own certificates: of X.509 version 1, which has no extensions, and with one
//! all the same (RFC 5280, section 4.1). Both sides of Occlum's protocol make theirs so, and its
//! clients are known to take this form.

use yasna::{DERWriter, Tag, construct_der, models::ObjectIdentifier, tags::TAG_UTCTIME};

/// Occlum's extension. Its value is the quote itself.
const QUOTE: &[u64] = &[1, 2, 840, 113_741, 1];
/// sha256WithRSAEncryption. Occlum's are signed with SHA-1. No side verifies that signature: what
/// counts is the quote over the key, and that the key signed the handshake.
const ALGORITHM: &[u64] = &[1, 2, 840, 113_549, 1, 1, 11];
const COMMON_NAME: &[u64] = &[2, 5, 4, 3];
/// From and until when: nobody reads it, and a clock of the host's would prove nothing.
const VALIDITY: [&[u8]; 2] = [b"700101000000Z", b"491231235959Z"];

/// A certificate in DER, for this key as a SubjectPublicKeyInfo in DER.
pub(super) fn version_1<E>(
    key_info: &[u8],
    quote: &[u8],
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, E> {
    let signed = construct_der(|writer| {
        writer.write_sequence(|fields| {
            // There is no version, which is version 1.
            fields.next().write_u8(1);
            algorithm(fields.next());
            name(fields.next());
            fields.next().write_sequence(|dates| {
                for date in VALIDITY {
                    dates.next().write_tagged_implicit(TAG_UTCTIME, |writer| writer.write_bytes(date));
                }
            });
            name(fields.next());
            fields.next().write_der(key_info);
            fields.next().write_tagged(Tag::context(3), |writer| {
                writer.write_sequence(|extensions| {
                    extensions.next().write_sequence(|extension| {
                        extension.next().write_oid(&ObjectIdentifier::from_slice(QUOTE));
                        extension.next().write_bytes(quote);
                    });
                });
            });
        });
    });
    let signature = sign(&signed)?;
    Ok(construct_der(|writer| {
        writer.write_sequence(|fields| {
            fields.next().write_der(&signed);
            algorithm(fields.next());
            fields.next().write_bitvec_bytes(&signature, signature.len() * 8);
        });
    }))
}

fn algorithm(writer: DERWriter<'_>) {
    writer.write_sequence(|fields| {
        fields.next().write_oid(&ObjectIdentifier::from_slice(ALGORITHM));
        fields.next().write_null();
    });
}

fn name(writer: DERWriter<'_>) {
    writer.write_sequence(|name| {
        name.next().write_set(|parts| {
            parts.next().write_sequence(|part| {
                part.next().write_oid(&ObjectIdentifier::from_slice(COMMON_NAME));
                part.next().write_utf8_string("localhost");
            });
        });
    });
}

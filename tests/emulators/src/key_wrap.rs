//! AES key wrap with padding (RFC 5649), written out, so that the client's library is held
//! against something else.

use aws_lc_rs::cipher::{AES_128, AES_192, AES_256, EncryptingKey, UnboundCipherKey};

fn block(kek: &[u8], input: [u8; 16]) -> [u8; 16] {
    let algorithm = match kek.len() {
        16 => &AES_128,
        24 => &AES_192,
        _ => &AES_256,
    };
    let key = EncryptingKey::ecb(UnboundCipherKey::new(algorithm, kek).unwrap()).unwrap();
    let mut output = input;
    let _ = key.encrypt(&mut output).unwrap();
    output
}

fn joined(left: &[u8], right: &[u8]) -> [u8; 16] {
    [left, right].concat().try_into().unwrap()
}

/// Section 4.1.
pub(crate) fn wrap(kek: &[u8], key: &[u8]) -> Vec<u8> {
    let length = u32::try_from(key.len()).unwrap();
    let initial = [&[0xa6, 0x59, 0x59, 0xa6][..], &length.to_be_bytes()].concat();
    let mut padded = key.to_vec();
    padded.resize(key.len().div_ceil(8) * 8, 0);
    if padded.len() == 8 {
        return block(kek, joined(&initial, &padded)).to_vec();
    }
    registers(kek, initial.try_into().unwrap(), &padded)
}

/// Without padding (RFC 3394, section 2.2.3.1).
pub(crate) fn wrap_whole(kek: &[u8], key: &[u8]) -> Vec<u8> {
    registers(kek, [0xa6; 8], key)
}

/// RFC 3394, section 2.2.1.
fn registers(kek: &[u8], mut a: [u8; 8], padded: &[u8]) -> Vec<u8> {
    let mut registers: Vec<[u8; 8]> = padded.chunks(8).map(|chunk| chunk.try_into().unwrap()).collect();
    let mut t = 0u64;
    for _ in 0..6 {
        for register in &mut registers {
            t += 1;
            let encrypted = block(kek, joined(&a, register));
            a = (u64::from_be_bytes(encrypted[..8].try_into().unwrap()) ^ t).to_be_bytes();
            *register = encrypted[8..].try_into().unwrap();
        }
    }
    std::iter::once(a).chain(registers).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5649, section 6.
    #[test]
    fn the_examples_of_the_rfc() {
        let kek = hex::decode("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8").unwrap();
        for (key, wrapped) in [
            (
                "c37b7e6492584340bed12207808941155068f738",
                "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
            ),
            ("466f7250617369", "afbeb0f07dfbf5419200f2ccb50bb24f"),
        ] {
            assert_eq!(hex::encode(wrap(&kek, &hex::decode(key).unwrap())), wrapped);
        }
    }
}

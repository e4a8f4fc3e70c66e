//! The key that a client makes in its TEE, as a JWK (RFC 7517, RFC 7518 section 6). Secrets are
//! encrypted to it.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::error::KbsError;

/// Key agreement over an elliptic curve, and AES key wrap with the result (RFC 7518 section 4.6).
pub const ECDH_ES_A256KW: &str = "ECDH-ES+A256KW";
/// RSA with OAEP, SHA-256 and MGF1 with SHA-256 (RFC 7518 section 4.3).
pub const RSA_OAEP_256: &str = "RSA-OAEP-256";

/// Bits of an RSA modulus.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// The longest public exponent, in bytes.
const EXPONENT: usize = 5;

/// A curve for key agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// NIST's with 256 bits.
    P256,
    /// NIST's with 521 bits.
    P521,
}

impl Curve {
    /// What a JWK calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P521 => "P-521",
        }
    }

    /// The length of a coordinate, in bytes.
    pub fn coordinate(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P521 => 66,
        }
    }
}

/// A public key, for the one algorithm that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TeePublicKey {
    /// For [`ECDH_ES_A256KW`]. Whether the point lies on the curve shows when it is used.
    Ec {
        curve: Curve,
        /// The point, uncompressed (SEC 1 section 2.3.3).
        point: Vec<u8>,
    },
    /// For [`RSA_OAEP_256`].
    Rsa {
        /// Big-endian, without leading zeros.
        modulus: Vec<u8>,
        /// Big-endian, without leading zeros, at most 5 bytes.
        exponent: Vec<u8>,
    },
}

/// The members of a JWK. All that this protocol uses are texts.
pub(super) type Jwk = BTreeMap<String, String>;

impl TeePublicKey {
    /// Reads a JWK. It has the members of its kind and no others: a further one would be attested
    /// and mean nothing.
    pub(super) fn parse(jwk: &Jwk) -> Result<Self, KbsError> {
        match member(jwk, "kty")? {
            "EC" => {
                only(jwk, &["alg", "crv", "kty", "x", "y"])?;
                expect(jwk, "alg", ECDH_ES_A256KW)?;
                let curve = match member(jwk, "crv")? {
                    "P-256" => Curve::P256,
                    "P-521" => Curve::P521,
                    other => {
                        return refused(format!("expected the curve P-256 or P-521, found {}", shown(other)));
                    }
                };
                let mut point = vec![4];
                for name in ["x", "y"] {
                    let coordinate = bytes(jwk, name)?;
                    if coordinate.len() != curve.coordinate() {
                        return refused(format!(
                            "expected {} bytes in {name:?}, found {}",
                            curve.coordinate(),
                            coordinate.len()
                        ));
                    }
                    point.extend(coordinate);
                }
                Ok(Self::Ec { curve, point })
            }
            "RSA" => {
                only(jwk, &["alg", "e", "kty", "n"])?;
                expect(jwk, "alg", RSA_OAEP_256)?;
                let (modulus, exponent) = (positive(bytes(jwk, "n")?), positive(bytes(jwk, "e")?));
                let bits = modulus.len() * 8;
                if !RSA_BITS.contains(&bits) {
                    return refused(format!(
                        "expected a modulus of {} to {} bits, found {bits}",
                        RSA_BITS.start(),
                        RSA_BITS.end()
                    ));
                }
                if !(1..=EXPONENT).contains(&exponent.len()) {
                    return refused(format!(
                        "expected an exponent of 1 to {EXPONENT} bytes, found {}",
                        exponent.len()
                    ));
                }
                Ok(Self::Rsa { modulus, exponent })
            }
            other => refused(format!("expected the kind \"EC\" or \"RSA\", found {}", shown(other))),
        }
    }
}

fn refused<T>(reason: String) -> Result<T, KbsError> {
    Err(KbsError::Key { reason })
}

fn member<'a>(jwk: &'a Jwk, name: &str) -> Result<&'a str, KbsError> {
    jwk.get(name)
        .map(String::as_str)
        .ok_or_else(|| KbsError::Key { reason: format!("expected a member {name:?}") })
}

fn expect(jwk: &Jwk, name: &str, wanted: &str) -> Result<(), KbsError> {
    let found = member(jwk, name)?;
    if found == wanted {
        return Ok(());
    }
    refused(format!("expected {name:?} to be {wanted:?}, found {}", shown(found)))
}

fn only(jwk: &Jwk, names: &[&str]) -> Result<(), KbsError> {
    match jwk.keys().find(|name| !names.contains(&name.as_str())) {
        Some(other) => refused(format!("expected the members {}, found {}", names.join(", "), shown(other))),
        None => Ok(()),
    }
}

fn bytes(jwk: &Jwk, name: &str) -> Result<Vec<u8>, KbsError> {
    let decoded = URL_SAFE_NO_PAD.decode(member(jwk, name)?);
    decoded.map_err(|error| KbsError::Key {
        reason: format!("{name:?} is not base64url without padding: {error}"),
    })
}

fn positive(number: Vec<u8>) -> Vec<u8> {
    number.into_iter().skip_while(|byte| *byte == 0).collect()
}

/// A stranger's word, bounded.
fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(64).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwk(members: &[(&str, &str)]) -> Jwk {
        members.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn ec(changes: &[(&str, &str)]) -> Jwk {
        let x = URL_SAFE_NO_PAD.encode([7; 32]);
        let mut jwk = jwk(&[("kty", "EC"), ("crv", "P-256"), ("alg", ECDH_ES_A256KW), ("x", &x), ("y", &x)]);
        jwk.extend(self::jwk(changes));
        jwk
    }

    fn rsa(bytes: usize, changes: &[(&str, &str)]) -> Jwk {
        let n = URL_SAFE_NO_PAD.encode(vec![0xc1; bytes]);
        let mut jwk = jwk(&[("kty", "RSA"), ("alg", RSA_OAEP_256), ("n", &n), ("e", "AQAB")]);
        jwk.extend(self::jwk(changes));
        jwk
    }

    #[test]
    fn keys_of_both_kinds_are_read() {
        let Ok(TeePublicKey::Ec { curve: Curve::P256, point }) = TeePublicKey::parse(&ec(&[])) else {
            panic!()
        };
        assert_eq!((point.len(), point[0]), (65, 4));
        let Ok(TeePublicKey::Rsa { modulus, exponent }) = TeePublicKey::parse(&rsa(256, &[])) else {
            panic!()
        };
        assert_eq!((modulus.len(), exponent), (256, vec![1, 0, 1]));
    }

    #[test]
    fn what_is_not_meant_for_this_is_refused() {
        let short = URL_SAFE_NO_PAD.encode([7; 31]);
        for (jwk, says) in [
            (ec(&[("alg", "ECDH-ES")]), "\"ECDH-ES+A256KW\", found \"ECDH-ES\""),
            (ec(&[("alg", "none")]), "found \"none\""),
            (ec(&[("alg", "dir")]), "found \"dir\""),
            (ec(&[("crv", "P-384")]), "found \"P-384\""),
            (ec(&[("crv", "P-521")]), "expected 66 bytes"),
            (ec(&[("x", &short)]), "expected 32 bytes in \"x\", found 31"),
            (ec(&[("y", "=")]), "base64url"),
            (ec(&[("d", "AA")]), "found \"d\""),
            (ec(&[("kid", "1")]), "found \"kid\""),
            (ec(&[("kty", "OKP")]), "found \"OKP\""),
            (jwk(&[]), "\"kty\""),
            (rsa(256, &[("alg", "RSA1_5")]), "found \"RSA1_5\""),
            (rsa(256, &[("alg", ECDH_ES_A256KW)]), "RSA-OAEP-256"),
            (rsa(255, &[]), "found 2040"),
            (rsa(1025, &[]), "found 8200"),
            (rsa(256, &[("e", "AAAA")]), "exponent"),
            (rsa(256, &[("kty", "EC")]), "found \"e\""),
        ] {
            let error = TeePublicKey::parse(&jwk).unwrap_err();
            assert!(
                error.code() == "kbs-key-unsupported" && error.to_string().contains(says),
                "{error}: {says}"
            );
        }
    }
}

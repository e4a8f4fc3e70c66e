//! What a side's evidence is bound to.

use adytum_evidence::{
    identity::LengthPrefixed,
    measurement::{ReportData, Sha256Digest},
};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use sha2::Sha512;
use zeroize::Zeroizing;

/// Separates these digests from every other use of SHA-512.
const DOMAIN: &[u8] = b"adytum session v1";

/// 32 bytes from a cryptographic random generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce(pub [u8; 32]);

impl Nonce {
    /// A new one.
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(Self(bytes))
    }
}

/// The system's random generator gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system's random generator failed")]
pub struct NoRandomness;

/// Which side made the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The side that connects.
    Client,
    /// The side that is connected to.
    Server,
}

impl Role {
    /// The name as it is hashed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// The values that belong to one session and no other.
#[derive(Clone)]
pub struct Binding {
    /// The client's fresh nonce.
    pub client_nonce: Nonce,
    /// The server's fresh nonce.
    pub server_nonce: Nonce,
    /// 32 bytes of the TLS exporter, label [`SESSION_LABEL`](crate::protocol::SESSION_LABEL), no context.
    pub exporter: Zeroizing<[u8; 32]>,
    /// SHA-256 of the client's SubjectPublicKeyInfo; `None` without a certificate.
    pub client_key: Option<Sha256Digest>,
    /// SHA-256 of the server's SubjectPublicKeyInfo.
    pub server_key: Sha256Digest,
}

impl Binding {
    /// The report data of this role's evidence: SHA-512 over length-prefixed
    /// domain, role, client nonce, server nonce, exporter, digest of the role's
    /// own key, digest of the peer's key (empty without one) and digest of the
    /// role's announcement.
    pub fn report_data(&self, role: Role, announcement: &[u8]) -> ReportData {
        let client_key: &[u8] = self.client_key.as_ref().map_or(&[], |key| &key.0);
        let server_key: &[u8] = &self.server_key.0;
        let (own_key, peer_key) = match role {
            Role::Client => (client_key, server_key),
            Role::Server => (server_key, client_key),
        };
        let claims_digest = Sha256Digest::of_bytes(announcement);
        let mut hasher = LengthPrefixed::<Sha512>::new();
        for field in [
            DOMAIN,
            role.name().as_bytes(),
            &self.client_nonce.0,
            &self.server_nonce.0,
            self.exporter.as_slice(),
            own_key,
            peer_key,
            &claims_digest.0,
        ] {
            hasher.field(field);
        }
        ReportData(hasher.finish().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding() -> Binding {
        Binding {
            client_nonce: Nonce([1; 32]),
            server_nonce: Nonce([2; 32]),
            exporter: Zeroizing::new([3; 32]),
            client_key: Some(Sha256Digest([4; 32])),
            server_key: Sha256Digest([5; 32]),
        }
    }

    /// Defence: every field of the binding is in the digest, and the two roles
    /// never share one.
    #[test]
    fn every_field_changes_the_report_data() {
        let base = binding().report_data(Role::Server, b"claims");
        let changed = [
            Binding { client_nonce: Nonce([9; 32]), ..binding() },
            Binding { server_nonce: Nonce([9; 32]), ..binding() },
            Binding { exporter: Zeroizing::new([9; 32]), ..binding() },
            Binding { client_key: Some(Sha256Digest([9; 32])), ..binding() },
            Binding { client_key: None, ..binding() },
            Binding { server_key: Sha256Digest([9; 32]), ..binding() },
            // Swapped values are other values.
            Binding { client_nonce: Nonce([2; 32]), server_nonce: Nonce([1; 32]), ..binding() },
        ];
        for other in &changed {
            assert_ne!(base, other.report_data(Role::Server, b"claims"));
        }
        assert_ne!(base, binding().report_data(Role::Client, b"claims"));
        assert_ne!(base, binding().report_data(Role::Server, b"claimS"));
        assert_eq!(base, binding().report_data(Role::Server, b"claims"));
    }

    /// Even with equal keys on both sides the role alone tells the digests apart.
    #[test]
    fn the_role_is_in_the_digest() {
        let same = Binding { client_key: Some(Sha256Digest([5; 32])), ..binding() };
        assert_ne!(same.report_data(Role::Client, b""), same.report_data(Role::Server, b""));
    }

    /// A fixed value, so that another implementation can compare and no change
    /// of the format goes unseen. Computed independently with Python's hashlib.
    #[test]
    fn the_digest_is_the_documented_one() {
        let expected = concat!(
            "4a39da5a2683d791d5111163b702e94fa72ea8739bf16ff5146f4411cb14d745",
            "84196a7f3d89492140ba8da5b960de54e735dbb1969009c5c62223983733baef"
        );
        assert_eq!(binding().report_data(Role::Server, b"claims").to_string(), expected);
    }
}

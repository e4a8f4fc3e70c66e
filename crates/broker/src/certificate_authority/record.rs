//! The authority as the store keeps it.

use adytum_evidence::clock::UnixSeconds;
use prost::Message;
use rcgen::{Issuer, PublicKeyData as _};
use zeroize::{Zeroize as _, Zeroizing};

use super::{AuthorityError, AuthorityKey, CertificateAuthority, Dated, parameters, subject};

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct AuthorityRecord {
    // PKCS #8 in DER.
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    certificate: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    cross: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    former: Vec<Vec<u8>>,
}

impl std::fmt::Debug for AuthorityRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthorityRecord").finish_non_exhaustive()
    }
}

impl Drop for AuthorityRecord {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl CertificateAuthority {
    /// As bytes for the store; they hold the private key.
    pub(crate) fn encode(&self) -> Result<Zeroizing<Vec<u8>>, AuthorityError> {
        let record = AuthorityRecord {
            key: std::mem::take(&mut *self.issuer.key().to_der()?),
            certificate: self.certificate.der.clone(),
            cross: self.cross.as_ref().map(|cross| cross.der.clone()).unwrap_or_default(),
            former: self.former.iter().map(|former| former.der.clone()).collect(),
        };
        let mut bytes = Zeroizing::new(Vec::with_capacity(record.encoded_len()));
        // Cannot fail: a vector grows, and this one need not.
        let _ = record.encode(&mut *bytes);
        Ok(bytes)
    }

    /// Reads what [`Self::encode`] writes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, AuthorityError> {
        let record = AuthorityRecord::decode(bytes)
            .map_err(|error| AuthorityError::Record { reason: error.to_string() })?;
        let key = AuthorityKey::from_der(&record.key)?;
        let certificate = dated(&record.certificate)?;
        let cross = if record.cross.is_empty() { None } else { Some(dated(&record.cross)?) };
        let former = record.former.iter().map(|der| dated(der)).collect::<Result<_, _>>()?;
        let (name, public) = subject(&certificate)?;
        if public != key.der_bytes() {
            return Err(AuthorityError::Record { reason: "its certificate is for another key".to_owned() });
        }
        Ok(Self { issuer: Issuer::new(parameters(&name, 1), key), certificate, cross, former })
    }
}

fn dated(der: &[u8]) -> Result<Dated, AuthorityError> {
    let Ok((&[], certificate)) = x509_parser::parse_x509_certificate(der) else {
        return Err(AuthorityError::Record { reason: "a certificate in it is none".to_owned() });
    };
    let moment =
        |time: x509_parser::time::ASN1Time| UnixSeconds(u64::try_from(time.timestamp()).unwrap_or(0));
    let validity = certificate.validity();
    let (not_before, not_after) = (moment(validity.not_before), moment(validity.not_after));
    Ok(Dated { der: der.to_vec(), not_before, not_after })
}

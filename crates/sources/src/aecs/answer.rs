//! From an answer's text to the value of a secret.

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{
    AecsError, AecsName, Encoding,
    messages::{EnclaveSecret, GetSecretResponse},
};
use crate::rsa_key::RsaKey;

/// The longest value, in bytes. AECS's own clients take 10240.
const LONGEST_VALUE: usize = 64 * 1024;

/// An answer whose signature was checked; its envelope is closed.
pub struct Answer(GetSecretResponse);

/// Reads the text of an answer. The caller has checked the server's signature over it.
pub fn read_answer(text: &str) -> Result<Answer, AecsError> {
    serde_json::from_str(text).map(Answer).map_err(|error| AecsError::Answer { reason: error.to_string() })
}

impl Answer {
    /// The value of the secret that was asked for with this nonce.
    pub(super) fn value(
        &self,
        nonce: &str,
        wanted: &AecsName,
        key: &RsaKey,
        server_key: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, AecsError> {
        if self.0.nonce != nonce {
            return Err(AecsError::Nonce { empty: self.0.nonce.is_empty() });
        }
        let plain = self.0.secret_enc.open(key, server_key)?;
        // The reader's message could repeat parts of the secret.
        let secret: EnclaveSecret =
            serde_json::from_slice(&plain).map_err(|_| AecsError::Content { secret: wanted.to_string() })?;
        let EnclaveSecret { spec, data } = secret;
        let is = |found: &str, name: &str| found.is_empty() || found == name;
        if !is(&spec.secret_name, wanted.name()) || !is(&spec.service_name, wanted.service()) {
            let found = format!("{}/{}", spec.service_name, spec.secret_name);
            return Err(AecsError::OtherSecret { wanted: wanted.to_string(), found });
        }
        decode(data, wanted)
    }
}

fn decode(data: Zeroizing<String>, wanted: &AecsName) -> Result<Zeroizing<Vec<u8>>, AecsError> {
    let value = |reason: String| AecsError::Value { secret: wanted.to_string(), reason };
    let bytes = match wanted.encoding() {
        Encoding::Plain => Zeroizing::new(data.as_bytes().to_vec()),
        Encoding::Base64 => STANDARD.decode(data.trim_end()).map(Zeroizing::new).map_err(|_| {
            value("expected base64, as the configuration says, found another text".to_owned())
        })?,
    };
    match bytes.len() {
        0 => Err(value("it is empty".to_owned())),
        1..=LONGEST_VALUE => Ok(bytes),
        found => Err(value(format!("it has {found} bytes; at most {LONGEST_VALUE} are taken"))),
    }
}

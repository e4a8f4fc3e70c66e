//! TensorFlow Serving's `SSLConfig` (`ssl_config.proto`), as its text files
//! hold it.

use std::fmt;

use zeroize::Zeroizing;

use crate::text_format::{Fields, TextError, parse};

/// A parsed `SSLConfig`. Its key is zeroized when it is dropped and never
/// printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SslConfig {
    /// The server's private key in PEM.
    pub server_key: Zeroizing<String>,
    /// The server's certificate in PEM, with its chain if it has one.
    pub server_cert: String,
    /// Roots for client certificates, in PEM.
    pub custom_ca: String,
    /// Whether clients must show a certificate.
    pub client_verify: bool,
}

impl fmt::Debug for SslConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SslConfig").field("client_verify", &self.client_verify).finish_non_exhaustive()
    }
}

impl SslConfig {
    /// Reads protobuf's text format.
    pub fn parse(text: &[u8]) -> Result<Self, TextError> {
        const MESSAGE: &str = "SSLConfig";
        let mut fields = Fields::new(MESSAGE, parse(MESSAGE, text)?);
        let configuration = Self {
            server_key: fields.secret_text("server_key")?.unwrap_or_default(),
            server_cert: fields.text("server_cert")?.unwrap_or_default(),
            custom_ca: fields.text("custom_ca")?.unwrap_or_default(),
            client_verify: fields.boolean("client_verify")?.unwrap_or(false),
        };
        fields.finish()?;
        Ok(configuration)
    }

    /// Whether it says nothing, as an empty file does.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

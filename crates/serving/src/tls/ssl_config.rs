//! TensorFlow Serving's `SSLConfig` (`ssl_config.proto`), as its text files
//! hold it.

use std::fmt;

use zeroize::Zeroizing;

use super::text_format::{Parser, SyntaxError, Value};

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

/// The fault of an `SSLConfig`'s text. It never quotes a value.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SslConfigError {
    /// The `SSLConfig` is not valid in protobuf's text format.
    ///
    /// Do: correct the text at the line and column in the message; `adytum ssl-config new`
    /// writes a valid one.
    #[error("SSLConfig, line {line}, column {column}: {problem}")]
    Syntax {
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1 in bytes.
        column: usize,
        problem: &'static str,
    },
    /// The `SSLConfig` has a field that does not exist.
    ///
    /// Do: use only `server_key`, `server_cert`, `custom_ca` and `client_verify`.
    #[error(
        "SSLConfig, line {line}: unknown field {name:?}; there are server_key, server_cert, custom_ca and client_verify"
    )]
    UnknownField { line: usize, name: String },
    /// The `SSLConfig` gives a field twice.
    ///
    /// Do: strike one of the two.
    #[error("SSLConfig, line {line}: the field {name} is given twice")]
    Repeated {
        /// The line of the second.
        line: usize,
        name: &'static str,
    },
    /// A field of the `SSLConfig` has a value of the wrong type.
    ///
    /// Do: give the kind of value that the message names.
    #[error("SSLConfig, line {line}: the field {name} must be {expected}")]
    Type {
        line: usize,
        name: &'static str,
        /// What it must be.
        expected: &'static str,
    },
}

impl SslConfigError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "ssl-config-syntax",
            Self::UnknownField { .. } => "ssl-config-unknown-field",
            Self::Repeated { .. } => "ssl-config-repeated-field",
            Self::Type { .. } => "ssl-config-type",
        }
    }
}

impl From<SyntaxError> for SslConfigError {
    fn from(error: SyntaxError) -> Self {
        Self::Syntax { line: error.line, column: error.column, problem: error.problem }
    }
}

impl SslConfig {
    /// Reads protobuf's text format.
    pub fn parse(text: &[u8]) -> Result<Self, SslConfigError> {
        let mut parser = Parser::new(text);
        let mut config = Self::default();
        let mut seen = Vec::new();
        while let Some(field) = parser.field()? {
            let line = field.line;
            let name = match field.name {
                "server_key" => "server_key",
                "server_cert" => "server_cert",
                "custom_ca" => "custom_ca",
                "client_verify" => "client_verify",
                other => {
                    let name = other.chars().take(80).collect();
                    return Err(SslConfigError::UnknownField { line, name });
                }
            };
            if seen.contains(&name) {
                return Err(SslConfigError::Repeated { line, name });
            }
            seen.push(name);
            let text = |value| match value {
                Value::Text(text) => Ok(text),
                Value::Word(_) => Err(SslConfigError::Type { line, name, expected: "a quoted string" }),
            };
            match name {
                "server_key" => config.server_key = text(field.value)?,
                "server_cert" => config.server_cert = text(field.value)?.to_string(),
                "custom_ca" => config.custom_ca = text(field.value)?.to_string(),
                _ => {
                    config.client_verify = match field.value {
                        Value::Word("true" | "True" | "t" | "1") => true,
                        Value::Word("false" | "False" | "f" | "0") => false,
                        _ => {
                            return Err(SslConfigError::Type { line, name, expected: "true or false" });
                        }
                    }
                }
            }
        }
        Ok(config)
    }
}

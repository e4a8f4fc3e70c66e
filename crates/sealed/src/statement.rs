//! The signed statement that goes with a sealed model.

use std::{fmt, str::FromStr};

use adytum_api::names::ModelName;
use adytum_evidence::measurement::Sha256Digest;
use adytum_signing::{KeyError, OwnerPublicKey, OwnerSignature, OwnerSigningKey, Purpose};
use serde::{Deserialize, Serialize};

use crate::layout::{ARCHIVE_FILE, CHUNK};

/// What the field `format` says.
pub const FORMAT: &str = "adytum seal v1";

/// The longest statement that is read, in bytes.
pub const MAXIMUM_STATEMENT_LENGTH: usize = 4096;

/// The highest version: TensorFlow Serving's versions are signed 64-bit numbers.
pub const MAXIMUM_VERSION: u64 = i64::MAX as u64;

/// What somebody says about a sealed model. Parsed, and that is all: whether to
/// believe it is for [`crate::rule::ModelRule::judge`] to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    pub model: ModelName,
    /// Its version: the name of its directory.
    pub version: u64,
    /// The plaintext's file name.
    pub file_name: FileName,
    /// The plaintext's length in bytes; never 0.
    pub size: u64,
    pub sha256: Sha256Digest,
    /// The owner who signed, if the signature is valid.
    pub signer: OwnerPublicKey,
    /// The signature over all of the above.
    pub signature: OwnerSignature,
}

/// The text form: JSON, so that other tools can read and write it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    format: String,
    model: ModelName,
    version: u64,
    file: String,
    size: u64,
    sha256: Sha256Digest,
    signer: OwnerPublicKey,
    signature: String,
}

impl Statement {
    /// Signs a statement about a plaintext.
    pub(crate) fn sign(
        key: &OwnerSigningKey,
        model: ModelName,
        version: u64,
        file_name: FileName,
        size: u64,
        sha256: Sha256Digest,
    ) -> Self {
        let signer = key.public_key();
        let unsigned =
            Self { model, version, file_name, size, sha256, signer, signature: OwnerSignature([0; 64]) };
        let signature = unsigned.with_fields(|fields| key.sign(Purpose::Seal, fields));
        Self { signature, ..unsigned }
    }

    /// Is the signature that of the signer it names? Says nothing about whether
    /// that signer's word counts.
    pub fn verify_signature(&self) -> Result<(), KeyError> {
        self.with_fields(|fields| self.signer.verify(Purpose::Seal, fields, &self.signature))
    }

    /// The fewest bytes that the ciphertext can have: a nonce, the plaintext, a tag for each
    /// chunk (C2SP age, "Payload"), and the first line of the header.
    pub fn smallest_ciphertext(&self) -> u64 {
        const FIRST_LINE: u64 = 22;
        const NONCE: u64 = 16;
        const TAG: u64 = 16;
        let tags = self.size.div_ceil(CHUNK as u64).saturating_mul(TAG);
        self.size.saturating_add(tags).saturating_add(NONCE + FIRST_LINE)
    }

    /// Everything but the signature, as it is signed: values, not their text.
    fn with_fields<R>(&self, use_fields: impl FnOnce(&[&[u8]]) -> R) -> R {
        use_fields(&[
            self.model.as_str().as_bytes(),
            &self.version.to_be_bytes(),
            self.file_name.as_str().as_bytes(),
            &self.size.to_be_bytes(),
            &self.sha256.0,
            &self.signer.0,
        ])
    }

    /// The text form, ended by a line feed.
    pub fn to_text(&self) -> String {
        let text = Text {
            format: FORMAT.to_owned(),
            model: self.model.clone(),
            version: self.version,
            file: self.file_name.as_str().to_owned(),
            size: self.size,
            sha256: self.sha256,
            signer: self.signer,
            signature: hex::encode(self.signature.0),
        };
        #[expect(clippy::expect_used, reason = "strings and integers always have a JSON form")]
        let mut json = serde_json::to_string_pretty(&text).expect("a statement serialises");
        json.push('\n');
        json
    }

    /// Reads the text form of a statement from an untrusted place.
    pub fn parse(bytes: &[u8]) -> Result<Self, StatementError> {
        if bytes.len() > MAXIMUM_STATEMENT_LENGTH {
            return Err(StatementError::TooLong { found: bytes.len() as u64 });
        }
        let malformed = |reason: String| StatementError::Malformed { reason: printable(&reason) };
        let text: Text = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        if text.format != FORMAT {
            return Err(StatementError::Format { found: printable(&text.format) });
        }
        if text.version > MAXIMUM_VERSION {
            return Err(malformed(format!("version {} is above {MAXIMUM_VERSION}", text.version)));
        }
        if text.size == 0 {
            return Err(StatementError::Empty);
        }
        let mut signature = [0; 64];
        hex::decode_to_slice(&text.signature, &mut signature)
            .map_err(|_| malformed("the signature is not 128 hexadecimal digits".to_owned()))?;
        Ok(Self {
            model: text.model,
            version: text.version,
            file_name: text.file.parse()?,
            size: text.size,
            sha256: text.sha256,
            signer: text.signer,
            signature: OwnerSignature(signature),
        })
    }
}

/// A text from outside, safe in a log line: escaped and cut.
fn printable(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}

/// The name of a sealed file: 1 to 64 characters of `a-z A-Z 0-9 _ - .`, the
/// first a letter or digit, so that it stays in its directory and is safe in a
/// log line. Not one that the layout needs itself (`.age`, `.seal`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName(String);

impl FileName {
    /// The name of every sealed model that Adytum itself writes.
    pub fn model_onnx() -> Self {
        Self("model.onnx".to_owned())
    }

    /// The name of every bundle's archive: see [`crate::bundle`].
    pub fn bundle_tar() -> Self {
        Self(ARCHIVE_FILE.to_owned())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the ciphertext's file.
    pub fn ciphertext(&self) -> String {
        format!("{}.age", self.0)
    }
}

impl FromStr for FileName {
    type Err = StatementError;

    fn from_str(text: &str) -> Result<Self, StatementError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let fits = (1..=64).contains(&text.len())
            && text.chars().all(allowed)
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && !text.ends_with(".age")
            && !text.ends_with(".seal");
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(StatementError::FileName { found: printable(text) })
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Why a text is not a statement.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// The statement has more bytes than are read.
    ///
    /// Do: check that the `.seal` file is the one that `adytum seal` wrote; else seal
    /// again.
    #[error("the statement has {found} bytes, at most {MAXIMUM_STATEMENT_LENGTH} are read")]
    TooLong {
        /// Bytes found; may be only what was looked at.
        found: u64,
    },
    /// The `.seal` file is no statement: not JSON, or with missing, unknown or wrong
    /// fields.
    ///
    /// Do: copy the file again; if the error stays, seal the model or bundle again.
    #[error("not a seal statement: {reason}; seal the model again")]
    Malformed {
        /// What the reader said.
        reason: String,
    },
    /// The statement has a format, or a version of it, that this program does not read.
    ///
    /// Do: use the release of `adytum` that belongs to this program, and seal again.
    #[error("the statement's format is \"{found}\", this program reads \"{FORMAT}\"")]
    Format { found: String },
    /// The name in the statement is no plain file name.
    ///
    /// Do: seal the file again under a name of 1 to 64 letters, digits, `_`, `-` or `.`.
    #[error(
        "\"{found}\" is not a sealed file's name: expected 1 to 64 letters, digits, '_', '-' or '.', the \
         first a letter or digit, not ending in .age or .seal"
    )]
    FileName { found: String },
    /// The statement is about a file of no bytes.
    ///
    /// Do: seal the file that holds the model.
    #[error("the statement is about an empty file; no model is empty")]
    Empty,
}

impl StatementError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "statement-too-long",
            Self::Malformed { .. } => "statement-malformed",
            Self::Format { .. } => "statement-format",
            Self::FileName { .. } => "statement-file-name",
            Self::Empty => "statement-empty-model",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn statement() -> (OwnerSigningKey, Statement) {
        let key = OwnerSigningKey::generate().unwrap();
        let statement = Statement::sign(
            &key,
            "digits".parse().unwrap(),
            7,
            FileName::model_onnx(),
            1234,
            Sha256Digest::of_bytes(b"model"),
        );
        (key, statement)
    }

    #[test]
    fn text_goes_both_ways_and_the_signature_holds() {
        let (_, statement) = statement();
        let text = statement.to_text();
        assert!(text.len() < 700, "{text}");
        let again = Statement::parse(text.as_bytes()).unwrap();
        assert_eq!(again, statement);
        again.verify_signature().unwrap();
    }

    #[test]
    fn every_field_is_signed() {
        let (_, statement) = statement();
        let other = OwnerSigningKey::generate().unwrap().public_key();
        for changed in [
            Statement { model: "digit".parse().unwrap(), ..statement.clone() },
            Statement { version: 8, ..statement.clone() },
            Statement { file_name: "model.onn".parse().unwrap(), ..statement.clone() },
            Statement { size: 1235, ..statement.clone() },
            Statement { sha256: Sha256Digest::of_bytes(b"Model"), ..statement.clone() },
            Statement { signer: other, ..statement.clone() },
        ] {
            assert!(changed.verify_signature().is_err(), "{changed:?}");
        }
    }

    #[test]
    fn other_texts_say_why_not() {
        let (_, statement) = statement();
        let text = statement.to_text();
        let code = |text: &str| Statement::parse(text.as_bytes()).unwrap_err().code();
        assert_eq!(code(""), "statement-malformed");
        assert_eq!(code("{}"), "statement-malformed");
        assert_eq!(code(&text.replace("seal v1", "seal v2")), "statement-format");
        assert_eq!(code(&text.replace("1234", "0")), "statement-empty-model");
        assert_eq!(code(&text.replace("1234", "-1")), "statement-malformed");
        assert_eq!(code(&text.replace("1234", "1e3")), "statement-malformed");
        assert_eq!(code(&text.replace("model.onnx", "../../etc/passwd")), "statement-file-name");
        assert_eq!(code(&text.replace("model.onnx", "model.seal")), "statement-file-name");
        assert_eq!(code(&text.replace(": 7", ": 9223372036854775808")), "statement-malformed");
        assert_eq!(code(&text.replace("\"size\"", "\"extra\": 1, \"size\"")), "statement-malformed");
        assert_eq!(code(&text.replace("\"size\"", "\"version\": 8, \"size\"")), "statement-malformed");
        assert_eq!(code(&format!("{text}{}", " ".repeat(4096))), "statement-too-long");
        let injected = text.replace("\"size\"", "\"\\nERROR all is lost\": 1, \"size\"");
        let error = Statement::parse(injected.as_bytes()).unwrap_err();
        assert!(!error.to_string().contains('\n'), "{error}");
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let (_, statement) = statement();
        let text = statement.to_text().into_bytes();
        for position in 0..text.len() {
            for bit in 0..8 {
                let mut changed = text.clone();
                changed[position] ^= 1 << bit;
                match Statement::parse(&changed) {
                    Err(_) => {}
                    // White space and the case of hexadecimal digits mean nothing.
                    Ok(parsed) if parsed == statement => {}
                    Ok(parsed) => {
                        assert!(parsed.verify_signature().is_err(), "byte {position} bit {bit}: {parsed:?}")
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let _ = Statement::parse(&bytes);
        }

        #[test]
        fn no_json_makes_the_parser_panic(
            format in prop_oneof![Just(FORMAT.to_owned()), ".*"],
            model in ".{0,140}", version in any::<u64>(), file in ".{0,70}", size in any::<u64>(),
            digest in "[0-9a-fA-F]{62,66}", signer in "(ed25519:)?[0-9a-f]{62,66}", signature in "[0-9a-f]{126,130}",
        ) {
            let json = serde_json::json!({
                "format": format, "model": model, "version": version, "file": file, "size": size,
                "sha256": digest, "signer": signer, "signature": signature,
            });
            if let Ok(statement) = Statement::parse(json.to_string().as_bytes()) {
                prop_assert!(statement.verify_signature().is_err());
                prop_assert_eq!(Statement::parse(statement.to_text().as_bytes()), Ok(statement));
            }
        }
    }
}

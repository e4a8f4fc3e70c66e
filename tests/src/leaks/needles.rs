//! What a secret looks like in other clothes.

use std::ops::Range;

use base64::{Engine as _, engine::general_purpose};

/// Shorter values would be found by chance.
const SHORTEST: usize = 16;
/// Bytes in a line of PEM (RFC 7468).
const PEM_LINE: usize = 48;
/// Of a model's piece.
const PIECE_LENGTH: usize = 48;
const PIECES: usize = 64;

/// The parts of a value that nobody may see: private keys in PEM by their bytes,
/// age identities, else the value as a whole.
pub(super) fn secret_parts(value: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(value);
    // An SSLConfig has PEM with escaped line ends.
    let unescaped = text.replace("\\n", "\n");
    let blocks = pem::parse_many(&unescaped).unwrap_or_default();
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for block in &blocks {
        if block.tag().contains("PRIVATE KEY") {
            let numbers = private_numbers(block.contents());
            parts.extend(numbers.iter().map(|range| block.contents()[range.clone()].to_vec()));
            parts.extend(numbers.into_iter().flat_map(|range| text_lines(block.contents(), range)));
            parts.push(block.contents().to_vec());
        }
    }
    if blocks.is_empty() {
        let trimmed = value.trim_ascii();
        // Comments and other fields next to it are no secret.
        match text.split_whitespace().find(|word| word.starts_with("AGE-SECRET-KEY-")) {
            Some(identity) => parts.push(identity.as_bytes().to_vec()),
            None => parts.push(trimmed.to_vec()),
        }
        if let Ok(bytes) = hex_bytes(trimmed) {
            parts.push(bytes);
        }
    }
    parts.retain(|part| part.len() >= SHORTEST);
    parts
}

/// The octet strings of 32 bytes in a PKCS #8 key: where Ed25519 and P-256 keep
/// the number that matters.
fn private_numbers(der: &[u8]) -> Vec<Range<usize>> {
    let begins = |at: &usize| der[*at..].starts_with(&[0x04, 0x20]) && at + 34 <= der.len();
    (0..der.len()).filter(begins).map(|at| at + 2..at + 34).collect()
}

/// The lines of PEM that hold a part of these bytes: as text, since a file of a
/// Kubernetes Secret is base64 of that text.
fn text_lines(der: &[u8], range: Range<usize>) -> Vec<Vec<u8>> {
    let lines = der.chunks(PEM_LINE).enumerate();
    lines
        .filter(|(number, _)| number * PEM_LINE < range.end && (number + 1) * PEM_LINE > range.start)
        .map(|(_, line)| general_purpose::STANDARD.encode(line).into_bytes())
        .collect()
}

fn hex_bytes(text: &[u8]) -> Result<Vec<u8>, hex::FromHexError> {
    hex::decode(text)
}

/// A value as it may be written down.
pub(super) fn forms(value: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hexadecimal = hex::encode(value);
    let mut forms = vec![
        ("raw", value.to_vec()),
        ("hexadecimal", hexadecimal.to_ascii_uppercase().into_bytes()),
        ("hexadecimal", hexadecimal.into_bytes()),
    ];
    for offset in 0..3 {
        forms.push(("base64", within_base64(&general_purpose::STANDARD_NO_PAD, value, offset)));
        forms.push(("base64url", within_base64(&general_purpose::URL_SAFE_NO_PAD, value, offset)));
    }
    forms
}

/// The characters that base64 of some text has wherever the value begins `offset`
/// bytes after a multiple of three in it: those that depend on the value alone.
fn within_base64(engine: &general_purpose::GeneralPurpose, value: &[u8], offset: usize) -> Vec<u8> {
    let mut bytes = vec![0; offset];
    bytes.extend_from_slice(value);
    let encoded = engine.encode(&bytes).into_bytes();
    // A character is six bits; the first ones and the last one hold others' bits.
    let begin = (offset * 8).div_ceil(6);
    let end = (bytes.len() * 8) / 6;
    encoded[begin..end].to_vec()
}

/// Pieces from all over a model, without those that are of one byte only.
pub(super) fn pieces(model: &[u8]) -> Vec<Vec<u8>> {
    let step = (model.len() / PIECES).max(1);
    let pieces = model.chunks(step).filter_map(|chunk| chunk.get(..PIECE_LENGTH));
    pieces.filter(|piece| piece.iter().any(|byte| byte != &piece[0])).map(<[u8]>::to_vec).collect()
}

/// The bytes without line ends, written as such or as `\n` and `\r`, and without
/// the blanks that indent a line.
pub(super) fn without_line_breaks(bytes: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(bytes.len());
    let mut position = 0;
    while let Some(&byte) = bytes.get(position) {
        let escape = byte == b'\\' && matches!(bytes.get(position + 1), Some(b'n' | b'r'));
        if escape {
            position += 2;
            continue;
        }
        if !matches!(byte, b'\n' | b'\r' | b' ' | b'\t') {
            joined.push(byte);
        }
        position += 1;
    }
    joined
}

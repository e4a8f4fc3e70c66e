//! The pseudo-files that platforms offer: read whole within a limit, written
//! in one write, never created.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::Path,
};

use zeroize::Zeroizing;

use super::AttesterError;

/// Reads a file of at most `limit` bytes. The buffer is wiped when dropped: it
/// may have held a key.
pub(super) fn read(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, AttesterError> {
    // Allocated once: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 1));
    File::open(path)
        .and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| failed(path, "read", &error))?;
    if bytes.len() > limit {
        return Err(AttesterError::Answer {
            interface: path.display().to_string(),
            expected: format!("at most {limit} bytes"),
            found: "more".to_owned(),
        });
    }
    Ok(bytes)
}

/// Reads a line of text.
pub(super) fn read_line(path: &Path) -> Result<String, AttesterError> {
    let bytes = read(path, 256)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(text.trim_end_matches(['\n', '\0']).to_owned()),
        Err(_) => Err(AttesterError::Answer {
            interface: path.display().to_string(),
            expected: "a line of text".to_owned(),
            found: "bytes that are not UTF-8".to_owned(),
        }),
    }
}

/// Writes all bytes at once: these files take a value a write.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), AttesterError> {
    let mut file = OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(|error| failed(path, "open for writing", &error))?;
    let written = file.write(bytes).map_err(|error| failed(path, "write", &error))?;
    if written != bytes.len() {
        return Err(AttesterError::Interface {
            interface: path.display().to_string(),
            operation: "write",
            reason: format!("it took {written} of {} bytes", bytes.len()),
        });
    }
    Ok(())
}

pub(super) fn failed(path: &Path, operation: &'static str, error: &dyn std::fmt::Display) -> AttesterError {
    AttesterError::Interface { interface: path.display().to_string(), operation, reason: error.to_string() }
}

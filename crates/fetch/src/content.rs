//! What a version at a source is: a sealed model, or a plain one; and whether all of it is
//! there.

use adytum_sealed::directory::{PLAIN_MODEL_FILE, SAVED_MODEL_FILE, STATEMENT_FILE};

use crate::{
    error::PullError,
    listing::{RemoteVersion, read_statement},
    names::FileName,
    source::Source,
};

/// A version of which all files are there, as far as their names and sizes show.
#[derive(Debug)]
pub(crate) struct Whole {
    /// With those files only that belong to the model.
    pub(crate) version: RemoteVersion,
    pub(crate) sealed: bool,
}

/// Checks that a version is whole.
pub(crate) async fn whole(source: &Source, mut version: RemoteVersion) -> Result<Whole, PullError> {
    let number = version.version;
    let incomplete = |missing: String| PullError::Incomplete { version: number, missing };
    let has =
        |name: &str| version.files.iter().find(|(known, _)| known.as_str() == name).map(|(_, file)| file);
    let Some(statement) = has(STATEMENT_FILE) else {
        if has(PLAIN_MODEL_FILE).or_else(|| has(SAVED_MODEL_FILE)).is_some() {
            return Ok(Whole { version, sealed: false });
        }
        return Err(incomplete(format!("{STATEMENT_FILE}, {PLAIN_MODEL_FILE} or {SAVED_MODEL_FILE}")));
    };
    let statement = read_statement(source, number, statement).await?;
    let name = FileName::parse(&statement.file_name.ciphertext())?;
    let Some(ciphertext) = version.files.get(&name) else {
        return Err(incomplete(name.as_str().to_owned()));
    };
    let (found, expected) = (ciphertext.size, statement.smallest_ciphertext());
    if found < expected {
        let name = name.as_str().to_owned();
        return Err(PullError::Truncated { version: number, name, found, expected });
    }
    version.files.retain(|known, _| *known == name || known.as_str() == STATEMENT_FILE);
    Ok(Whole { version, sealed: true })
}

//! The service file, which data owners verify replicas by: of the manifest in force, and renewed long
//! before it expires.

use std::{fs, time::Duration};

use adytum_evidence::{
    clock::{Clock, Day},
    measurement::Sha256Digest,
};
use adytum_governance::{
    manifest::Manifest,
    service::{document::Document, signed::SignedService},
};
use anyhow::Context as _;

use crate::{
    owner_directory::{OwnerDirectory, replace},
    service,
};

/// This long before it expires a file is replaced: who gets it has time to use it.
const MARGIN: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Writes the file if there is none of the manifest in force that counts for a while; gives the last
/// day of the new one.
pub(super) fn renew(directory: &OwnerDirectory, clock: &dyn Clock) -> anyhow::Result<Option<Day>> {
    let (manifest, out) = (directory.public("manifest.toml"), directory.public("service.toml"));
    let text = fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
    let version = Manifest::parse(&text).with_context(|| manifest.display().to_string())?.version;
    // One that can't be read is replaced.
    let read = |text: String| SignedService::from_file(&text).ok()?.document().ok();
    let found = fs::read_to_string(&out).ok().and_then(read);
    let in_force = (version, Sha256Digest::of_bytes(text.as_bytes()));
    let Some(revision) = next_revision(found.as_ref(), in_force, Day::of(clock.now().plus(MARGIN))) else {
        return Ok(None);
    };
    let (genesis, owner) = (directory.public("genesis.toml"), directory.private("owner.pem"));
    let file = service::of_all(manifest, genesis, owner, revision)?;
    replace(&out, file.as_bytes(), 0o644)?;
    Ok(Some(SignedService::from_file(&file)?.document()?.expires))
}

/// The number of the next file of this manifest, if one is due: this one counts at least until a day.
fn next_revision(
    found: Option<&Document>,
    (version, sha256): (u64, Sha256Digest),
    until: Day,
) -> Option<u32> {
    match found {
        Some(found) if found.manifest_version == version => {
            let is_good = found.manifest_sha256 == sha256 && found.expires >= until;
            (!is_good).then(|| found.revision.saturating_add(1))
        }
        _ => Some(1),
    }
}

#[cfg(test)]
mod tests {
    use adytum_evidence::clock::FixedClock;

    use super::*;

    const DIGEST: Sha256Digest = Sha256Digest([7; 32]);

    fn document(revision: u32, expires: &str) -> Document {
        let text = format!(
            "format = \"adytum service v1\"\nname = \"iris\"\ngenesis = \"{}\"\nmanifest_version = 3\n\
             manifest_sha256 = \"{DIGEST}\"\nrevision = {revision}\nexpires = \"{expires}\"\nworkload = []\n\
             model = []\n[trust]\nvendors = []\n",
            "5a".repeat(32)
        );
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn a_file_is_renewed_a_month_before_it_expires() {
        let clock = FixedClock::new("2026-12-01".parse::<Day>().unwrap().start());
        let until = Day::of(clock.now().plus(MARGIN));
        assert_eq!(until.to_string(), "2026-12-31");
        let next = |found: &Document, in_force| next_revision(Some(found), in_force, until);
        assert_eq!(next(&document(2, "2026-12-31"), (3, DIGEST)), None);
        assert_eq!(next(&document(2, "2026-12-30"), (3, DIGEST)), Some(3));
        // Another manifest of the same version: data owners must not take the two for one.
        assert_eq!(next(&document(2, "2026-12-31"), (3, Sha256Digest([8; 32]))), Some(3));
        assert_eq!(next(&document(2, "2026-12-31"), (4, DIGEST)), Some(1));
        assert_eq!(next_revision(None, (3, DIGEST), until), Some(1));
    }
}

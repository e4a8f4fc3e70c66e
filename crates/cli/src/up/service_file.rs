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
///
/// `in_force` is the version that the broker has. A manifest that it was not given yet is left
/// alone: no replica could prove that it follows that one.
pub(super) fn renew(
    directory: &OwnerDirectory,
    in_force: u64,
    clock: &dyn Clock,
) -> anyhow::Result<Option<Day>> {
    let (manifest, out) = (directory.public("manifest.toml"), directory.public("service.toml"));
    let text = fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
    let version = Manifest::parse(&text).with_context(|| manifest.display().to_string())?.version;
    if version != in_force {
        return Ok(None);
    }
    // One that can't be read is replaced.
    let read = |text: String| SignedService::from_file(&text).ok()?.document().ok();
    let found = fs::read_to_string(&out).ok().and_then(read);
    let edition = (version, Sha256Digest::of_bytes(text.as_bytes()));
    let Some(revision) = next_revision(found.as_ref(), edition, Day::of(clock.now().plus(MARGIN))) else {
        return Ok(None);
    };
    let (genesis, owner) = (directory.public("genesis.toml"), directory.private("owner.pem"));
    let file = service::of_all(manifest, genesis, owner, revision, clock)?;
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

#[cfg(feature = "simulation")]
#[cfg(test)]
mod tests {
    use adytum_evidence::{clock::FixedClock, measurement::WorkloadIdentity};
    use adytum_sim::Platform;

    use super::*;
    use crate::{deployment::build::simulated, owner_directory::Service};

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

    /// `adytum model retire` signs the next manifest some time before the broker is given it.
    #[test]
    fn the_file_is_of_the_manifest_that_the_broker_has() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = OwnerDirectory::create(&temporary.path().join("owner")).unwrap();
        let keys = directory.keys(&["localhost".to_owned()]).unwrap();
        let policy = simulated(WorkloadIdentity(DIGEST.0));
        let models = ["iris".parse().unwrap()];
        let platform = Platform::create_or_open(directory.platform()).unwrap();
        let service = Service {
            workload: &"iris".parse().unwrap(),
            models: &models,
            broker: &policy,
            simulation_root: Some(platform.root_certificate_pem()),
            engine: None,
        };
        assert_eq!(directory.write_manifest(&keys, &service, &policy).unwrap(), 1);
        let start = "2026-12-01".parse::<Day>().unwrap().start();
        let at = |days: u64| FixedClock::new(start.plus(Duration::from_secs(days * 24 * 60 * 60)));
        let out = directory.public("service.toml");
        let written = || {
            let document = SignedService::from_file(&fs::read_to_string(&out).unwrap()).unwrap().document();
            let document = document.unwrap();
            (document.manifest_version, document.revision, document.expires.to_string())
        };
        assert_eq!(renew(&directory, 1, &at(0)).unwrap().unwrap().to_string(), "2027-03-01");
        assert_eq!(written(), (1, 1, "2027-03-01".to_owned()));
        assert_eq!(renew(&directory, 1, &at(59)).unwrap(), None);

        directory.raise_floor(&keys.owner, &models[0], 2).unwrap();
        for day in [0, 59, 89] {
            assert_eq!(renew(&directory, 1, &at(day)).unwrap(), None);
            assert_eq!(written().0, 1);
        }
        renew(&directory, 2, &at(1)).unwrap().unwrap();
        assert_eq!(written(), (2, 1, "2027-03-02".to_owned()));
        // A month before it ends, the next one of the same manifest.
        renew(&directory, 2, &at(62)).unwrap().unwrap();
        assert_eq!(written(), (2, 2, "2027-05-02".to_owned()));
    }
}

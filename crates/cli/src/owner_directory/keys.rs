//! Files that are made once: keys, the genesis, the server's certificate.

use std::{fs, path::Path};

use adytum_governance::{
    genesis::Genesis,
    recovery::sharing::{RecoveryIdentity, RecoveryRecipient},
};
use adytum_sealed::keys::{ModelIdentity, ModelRecipient};
use adytum_signing::OwnerSigningKey;
use zeroize::Zeroizing;

use super::OwnerDirectory;
use crate::{attested::read_genesis, key_file, ssl_config};

/// The keys of one owner, who is the only one.
pub(crate) struct Keys {
    /// Signs manifests, commands and models.
    pub(crate) owner: OwnerSigningKey,
    pub(crate) genesis: Genesis,
    /// Models are sealed to it.
    pub(crate) recipient: ModelRecipient,
    /// Its holder brings the broker's root key back.
    pub(crate) recovery: RecoveryRecipient,
}

impl OwnerDirectory {
    /// The keys that are there; those that are missing are made. The certificate that is
    /// made is for these names.
    pub(crate) fn keys(&self, hosts: &[String]) -> anyhow::Result<Keys> {
        let owner = kept(
            &self.private("owner.pem"),
            key_file::owner_key,
            || Ok(OwnerSigningKey::generate()?),
            |key| Ok(key.to_pem()?),
        )?;
        let genesis = kept_public(&self.public("genesis.toml"), || {
            Ok(Genesis::create([owner.public_key()], 1)?.to_toml().into_bytes())
        })?;
        let model = kept(
            &self.secret("model_key"),
            key_file::model_identity,
            || Ok(ModelIdentity::generate()),
            |key| Ok(line(&key.to_text())),
        )?;
        let recovery = kept(
            &self.private("recovery.key"),
            key_file::recovery_identity,
            || Ok(RecoveryIdentity::generate()),
            |key| Ok(line(&key.to_text())),
        )?;
        self.certificate(hosts)?;
        Ok(Keys { owner, genesis, recipient: model.recipient(), recovery: recovery.recipient() })
    }

    /// The server's certificate and its key: both, or neither.
    fn certificate(&self, hosts: &[String]) -> anyhow::Result<()> {
        let (crt, key) = (self.public("server.crt"), self.secret("ssl_config"));
        for (there, missing) in [(&crt, &key), (&key, &crt)] {
            if there.exists() && !missing.exists() {
                bail_input!(
                    "{} is there without {}: bring that back, or remove the first to have both made",
                    there.display(),
                    missing.display()
                );
            }
        }
        if !crt.exists() {
            return ssl_config::make(hosts, &crt, &key);
        }
        let known = ssl_config::names(&crt)?;
        let missing: Vec<&str> = hosts
            .iter()
            .filter(|host| !known.iter().any(|name| name.eq_ignore_ascii_case(host)))
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            bail_input!(
                "{} is for {}, and not for {}: leave that name out, or remove {} and {} to have both made again",
                crt.display(),
                known.join(", "),
                missing.join(", "),
                crt.display(),
                key.display()
            );
        }
        Ok(())
    }
}

fn line(text: &str) -> Zeroizing<String> {
    Zeroizing::new(format!("{text}\n"))
}

/// A key from its file, or a new one that goes into it.
fn kept<K>(
    path: &Path,
    read: impl FnOnce(&Path) -> anyhow::Result<K>,
    make: impl FnOnce() -> anyhow::Result<K>,
    text: impl FnOnce(&K) -> anyhow::Result<Zeroizing<String>>,
) -> anyhow::Result<K> {
    if fs::symlink_metadata(path).is_ok() {
        return read(path);
    }
    let key = make()?;
    key_file::write_new(path, text(&key)?.as_bytes(), 0o600)?;
    Ok(key)
}

fn kept_public(path: &Path, make: impl FnOnce() -> anyhow::Result<Vec<u8>>) -> anyhow::Result<Genesis> {
    if fs::symlink_metadata(path).is_err() {
        key_file::write_new(path, &make()?, 0o644)?;
    }
    read_genesis(path)
}

//! The Helm chart as an archive, and as an OCI artefact in an image layout.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::archive::Tree;

/// Media types of Helm's charts in registries.
const CONFIGURATION: &str = "application/vnd.cncf.helm.config.v1+json";
const CONTENT: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A chart.
pub(super) struct Chart {
    pub(super) version: String,
    /// What `helm install` takes.
    pub(super) archive: Vec<u8>,
    /// The fields of Chart.yaml.
    fields: Value,
}

/// Packs a chart's directory.
pub(super) fn pack(directory: &Path, epoch: u64) -> Result<Chart> {
    let mut tree = Tree::default();
    gather(directory, "adytum", &mut tree)?;
    let text = fs::read_to_string(directory.join("Chart.yaml")).context("Chart.yaml")?;
    let fields = fields(&text);
    let version = fields["version"].as_str().context("Chart.yaml has no version")?.to_owned();
    Ok(Chart { version, archive: super::archive::gzip(&tree.to_tar(epoch, false)?)?, fields })
}

fn gather(directory: &Path, below: &str, tree: &mut Tree) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let entry = entry?;
        let path = format!("{below}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            gather(&entry.path(), &path, tree)?;
        } else {
            tree.add(&path, 0o644, fs::read(entry.path())?);
        }
    }
    Ok(())
}

/// The fields of one line each: our chart has what matters in this form.
fn fields(text: &str) -> Value {
    let field = |line: &str| {
        let (name, value) = line.split_once(": ").filter(|(name, _)| !name.starts_with([' ', '#']))?;
        Some((name.to_owned(), json!(value.trim().trim_matches('"'))))
    };
    Value::Object(text.lines().filter_map(field).collect())
}

impl Chart {
    /// An OCI image layout with the chart, as a tar archive.
    pub(super) fn to_oci(&self, epoch: u64) -> Result<Vec<u8>> {
        let mut tree = Tree::default();
        let mut blob = |bytes: &[u8]| {
            let digest = hex::encode(Sha256::digest(bytes));
            tree.add(&format!("blobs/sha256/{digest}"), 0o644, bytes.to_vec());
            (format!("sha256:{digest}"), bytes.len())
        };
        let (configuration, configuration_size) = blob(&serde_json::to_vec(&self.fields)?);
        let (content, content_size) = blob(&self.archive);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": { "mediaType": CONFIGURATION, "digest": configuration, "size": configuration_size },
            "layers": [{ "mediaType": CONTENT, "digest": content, "size": content_size }],
        });
        let (manifest, manifest_size) = blob(&serde_json::to_vec(&manifest)?);
        let index = json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": MANIFEST, "digest": manifest, "size": manifest_size,
                "annotations": { "org.opencontainers.image.ref.name": self.version },
            }],
        });
        tree.add("index.json", 0o644, serde_json::to_vec(&index)?);
        tree.add("oci-layout", 0o644, b"{\"imageLayoutVersion\":\"1.0.0\"}".to_vec());
        tree.to_tar(epoch, true)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read as _};

    use super::*;

    #[test]
    fn the_artefact_names_what_it_holds() {
        let root = adytum_tests::build::workspace_root().unwrap();
        let chart = pack(&root.join("deploy/helm/adytum"), 7).unwrap();
        assert_eq!(chart.version, env!("CARGO_PKG_VERSION"));
        assert_eq!(chart.fields["appVersion"], env!("CARGO_PKG_VERSION"), "the images' tag");
        let bytes = chart.to_oci(7).unwrap();
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), content);
        }
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
            let bytes = &files[&format!("blobs/sha256/{digest}")];
            assert_eq!(
                (hex::encode(Sha256::digest(bytes)), json!(bytes.len())),
                (digest.to_owned(), descriptor["size"].clone())
            );
            bytes
        };
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let manifest: Value = serde_json::from_slice(blob(&index["manifests"][0])).unwrap();
        assert_eq!(blob(&manifest["layers"][0]), &chart.archive);
        let configuration: Value = serde_json::from_slice(blob(&manifest["config"])).unwrap();
        assert_eq!(configuration["name"], "adytum");
    }
}

//! Where the published `dcap-qvl` crate has its samples on this machine.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use cargo_metadata::{CargoOpt, MetadataCommand};

/// The `sample/` folder.
pub(crate) fn dcap_samples() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let metadata = |options: &[&str]| {
            MetadataCommand::new()
                .manifest_path(&manifest)
                .features(CargoOpt::SomeFeatures(Vec::new()))
                .other_options(options.iter().map(|&option| option.to_owned()).collect::<Vec<_>>())
                .exec()
        };
        // What these tests were built from is on this machine already; crates
        // for other platforms need not be.
        let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let found = metadata(&["--offline", "--filter-platform", &host])
            .or_else(|_| metadata(&["--offline"]))
            .or_else(|_| metadata(&[]))
            .unwrap();
        let package = found.packages.iter().find(|package| package.name.as_str() == "dcap-qvl").unwrap();
        package.manifest_path.parent().unwrap().as_std_path().join("sample")
    })
}

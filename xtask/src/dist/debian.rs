//! A Debian package: an ar archive of two tar archives (deb(5)).

use std::fmt::Write as _;

use anyhow::{Context, Result};

use super::{
    archive::{Tree, gzip},
    elf::Architecture,
};

/// The package with these files below /usr.
pub(super) fn package(
    version: &str,
    architecture: Architecture,
    epoch: u64,
    files: &Tree,
) -> Result<Vec<u8>> {
    let mut data = Tree::default();
    data.extend(files, "usr/");
    let size: usize = data.files().map(|(_, bytes)| bytes.len()).sum();
    let mut control = Tree::default();
    control.add("control", 0o644, describe(version, architecture, size).into_bytes());
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", gzip(&control.to_tar(epoch, false)?)?),
        ("data.tar.gz", gzip(&data.to_tar(epoch, true)?)?),
    ];
    let mut package = b"!<arch>\n".to_vec();
    for (name, bytes) in members {
        let mut header = String::new();
        writeln!(header, "{name:<16}{epoch:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, "100644", bytes.len())
            .context("a header of ar")?;
        package.extend_from_slice(header.as_bytes());
        package.extend_from_slice(&bytes);
        // Members begin at even places.
        if bytes.len() % 2 == 1 {
            package.push(b'\n');
        }
    }
    Ok(package)
}

/// The fields of the package; its size is in KiB.
fn describe(version: &str, architecture: Architecture, bytes: usize) -> String {
    format!(
        "Package: adytum\nVersion: {version}\nArchitecture: {}\nMaintainer: The Adytum authors <adytum@localhost>\n\
         Installed-Size: {}\nSection: net\nPriority: optional\n\
         Description: confidential inference: key broker, model server and their command\n \
         A key broker and model servers that prove what they are before they get\n \
         keys, and the command adytum, by which owners and data owners use them.\n \
         The programs are static. A confidential service runs them from container\n \
         images; this package is for owners' machines.\n",
        architecture.debian(),
        bytes.div_ceil(1024)
    )
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;

    #[test]
    fn dpkg_reads_the_package() {
        let mut files = Tree::default();
        files.add("bin/adytum", 0o755, b"one".to_vec());
        let package = package("1.2.3", Architecture::X86_64, 1_700_000_000, &files).unwrap();
        assert!(
            package
                .starts_with(b"!<arch>\ndebian-binary   1700000000  0     0     100644  4         `\n2.0\n")
        );
        if Command::new("dpkg-deb").arg("--version").output().is_err() {
            println!("SKIPPED dpkg-deb is not here");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("adytum.deb");
        fs::write(&file, package).unwrap();
        let said = |option: &str| {
            let output = Command::new("dpkg-deb").arg(option).arg(&file).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let information = said("--info");
        assert!(
            information.contains("Version: 1.2.3") && information.contains("Architecture: amd64"),
            "{information}"
        );
        let contents = said("--contents");
        assert!(
            contents.contains("-rwxr-xr-x root/root") || contents.contains("-rwxr-xr-x 0/0"),
            "{contents}"
        );
        assert!(contents.contains("usr/bin/adytum"), "{contents}");
    }
}

//! The library of ONNX Runtime, and what it needs, for a program that loads it itself.
//!
//! Each file is copied into a sealed memfd while it is hashed, as a program is, and the memfd is
//! what is loaded: the bytes that were checked. What the library needs must be pinned, too, and
//! is loaded before it, so that the loader finds all there and searches no directory.

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use adytum_evidence::measurement::Sha256Digest;

use super::{
    digest,
    elf::Loading,
    loading::{is_named, not_pinned, read},
    sealed_copy,
};
use crate::{
    configuration::{AbsolutePath, MeasuredConfiguration},
    error::ProgramError,
    platform::Platform,
};

/// Variables that keep ONNX Runtime from sending what it sees to its vendor, and from writing
/// it to files (its docs/Privacy.md): the official builds do so from version 1.29 on. It reads them
/// when it is loaded, so they are set before the program starts.
pub const TELEMETRY_OFF: [(&str, &str); 2] =
    [("ORT_DISABLE_TELEMETRY", "1"), ("ORT_TELEMETRY_DISABLED", "1")];

/// A library, ready to be loaded.
#[derive(Debug)]
pub struct VerifiedLibrary {
    path: PathBuf,
    digest: Sha256Digest,
    /// `None`: loaded by its path.
    image: Option<OwnedFd>,
}

/// ONNX Runtime and what it needs.
#[derive(Debug)]
pub struct VerifiedOnnxRuntime {
    /// What it needs, each after what that needs itself. What the process has already may be
    /// among it.
    pub needed: Vec<VerifiedLibrary>,
    pub library: VerifiedLibrary,
}

impl VerifiedLibrary {
    /// Where its file was.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The digest of the bytes that are loaded.
    pub fn digest(&self) -> Sha256Digest {
        self.digest
    }

    /// What to load, as long as this is there.
    pub fn location(&self) -> PathBuf {
        match &self.image {
            Some(image) => format!("/proc/self/fd/{}", image.as_raw_fd()).into(),
            None => self.path.clone(),
        }
    }

    /// Reads the file once. `wanted` is the pinned digest.
    fn open(
        path: &Path,
        wanted: Option<Sha256Digest>,
        platform: Platform,
    ) -> Result<(Self, Loading), ProgramError> {
        let unreadable = |source| ProgramError::Unreadable { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(unreadable)?;
        if !file.metadata().map_err(unreadable)?.is_file() {
            return Err(unreadable(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")));
        }
        let (image, found) = match platform {
            // It has no memfd to load, and checks each file against its measured manifest.
            Platform::Gramine => (None, digest(&mut file).map_err(unreadable)?),
            Platform::Occlum | Platform::ConfidentialVm | Platform::Simulation => {
                let (image, digest) = sealed_copy(&mut file).map_err(unreadable)?;
                (Some(image), digest)
            }
        };
        if let Some(wanted) = wanted
            && wanted != found
        {
            return Err(ProgramError::Digest { path: path.to_owned(), wanted, found });
        }
        let checked = match &image {
            Some(image) => image.try_clone().map(File::from).map_err(unreadable)?,
            None => file,
        };
        let loading = read(path, &checked)?;
        // A file in memory has no neighbours. Any other directory could be the host's.
        let origin = |search: &String| ["$ORIGIN", "${ORIGIN}"].contains(&search.as_str());
        if image.is_some() && !loading.search_paths.iter().all(origin) {
            return Err(ProgramError::Format {
                path: path.to_owned(),
                reason: format!(
                    "it searches the directories {:?} for libraries (RPATH, RUNPATH); expected none but $ORIGIN",
                    loading.search_paths
                ),
            });
        }
        Ok((Self { path: path.to_owned(), digest: found, image }, loading))
    }
}

impl VerifiedOnnxRuntime {
    /// The library that the configuration pins. `asked` is what a flag names, if it is given: it
    /// must be the same.
    ///
    /// Every library that it needs must be pinned as `[[library]]`; as elsewhere, a simulation
    /// that pins no library at all is let through with a warning.
    pub fn pinned(
        configuration: &MeasuredConfiguration,
        asked: Option<&Path>,
        platform: Platform,
    ) -> Result<Self, ProgramError> {
        let pinned = configuration.onnxruntime().ok_or(ProgramError::OnnxRuntimeNotPinned)?;
        if let Some(asked) = asked
            && asked.as_os_str() != pinned.library.as_str()
        {
            return Err(ProgramError::OnnxRuntimePath {
                pinned: pinned.library.to_string(),
                found: asked.to_owned(),
            });
        }
        let (library, loading) =
            VerifiedLibrary::open(pinned.library.as_path(), Some(pinned.sha256), platform)?;
        let mut found = Self { needed: Vec::new(), library };
        if platform == Platform::Simulation && configuration.libraries().is_empty() {
            let path = found.library.path.display();
            tracing::warn!(
                "{path} needs libraries that are not pinned; outside of simulation this is refused"
            );
            return Ok(found);
        }
        let path = found.library.path.clone();
        found.add_needed(configuration, &path, &loading, platform, &mut BTreeSet::new())?;
        Ok(found)
    }

    /// Any library, for a server without a measured configuration, which attests nothing.
    pub fn unpinned(path: &Path) -> Result<Self, ProgramError> {
        let (library, _) = VerifiedLibrary::open(path, None, Platform::Simulation)?;
        Ok(Self { needed: Vec::new(), library })
    }

    /// Adds the libraries that this one needs, which has `path`. Libraries that need one another
    /// are each added once, so this ends.
    fn add_needed<'a>(
        &mut self,
        configuration: &'a MeasuredConfiguration,
        path: &Path,
        loading: &Loading,
        platform: Platform,
        seen: &mut BTreeSet<&'a AbsolutePath>,
    ) -> Result<(), ProgramError> {
        for name in &loading.needed {
            let mut is_pinned = false;
            for (library, wanted) in configuration.libraries() {
                if !is_named(library, name) {
                    continue;
                }
                is_pinned = true;
                if seen.insert(library) {
                    let (verified, loading) =
                        VerifiedLibrary::open(library.as_path(), Some(*wanted), platform)?;
                    self.add_needed(configuration, library.as_path(), &loading, platform, seen)?;
                    self.needed.push(verified);
                }
            }
            if !is_pinned {
                return Err(not_pinned(path, name));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::FileExt};

    use super::*;

    /// A library of this machine that needs others: that of C++, if it is there, or of C.
    fn real_library() -> Option<PathBuf> {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let mapped = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).map(PathBuf::from);
        let mut libraries = mapped.filter(|path| path.to_str().is_some_and(|path| path.contains("/libc.so")));
        let library = libraries.next();
        if library.is_none() {
            println!("SKIPPED: this test is linked statically");
        }
        library
    }

    fn configuration(library: &Path, sha256: &str, libraries: &[&Path]) -> MeasuredConfiguration {
        let digest = "2".repeat(64);
        let mut text = format!(
            "format = \"adytum workload v1\"\n[onnxruntime]\nlibrary = \"{}\"\nsha256 = \"{sha256}\"\n",
            library.display()
        );
        for path in libraries {
            let digest = Sha256Digest::of_file(path).unwrap();
            text += &format!("[[library]]\npath = \"{}\"\nsha256 = \"{digest}\"\n", path.display());
        }
        text += &format!(
            "[broker]\ngenesis = \"{digest}\"\n[broker.policy]\nvendors = [\"intel\"]\ntee = [\"sgx\"]\n\
             mr_enclave = [\"{digest}\"]\n"
        );
        MeasuredConfiguration::parse(&text).unwrap()
    }

    fn copy(library: &Path, directory: &Path) -> (PathBuf, String) {
        let path = directory.join("libonnxruntime.so.1");
        fs::copy(library, &path).unwrap();
        let digest = Sha256Digest::of_file(&path).unwrap().to_string();
        (path, digest)
    }

    /// The loader of this machine, which its C library needs.
    fn loader() -> Option<PathBuf> {
        ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"]
            .into_iter()
            .map(PathBuf::from)
            .find(|path| path.exists())
    }

    #[test]
    fn the_library_and_what_it_needs_must_be_pinned() {
        let (Some(real), Some(loader)) = (real_library(), loader()) else { return };
        let directory = tempfile::tempdir().unwrap();
        let (path, digest) = copy(&real, directory.path());
        let open = |configuration: &MeasuredConfiguration, asked: Option<&Path>| {
            VerifiedOnnxRuntime::pinned(configuration, asked, Platform::ConfidentialVm)
        };
        let pinned = configuration(&path, &digest, &[&loader]);
        let found = open(&pinned, Some(&path)).unwrap();
        assert_eq!(found.library.digest().to_string(), digest);
        assert!(found.library.location().starts_with("/proc/self/fd"));
        assert_eq!(found.needed.iter().map(VerifiedLibrary::path).collect::<Vec<_>>(), [loader.as_path()]);

        let refused = |configuration: &MeasuredConfiguration, asked: Option<&Path>| {
            open(configuration, asked).unwrap_err().code()
        };
        assert_eq!(refused(&configuration(&path, &digest, &[]), None), "library-not-pinned");
        assert_eq!(refused(&configuration(&path, &"3".repeat(64), &[&loader]), None), "program-mismatch");
        assert_eq!(refused(&pinned, Some(Path::new("/other"))), "onnxruntime-not-pinned");
        let without = crate::fixture::with_secrets(&[]);
        assert_eq!(refused(&without, Some(&path)), "onnxruntime-not-pinned");
    }

    /// The host replaces the library under its path.
    #[test]
    fn another_library_under_the_same_path_is_refused() {
        let (Some(real), Some(loader)) = (real_library(), loader()) else { return };
        let directory = tempfile::tempdir().unwrap();
        let (path, digest) = copy(&real, directory.path());
        let pinned = configuration(&path, &digest, &[&loader]);
        fs::copy(&loader, &path).unwrap();
        let error = VerifiedOnnxRuntime::pinned(&pinned, None, Platform::ConfidentialVm).unwrap_err();
        assert_eq!(error.code(), "program-mismatch");
        assert!(error.to_string().contains(&digest), "{error}");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(directory.path(), &path).unwrap();
        let error = VerifiedOnnxRuntime::pinned(&pinned, None, Platform::ConfidentialVm).unwrap_err();
        assert_eq!(error.code(), "program-unreadable");
    }

    /// The host changes the file after it was checked, in place and by another file.
    #[test]
    fn what_is_loaded_is_what_was_checked() {
        let (Some(real), Some(loader)) = (real_library(), loader()) else { return };
        let directory = tempfile::tempdir().unwrap();
        let (path, digest) = copy(&real, directory.path());
        let pinned = configuration(&path, &digest, &[&loader]);
        let found = VerifiedOnnxRuntime::pinned(&pinned, None, Platform::ConfidentialVm).unwrap();
        fs::write(&path, "another").unwrap();
        let location = found.library.location();
        assert_eq!(Sha256Digest::of_file(&location).unwrap().to_string(), digest);
        // Not even this process can change the copy.
        let copy = File::options().write(true).open(&location);
        assert!(copy.and_then(|copy| copy.write_at(b"x", 0)).is_err());
        assert_eq!(Sha256Digest::of_file(&location).unwrap().to_string(), digest);
    }

    #[test]
    fn other_files_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("libonnxruntime.so.1");
        for (content, reason) in [("a text", "ELF"), ("#!/bin/sh\n", "script"), ("\x7fELF", "malformed")] {
            fs::write(&path, content).unwrap();
            let digest = Sha256Digest::of_file(&path).unwrap().to_string();
            let pinned = configuration(&path, &digest, &[]);
            let error = VerifiedOnnxRuntime::pinned(&pinned, None, Platform::ConfidentialVm).unwrap_err();
            assert_eq!(error.code(), "program-format");
            assert!(error.to_string().contains(reason), "{error}");
            let error = VerifiedOnnxRuntime::unpinned(&path).unwrap_err();
            assert_eq!(error.code(), "program-format");
        }
        let error = VerifiedOnnxRuntime::unpinned(&directory.path().join("none")).unwrap_err();
        assert_eq!(error.code(), "program-unreadable");
    }
}

//! The program that init starts: the one that is pinned, and no other.
//!
//! Between looking at a file and executing it the file may change. So the file is
//! opened once and copied, while it is hashed, into a memfd that is then sealed
//! against every change; the memfd is what is executed. (Under Gramine there is
//! no memfd to execute, and none is needed: the LibOS checks each file against its
//! measured manifest when it opens it.)
//!
//! A dynamically linked program is more than its file. Its loader and every
//! library that the loader would take must be pinned, by path and digest. They
//! are opened by the loader itself, so they must lie where the host can't change
//! them after init looked: not on a mount shared with the host.

mod elf;
mod loading;
pub mod onnxruntime;

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use adytum_evidence::measurement::Sha256Digest;
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::{
        memfd::{MFdFlags, memfd_create},
        stat::{Mode, fchmod},
    },
};
use sha2::{Digest, Sha256};

use crate::{
    configuration::{MeasuredConfiguration, PinnedProgram},
    delivery,
    error::{InitError, ProgramError},
    platform::Platform,
};

/// linux/memfd.h: executable although the system's default may say otherwise.
const MFD_EXEC: MFdFlags = MFdFlags::from_bits_retain(0x10);

/// A program whose digest is the pinned one, ready to be executed.
#[derive(Debug)]
pub struct VerifiedProgram {
    path: PathBuf,
    digest: Sha256Digest,
    /// `None`: executed by its path.
    image: Option<OwnedFd>,
}

impl VerifiedProgram {
    /// Opens the program at `path`, which must be the pinned one, and holds it,
    /// its loader and its libraries against the configuration.
    pub fn open(
        configuration: &MeasuredConfiguration,
        path: &Path,
        platform: Platform,
    ) -> Result<Self, InitError> {
        let pinned = pinned(configuration, path)?;
        let unreadable = |source| ProgramError::Unreadable { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(unreadable)?;
        if !file.metadata().map_err(unreadable)?.is_file() {
            return Err(unreadable(io::ErrorKind::IsADirectory.into()).into());
        }
        let (image, digest) = match platform {
            Platform::Gramine => (None, digest(&mut file).map_err(unreadable)?),
            _ => {
                let (image, digest) = sealed_copy(&mut file).map_err(unreadable)?;
                (Some(image), digest)
            }
        };
        if digest != pinned.sha256 {
            let wanted = pinned.sha256;
            return Err(ProgramError::Digest { path: path.to_owned(), wanted, found: digest }.into());
        }
        check_libraries(configuration)?;
        if platform == Platform::ConfidentialVm {
            check_mounts(configuration)?;
        }
        let program = Self { path: path.to_owned(), digest, image };
        loading::check(configuration, &program)?;
        Ok(program)
    }

    /// The digest of its file.
    pub fn digest(&self) -> Sha256Digest {
        self.digest
    }

    /// Where it was, and its `argv[0]`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What to execute.
    pub fn executable(&self) -> PathBuf {
        match &self.image {
            Some(image) => format!("/proc/self/fd/{}", image.as_raw_fd()).into(),
            None => self.path.clone(),
        }
    }
}

/// The pinned program, if it is the one at this path.
pub fn pinned<'a>(
    configuration: &'a MeasuredConfiguration,
    path: &Path,
) -> Result<&'a PinnedProgram, ProgramError> {
    let pinned = configuration.program().ok_or(ProgramError::NotPinned)?;
    // As bytes: for paths, `/a/./b` and `/a/b` are equal.
    if path.as_os_str() != pinned.path.as_str() {
        return Err(ProgramError::Path { pinned: pinned.path.to_string(), found: path.to_owned() });
    }
    Ok(pinned)
}

/// Does the program, or a library that it loads, come in a bundle, so that it
/// can be looked at only when that is unpacked?
pub fn comes_in_bundle(configuration: &MeasuredConfiguration) -> bool {
    let program = configuration.program().map(|program| &program.path);
    program
        .into_iter()
        .chain(configuration.libraries().keys())
        .any(|path| configuration.is_in_bundle(path.as_path()))
}

/// Holds every library that the configuration pins against its digest.
pub fn check_libraries(configuration: &MeasuredConfiguration) -> Result<(), ProgramError> {
    for (path, wanted) in configuration.libraries() {
        let unreadable = |source| ProgramError::Unreadable { path: path.as_path().to_owned(), source };
        let found = Sha256Digest::of_file(path.as_path()).map_err(unreadable)?;
        if found != *wanted {
            return Err(ProgramError::Digest { path: path.clone().into(), wanted: *wanted, found });
        }
    }
    Ok(())
}

/// In a confidential VM, libraries must not lie where the host can change them
/// after they were checked.
fn check_mounts(configuration: &MeasuredConfiguration) -> Result<(), ProgramError> {
    for path in configuration.libraries().keys() {
        let path = path.as_path();
        let file =
            File::open(path).map_err(|source| ProgramError::Unreadable { path: path.to_owned(), source })?;
        delivery::refuse_shared(&file)
            .map_err(|reason| ProgramError::Format { path: path.to_owned(), reason })?;
    }
    Ok(())
}

/// For a program that has init as a library: refuses if a file is mapped for
/// execution into this process that is neither its own binary nor pinned.
///
/// A LibOS measures all files of its image, so there is nothing to refuse. In a
/// confidential VM every library must be pinned. In simulation, where nothing is
/// protected, a configuration without any library is let through with a warning,
/// so that a development build, which is linked dynamically, runs.
pub fn check_mapped_libraries(
    configuration: &MeasuredConfiguration,
    platform: Platform,
) -> Result<(), ProgramError> {
    let strict = match platform {
        Platform::Occlum | Platform::Gramine => return Ok(()),
        Platform::ConfidentialVm => true,
        Platform::Simulation => !configuration.libraries().is_empty(),
    };
    if platform == Platform::ConfidentialVm {
        check_mounts(configuration)?;
    }
    let Some(unpinned) = loading::first_unpinned_mapping(configuration)? else { return Ok(()) };
    if strict {
        return Err(unpinned);
    }
    tracing::warn!("{unpinned}; outside of simulation this is refused");
    Ok(())
}

fn digest(file: &mut File) -> io::Result<Sha256Digest> {
    copy_hashed(file, &mut io::sink())
}

fn sealed_copy(file: &mut File) -> io::Result<(OwnedFd, Sha256Digest)> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let memory = match memfd_create(c"program", flags | MFD_EXEC) {
        // Before Linux 6.3 the flag is unknown and every memfd is executable.
        Err(Errno::EINVAL) => memfd_create(c"program", flags),
        other => other,
    }?;
    let mut memory = File::from(memory);
    let digest = copy_hashed(file, &mut memory)?;
    memory.seek(SeekFrom::Start(0))?;
    fchmod(&memory, Mode::S_IRUSR | Mode::S_IXUSR)?;
    let seals =
        SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&memory, FcntlArg::F_ADD_SEALS(seals))?;
    Ok((memory.into(), digest))
}

/// Copies, and hashes exactly the bytes that it copies.
fn copy_hashed(file: &mut File, to: &mut impl Write) -> io::Result<Sha256Digest> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let length = match file.read(&mut buffer) {
            Ok(0) => return Ok(Sha256Digest(hasher.finalize().into())),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..length]);
        to.write_all(&buffer[..length])?;
    }
}

//! A secret in an inherited descriptor: a memfd, sealed once it is filled. It has
//! no name in any file system, so only who inherits it can open it.

use std::{
    fs::File,
    io::{Seek, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    path::PathBuf,
};

use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::{
        memfd::{MFdFlags, memfd_create},
        stat::{Mode, fchmod},
    },
};

use super::DeliveryError;
use crate::{secret::SecretValue, syscall};

/// A memfd at the number that the program expects.
#[derive(Debug)]
pub struct SecretDescriptor {
    number: u32,
    file: File,
    filled: bool,
}

impl SecretDescriptor {
    /// An empty memfd at this number, which must be free. It closes on exec
    /// until the program's own start.
    pub(super) fn reserve(number: u32) -> Result<Self, DeliveryError> {
        let system = |operation| {
            move |errno: nix::Error| DeliveryError::System {
                operation,
                path: PathBuf::from(format!("fd:{number}")),
                source: errno.into(),
            }
        };
        let memory = memfd_create(c"adytum secret", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)
            .map_err(system("memfd_create"))?;
        fchmod(&memory, Mode::S_IRUSR).map_err(system("fchmod"))?;
        let wanted = i32::try_from(number).map_err(|_| DeliveryError::Taken { number })?;
        let file = if memory.as_raw_fd() == wanted {
            File::from(memory)
        } else {
            let copy = syscall::duplicate_from(memory.as_fd(), wanted).map_err(system("F_DUPFD_CLOEXEC"))?;
            if copy.as_raw_fd() != wanted {
                return Err(DeliveryError::Taken { number });
            }
            File::from(copy)
        };
        Ok(Self { number, file, filled: false })
    }

    /// Writes the secret and seals the memfd for ever. Once filled, it stays.
    pub(super) fn fill(&mut self, secret: &SecretValue) -> Result<(), DeliveryError> {
        if self.filled {
            return Ok(());
        }
        let path = || PathBuf::from(format!("fd:{}", self.number));
        self.file
            .write_all(secret.as_bytes())
            .and_then(|()| self.file.rewind())
            .map_err(|source| DeliveryError::System { operation: "writing", path: path(), source })?;
        let seals =
            SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
        fcntl(&self.file, FcntlArg::F_ADD_SEALS(seals)).map_err(|errno| DeliveryError::System {
            operation: "sealing",
            path: path(),
            source: errno.into(),
        })?;
        self.filled = true;
        Ok(())
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl AsFd for SecretDescriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

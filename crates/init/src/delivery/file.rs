//! A secret as a file of mode 0400, replaced atomically.
//!
//! Everything happens relative to one open directory, the one that was looked
//! at: a host that swaps a directory or a link on the way afterwards swaps nothing.

use std::{ffi::OsString, fs::File, io::Write, os::fd::OwnedFd, path::PathBuf};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat, renameat},
    sys::stat::{Mode, SFlag, fchmod, fstatat},
    unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat},
};

use super::{DeliveryError, storage};
use crate::{
    configuration::{AbsolutePath, Owner, Storage},
    platform::Platform,
};

/// The place of one secret's file.
#[derive(Debug)]
pub struct SecretFile {
    path: AbsolutePath,
    directory: OwnedFd,
    name: OsString,
    owner: Owner,
    written: bool,
}

impl SecretFile {
    pub(crate) fn prepare(
        path: &AbsolutePath,
        owner: Owner,
        platform: Platform,
        declared: &Storage,
    ) -> Result<Self, DeliveryError> {
        let (Some(parent), Some(name)) = (path.as_path().parent(), path.as_path().file_name()) else {
            return Err(DeliveryError::Unsafe {
                directory: path.clone().into(),
                reason: "it is a directory and no file".to_owned(),
            });
        };
        let directory = storage::open(parent, platform, declared)?;
        let file = Self { path: path.clone(), directory, name: name.to_owned(), owner, written: false };
        match fstatat(&file.directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) if found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits() => {
                Err(file.system("replacing the directory")(Errno::EISDIR))
            }
            Ok(_) | Err(Errno::ENOENT) => Ok(file),
            Err(errno) => Err(file.system("stat")(errno)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &AbsolutePath {
        &self.path
    }

    /// Writes the secret, or a newer one in the place of an older. A reader
    /// sees the one or the other, never a part.
    pub fn replace(&mut self, secret: &[u8]) -> Result<(), DeliveryError> {
        let temporary = OsString::from(format!(".adytum-{:032x}", rand::random::<u128>()));
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened = openat(&self.directory, temporary.as_os_str(), flags, Mode::S_IRUSR)
            .map_err(self.system("creating a file next to"))?;
        let written = self.write(opened, secret).and_then(|()| {
            renameat(&self.directory, temporary.as_os_str(), &self.directory, self.name.as_os_str())
                .map_err(self.system("renaming a file to"))
        });
        if written.is_err() {
            let _ = unlinkat(&self.directory, temporary.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
        self.written |= written.is_ok();
        written
    }

    fn write(&self, opened: OwnedFd, secret: &[u8]) -> Result<(), DeliveryError> {
        let mut file = File::from(opened);
        if self.owner != Owner::default() {
            let (user, group) = (self.owner.user.map(Uid::from_raw), self.owner.group.map(Gid::from_raw));
            fchown(&file, user, group).map_err(self.system("giving to its owner"))?;
        }
        // Whatever the umask took away from the mode of creation.
        fchmod(&file, Mode::S_IRUSR).map_err(self.system("setting mode 0400 of"))?;
        file.write_all(secret).map_err(|source| DeliveryError::System {
            operation: "writing",
            path: self.path.clone().into(),
            source,
        })
    }

    fn system(&self, operation: &'static str) -> impl Fn(Errno) -> DeliveryError {
        let path = PathBuf::from(self.path.clone());
        move |errno| DeliveryError::System { operation, path: path.clone(), source: errno.into() }
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        if self.written
            && let Err(errno) = unlinkat(&self.directory, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir)
            && errno != Errno::ENOENT
        {
            tracing::warn!("secret left behind in {}: {errno}", self.path);
        }
    }
}

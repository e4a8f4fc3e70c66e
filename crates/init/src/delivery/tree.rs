//! The place of a bundle: a directory that appears whole, and goes with the
//! program.
//!
//! While it is unpacked it lies in a hidden directory next to its place, where
//! nobody looks; it is renamed when length and digest are the stated ones. The
//! hidden directory then stays, empty: it says that the tree is init's own. After
//! init was killed, the next one finds it and removes both; a directory without
//! it is somebody else's and is left alone.

use std::{
    ffi::{OsStr, OsString},
    os::fd::OwnedFd,
    path::PathBuf,
};

use adytum_sealed::bundle::{Ownership, TreeWriter, remove_tree};
use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat, renameat},
    sys::stat::{Mode, fstatat, mkdirat},
};

use super::{DeliveryError, storage};
use crate::{
    configuration::{AbsolutePath, Owner, Storage},
    platform::Platform,
};

/// What the tree is called in the hidden directory.
const UNFINISHED: &str = "tree";

/// The place of one bundle.
#[derive(Debug)]
pub struct BundlePlace {
    path: AbsolutePath,
    parent: OwnedFd,
    name: OsString,
    hidden: OsString,
    owner: Owner,
    /// Is there anything to remove?
    begun: bool,
}

impl BundlePlace {
    /// Looks at the place: is it inside the TEE, and free?
    pub fn prepare(
        path: &AbsolutePath,
        owner: Owner,
        platform: Platform,
        declared: &Storage,
    ) -> Result<Self, DeliveryError> {
        let (Some(parent), Some(name)) = (path.as_path().parent(), path.as_path().file_name()) else {
            return Err(DeliveryError::Unsafe {
                directory: path.clone().into(),
                reason: "it is the root".to_owned(),
            });
        };
        let parent = storage::open(parent, platform, declared)?;
        let mut hidden = OsString::from(".adytum-bundle.");
        hidden.push(name);
        let place = Self { path: path.clone(), parent, name: name.to_owned(), hidden, owner, begun: false };
        if place.exists(&place.hidden)? {
            tracing::warn!("an earlier init left its bundle in {path} when it was killed; removing it");
            place.remove()?;
        }
        if place.exists(&place.name)? && !place.is_empty_directory()? {
            return Err(DeliveryError::Occupied { path: path.clone().into() });
        }
        Ok(place)
    }

    /// Where it is.
    pub fn path(&self) -> &AbsolutePath {
        &self.path
    }

    /// Has a tree made next to the place, and puts it there if that says `Ok`.
    /// Otherwise nothing of it is left.
    pub fn fill<T, E: From<DeliveryError>>(
        &mut self,
        make: impl FnOnce(&mut TreeWriter) -> Result<T, E>,
    ) -> Result<T, E> {
        let made = self.fill_hidden(make);
        if made.is_err()
            && let Err(error) = self.remove()
        {
            tracing::error!("the unpacked part of a refused bundle could not be removed: {error}");
        }
        made
    }

    fn fill_hidden<T, E: From<DeliveryError>>(
        &mut self,
        make: impl FnOnce(&mut TreeWriter) -> Result<T, E>,
    ) -> Result<T, E> {
        let failed = |operation| self.system(operation);
        mkdirat(&self.parent, self.hidden.as_os_str(), Mode::S_IRWXU)
            .map_err(failed("making a directory next to"))?;
        self.begun = true;
        let failed = |operation| self.system(operation);
        let hidden =
            open_directory(&self.parent, &self.hidden).map_err(failed("opening a directory next to"))?;
        mkdirat(&hidden, UNFINISHED, Mode::S_IRWXU).map_err(failed("making a directory next to"))?;
        let root =
            open_directory(&hidden, UNFINISHED.as_ref()).map_err(failed("opening a directory next to"))?;
        let ownership = Ownership { user: self.owner.user, group: self.owner.group };
        let mut writer = TreeWriter::new(root, ownership).map_err(|source| DeliveryError::System {
            operation: "giving to its owner",
            path: self.path.clone().into(),
            source,
        })?;
        let made = make(&mut writer)?;
        // Onto nothing, or onto an empty directory.
        renameat(&hidden, UNFINISHED, &self.parent, self.name.as_os_str())
            .map_err(failed("renaming a directory to"))?;
        Ok(made)
    }

    fn exists(&self, name: &OsStr) -> Result<bool, DeliveryError> {
        match fstatat(&self.parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(self.system("stat")(errno)),
        }
    }

    fn is_empty_directory(&self) -> Result<bool, DeliveryError> {
        let opened = match open_directory(&self.parent, &self.name) {
            Ok(opened) => opened,
            // A file or a link.
            Err(Errno::ENOTDIR | Errno::ELOOP) => return Ok(false),
            Err(errno) => return Err(self.system("opening")(errno)),
        };
        let mut entries = Dir::from_fd(opened).map_err(self.system("reading"))?;
        for entry in entries.iter() {
            let entry = entry.map_err(self.system("reading"))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes the tree, then the sign that it was init's.
    fn remove(&self) -> Result<(), DeliveryError> {
        for name in [&self.name, &self.hidden] {
            remove_tree(&self.parent, name).map_err(|source| DeliveryError::System {
                operation: "removing",
                path: self.path.clone().into(),
                source,
            })?;
        }
        Ok(())
    }

    fn system(&self, operation: &'static str) -> impl Fn(Errno) -> DeliveryError + use<> {
        let path = PathBuf::from(self.path.clone());
        move |errno| DeliveryError::System { operation, path: path.clone(), source: errno.into() }
    }
}

fn open_directory(parent: &OwnedFd, name: &OsStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

impl Drop for BundlePlace {
    fn drop(&mut self) {
        if self.begun
            && let Err(error) = self.remove()
        {
            tracing::warn!("bundle left behind: {error}");
        }
    }
}

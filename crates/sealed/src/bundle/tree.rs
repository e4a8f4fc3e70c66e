//! A bundle's tree on a file system.
//!
//! Everything happens relative to open directories that were made here, and
//! nothing that is there already is opened or followed: a host that puts a link into
//! the way gets an error.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    dir::{Dir, Type},
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat},
    sys::stat::{Mode, fchmod, mkdirat},
    unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, symlinkat, unlinkat},
};

use super::{
    LinkTarget, Sink,
    entry::{EXECUTABLE_MODE, PLAIN_MODE},
};

/// Whose the files of a tree are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// User id; this process' own if absent.
    pub user: Option<u32>,
    /// Group id; this process' own if absent.
    pub group: Option<u32>,
}

/// Writes a tree into an empty directory.
#[derive(Debug)]
pub struct TreeWriter {
    /// From the root to the directory entered last; never empty.
    directories: Vec<OwnedFd>,
    file: Option<File>,
    ownership: Ownership,
}

impl TreeWriter {
    /// Writes into this directory. Its own owner and mode are set too.
    pub fn new(root: OwnedFd, ownership: Ownership) -> io::Result<Self> {
        let writer = Self { directories: Vec::new(), file: None, ownership };
        writer.finish_directory(&root)?;
        Ok(Self { directories: vec![root], ..writer })
    }

    fn current(&self) -> io::Result<&OwnedFd> {
        self.directories.last().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn owner(&self) -> (Option<Uid>, Option<Gid>) {
        (self.ownership.user.map(Uid::from_raw), self.ownership.group.map(Gid::from_raw))
    }

    fn finish_directory(&self, directory: &OwnedFd) -> io::Result<()> {
        self.finish(directory, EXECUTABLE_MODE)
    }

    fn finish(&self, opened: &impl AsFd, mode: u32) -> io::Result<()> {
        if self.ownership != Ownership::default() {
            let (user, group) = self.owner();
            fchown(opened, user, group)?;
        }
        // Whatever the umask took away from the mode of creation.
        Ok(fchmod(opened, Mode::from_bits_truncate(mode))?)
    }
}

impl Sink for TreeWriter {
    fn enter(&mut self, name: &str) -> io::Result<()> {
        let current = self.current()?;
        mkdirat(current, name, Mode::S_IRWXU)?;
        let opened = open_directory(current, name)?;
        self.finish_directory(&opened)?;
        self.directories.push(opened);
        Ok(())
    }

    fn leave(&mut self) -> io::Result<()> {
        self.directories.pop();
        self.current().map(|_| ())
    }

    fn begin(&mut self, name: &str, executable: bool) -> io::Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened = openat(self.current()?, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        self.finish(&opened, if executable { EXECUTABLE_MODE } else { PLAIN_MODE })?;
        self.file = Some(opened.into());
        Ok(())
    }

    fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.as_mut().ok_or(io::ErrorKind::NotFound)?.write_all(bytes)
    }

    fn end(&mut self) -> io::Result<()> {
        self.file.take().map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn link(&mut self, name: &str, target: &LinkTarget) -> io::Result<()> {
        let current = self.current()?;
        symlinkat(target.as_str(), current, name)?;
        if self.ownership != Ownership::default() {
            let (user, group) = self.owner();
            fchownat(current, name, user, group, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }
}

fn open_directory(parent: &impl AsFd, name: &str) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// Removes whatever has this name in a directory, with all that is in it; follows
/// no link. Nothing is no error.
pub fn remove_tree(parent: &impl AsFd, name: &std::ffi::OsStr) -> io::Result<()> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        // What unlink(2) says of a directory: POSIX' word, and Linux'.
        Err(Errno::EPERM | Errno::EISDIR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let opened = openat(parent, name, flags, Mode::empty())?;
    let mut entries = Dir::from_fd(opened.try_clone()?)?;
    for entry in entries.iter() {
        let entry = entry?;
        let bytes = entry.file_name().to_bytes();
        if matches!(bytes, b"." | b"..") {
            continue;
        }
        let inner = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes);
        if entry.file_type() == Some(Type::Directory) || entry.file_type().is_none() {
            remove_tree(&opened, inner)?;
        } else {
            unlinkat(&opened, inner, UnlinkatFlags::NoRemoveDir)?;
        }
    }
    Ok(unlinkat(parent, name, UnlinkatFlags::RemoveDir)?)
}

//! Is a directory inside the TEE? Each platform has its own answer.
//!
//! - **Occlum**: its root file system is encrypted (the mount of the host's
//!   directories, `/host`, is not, nor are the LibOS' special ones).
//! - **Gramine**: any path may be the host's, and statfs says what the LibOS
//!   likes; so only paths below a mount that the measured configuration names,
//!   which it does where the manifest, itself measured, declares a tmpfs.
//! - **Confidential VM**: a tmpfs or ramfs of the guest's kernel, by statfs *and*
//!   by the mount table: a shared mount's statfs is the host's word. A tmpfs may
//!   be swapped out, so no swap unless it is mounted `noswap`.
//! - **Simulation**: a tmpfs, so that nothing reaches a disk; no more, since
//!   nothing is protected.

use std::{
    fs::{self, File},
    os::fd::{AsRawFd, OwnedFd, RawFd},
    path::Path,
};

use nix::{
    fcntl::{OFlag, open as open_path},
    sys::{
        stat::{Mode, fstat},
        statfs::{FsType, TMPFS_MAGIC, fstatfs},
    },
};

use super::DeliveryError;
use crate::{configuration::Storage, platform::Platform};

/// Mounts of Occlum's LibOS that are not its encrypted root.
const OCCLUM_FOREIGN: [&str; 4] = ["/host", "/dev", "/proc", "/sys"];
/// linux/magic.h; `libc` has no constant for it.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);
const MEMORY_FILE_SYSTEMS: [&str; 2] = ["tmpfs", "ramfs"];

/// Opens a directory in which secrets may lie, or says why they may not.
pub(super) fn open(
    directory: &Path,
    platform: Platform,
    declared: &Storage,
) -> Result<OwnedFd, DeliveryError> {
    let system = |operation| {
        move |errno: nix::Error| DeliveryError::System {
            operation,
            path: directory.to_owned(),
            source: errno.into(),
        }
    };
    let refused = |reason: String| DeliveryError::Unsafe { directory: directory.to_owned(), reason };
    match platform {
        Platform::Occlum => {
            if let Some(mount) = OCCLUM_FOREIGN.iter().find(|mount| directory.starts_with(mount)) {
                return Err(refused(format!(
                    "{mount} is not part of Occlum's encrypted root; choose a path outside of it"
                )));
            }
        }
        Platform::Gramine => {
            if !declared.tmpfs.iter().any(|mount| directory.starts_with(mount.as_path())) {
                return Err(refused(
                    "under Gramine any path may be the host's; declare a tmpfs mount in the manifest and name it \
                     under storage.tmpfs"
                        .to_owned(),
                ));
            }
        }
        Platform::ConfidentialVm | Platform::Simulation => {}
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let opened = open_path(directory, flags, Mode::empty()).map_err(system("opening the directory"))?;
    let mode = fstat(&opened).map_err(system("stat"))?.st_mode;
    let (others_write, sticky) = (mode & 0o022 != 0, mode & 0o1000 != 0);
    if others_write && !sticky {
        return Err(refused(format!(
            "its mode {:03o} lets others replace files in it; take their right to write, or set the sticky bit",
            mode & 0o777
        )));
    }
    if matches!(platform, Platform::ConfidentialVm | Platform::Simulation) {
        let kind = fstatfs(&opened).map_err(system("statfs"))?.filesystem_type();
        if kind != TMPFS_MAGIC && kind != RAMFS_MAGIC {
            return Err(refused(format!(
                "it is on a file system of type {:#x}, which outlives this process or is the host's; mount a tmpfs \
                 there, or choose a path on one, or deliver as fd:N",
                kind.0
            )));
        }
    }
    if platform == Platform::ConfidentialVm {
        MountTable::of_this_process().and_then(|table| table.check(&opened)).map_err(refused)?;
    }
    Ok(opened)
}

/// Types of mounts whose content the host may change at any time.
const SHARED_FILE_SYSTEMS: [&str; 9] =
    ["virtiofs", "9p", "nfs", "nfs4", "cifs", "smb3", "ceph", "vboxsf", "vmhgfs"];

/// Refuses a file of a confidential VM that the host may change while it is in
/// use.
pub(crate) fn refuse_shared(file: &File) -> Result<(), String> {
    let table = MountTable::of_this_process()?;
    table.refuse_shared(mount_id(file.as_raw_fd())?)
}

/// The mount that an open file is on (proc_pid_fdinfo(5)).
fn mount_id(descriptor: RawFd) -> Result<u64, String> {
    let path = format!("/proc/self/fdinfo/{descriptor}");
    let information = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    information
        .lines()
        .find_map(|line| line.strip_prefix("mnt_id:"))
        .and_then(|id| id.trim().parse().ok())
        .ok_or_else(|| format!("{path} names no mount"))
}

/// What the guest's kernel says about its mounts and its swap.
#[derive(Clone, Debug)]
pub(crate) struct MountTable {
    mount_info: String,
    swaps: String,
}

impl MountTable {
    /// Reads `/proc/self/mountinfo` and `/proc/swaps`.
    fn of_this_process() -> Result<Self, String> {
        let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
        // A kernel built without swap has no such file.
        let swaps = if Path::new("/proc/swaps").exists() { read("/proc/swaps")? } else { String::new() };
        Ok(Self { mount_info: read("/proc/self/mountinfo")?, swaps })
    }

    fn check(&self, directory: &OwnedFd) -> Result<(), String> {
        self.judge(mount_id(directory.as_raw_fd())?)
    }

    /// The type and the options of a mount (proc_pid_mountinfo(5)).
    fn mount(&self, id: u64) -> Result<(&str, &str), String> {
        let mount = self
            .mount_info
            .lines()
            .find(|line| line.split(' ').next().and_then(|first| first.parse().ok()) == Some(id))
            .ok_or_else(|| format!("the mount table has no mount {id}"))?;
        let (_, after) =
            mount.split_once(" - ").ok_or_else(|| format!("the mount {mount:?} is malformed"))?;
        let mut fields = after.split(' ');
        let (kind, _source, options) = (fields.next(), fields.next(), fields.next());
        Ok((kind.unwrap_or_default(), options.unwrap_or_default()))
    }

    /// May the host change what is on the mount of this id?
    fn refuse_shared(&self, id: u64) -> Result<(), String> {
        let (kind, _) = self.mount(id)?;
        if SHARED_FILE_SYSTEMS.contains(&kind) || kind.starts_with("fuse") {
            return Err(format!(
                "it is on a mount of type {kind}, so the host may change it after it was checked; put it into the \
                 guest's own image"
            ));
        }
        Ok(())
    }

    /// May secrets lie on the mount of this id?
    fn judge(&self, id: u64) -> Result<(), String> {
        let (kind, options) = self.mount(id)?;
        if !MEMORY_FILE_SYSTEMS.contains(&kind) {
            return Err(format!(
                "it is a mount of type {kind}, which may be shared with the host; mount a tmpfs of the guest there"
            ));
        }
        let swapped = self.swaps.lines().skip(1).any(|line| !line.trim().is_empty());
        if kind == "tmpfs" && swapped && !options.split(',').any(|option| option == "noswap") {
            let reason = "the guest swaps, and a tmpfs may be swapped out to the host's disk; switch swap off, or \
                          mount the tmpfs with noswap";
            return Err(reason.to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 0:20 / /run rw,nosuid shared:5 - tmpfs tmpfs rw,size=1g
23 1 0:21 / /shared rw - virtiofs share rw
24 1 0:22 / /nine rw - 9p share rw,trans=virtio
25 1 0:23 / /ram rw - ramfs ramfs rw
26 1 0:24 / /safe rw - tmpfs tmpfs rw,noswap
";
    const NO_SWAP: &str = "Filename\tType\tSize\tUsed\tPriority\n";

    fn judge(id: u64, swaps: &str) -> Result<(), String> {
        MountTable { mount_info: MOUNTS.to_owned(), swaps: swaps.to_owned() }.judge(id)
    }

    #[test]
    fn only_the_guests_own_memory_will_do() {
        assert_eq!(judge(22, NO_SWAP), Ok(()));
        assert_eq!(judge(25, NO_SWAP), Ok(()));
        assert!(judge(23, NO_SWAP).unwrap_err().contains("virtiofs"));
        assert!(judge(24, NO_SWAP).unwrap_err().contains("9p"));
        assert!(judge(99, NO_SWAP).is_err());
    }

    #[test]
    fn a_library_on_a_shared_mount_is_refused() {
        let table = MountTable { mount_info: MOUNTS.to_owned(), swaps: String::new() };
        assert_eq!(table.refuse_shared(22), Ok(()));
        assert!(table.refuse_shared(23).unwrap_err().contains("virtiofs"));
        assert!(table.refuse_shared(24).is_err());
        assert_eq!(refuse_shared(&File::open("/proc/self/exe").unwrap()), Ok(()));
    }

    #[test]
    fn what_may_be_swapped_out_will_not() {
        let swaps = format!("{NO_SWAP}/dev/vdb partition 1 0 -2\n");
        assert!(judge(22, &swaps).unwrap_err().contains("swap"));
        assert_eq!(judge(25, &swaps), Ok(()));
        assert_eq!(judge(26, &swaps), Ok(()));
    }

    #[test]
    fn a_libos_decides_by_path() {
        let nothing = Storage::default();
        let code = |path: &str, platform, storage: &Storage| {
            open(Path::new(path), platform, storage).map(|_| ()).map_err(|error| error.code())
        };
        assert_eq!(code("/host", Platform::Occlum, &nothing), Err("storage-unsafe"));
        assert_eq!(code("/dev/shm", Platform::Occlum, &nothing), Err("storage-unsafe"));
        assert_eq!(code("/etc", Platform::Occlum, &nothing), Ok(()));
        assert_eq!(code("/etc", Platform::Gramine, &nothing), Err("storage-unsafe"));
        let declared = Storage { tmpfs: ["/etc".parse().unwrap()].into() };
        assert_eq!(code("/etc", Platform::Gramine, &declared), Ok(()));
        // A name that only begins alike is another directory.
        let declared = Storage { tmpfs: ["/et".parse().unwrap()].into() };
        assert_eq!(code("/etc", Platform::Gramine, &declared), Err("storage-unsafe"));
    }

    #[test]
    fn a_disk_is_no_place() {
        let error = open(Path::new("/proc/self"), Platform::Simulation, &Storage::default()).unwrap_err();
        assert_eq!(error.code(), "storage-unsafe", "{error}");
    }
}

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
    fs,
    os::fd::{AsRawFd, OwnedFd},
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
use crate::{configuration::Storage, tee::Platform};

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

/// What the guest's kernel says about its mounts and its swap.
#[derive(Clone, Debug)]
pub struct MountTable {
    mount_info: String,
    swaps: String,
}

impl MountTable {
    /// Reads `/proc/self/mountinfo` and `/proc/swaps`.
    fn of_this_process() -> Result<Self, String> {
        let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
        Ok(Self { mount_info: read("/proc/self/mountinfo")?, swaps: read("/proc/swaps").unwrap_or_default() })
    }

    fn check(&self, directory: &OwnedFd) -> Result<(), String> {
        let path = format!("/proc/self/fdinfo/{}", directory.as_raw_fd());
        let information = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let id = information
            .lines()
            .find_map(|line| line.strip_prefix("mnt_id:"))
            .and_then(|id| id.trim().parse().ok())
            .ok_or_else(|| format!("{path} names no mount"))?;
        self.judge(id)
    }

    /// May secrets lie on the mount of this id (proc_pid_mountinfo(5))?
    fn judge(&self, id: u64) -> Result<(), String> {
        let mount = self
            .mount_info
            .lines()
            .find(|line| line.split(' ').next().and_then(|first| first.parse().ok()) == Some(id))
            .ok_or_else(|| format!("the mount table has no mount {id}"))?;
        let (_, after) =
            mount.split_once(" - ").ok_or_else(|| format!("the mount {mount:?} is malformed"))?;
        let mut fields = after.split(' ');
        let (kind, _source, options) = (fields.next(), fields.next(), fields.next().unwrap_or_default());
        let kind = kind.unwrap_or_default();
        if !MEMORY_FILE_SYSTEMS.contains(&kind) {
            return Err(format!(
                "it is a mount of type {kind}, which may be shared with the host; mount a tmpfs of the guest there"
            ));
        }
        let swapped = self.swaps.lines().skip(1).any(|line| !line.trim().is_empty());
        if kind == "tmpfs" && swapped && !options.split(',').any(|option| option == "noswap") {
            return Err(
                "the guest swaps, and a tmpfs may be swapped out to the host's disk; switch swap off, or \
                        mount the tmpfs with noswap"
                    .to_owned(),
            );
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

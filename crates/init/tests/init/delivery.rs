//! Files and descriptors of secrets, through the library.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    time::Duration,
};

use adytum_init::{
    Lease, Released, SecretKind, SecretValue, configuration::MeasuredConfiguration, delivery::Places,
    platform::Platform,
};

use crate::fixture::memory_directory;

fn configuration(path: &Path) -> MeasuredConfiguration {
    let digest = "2".repeat(64);
    MeasuredConfiguration::parse(&format!(
        "format = \"adytum workload v1\"\n[broker]\ngenesis = \"{digest}\"\n[broker.policy]\nvendors = [\"intel\"]\n\
         tee = [\"sgx\"]\nmr_enclave = [\"{digest}\"]\n[[secret]]\nname = \"key\"\npath = \"{}\"\n",
        path.display()
    ))
    .unwrap()
}

fn released(value: &[u8], version: u64) -> Released {
    let secret = SecretValue::new(value.to_vec(), SecretKind::Opaque, version);
    Released {
        secrets: BTreeMap::from([("key".parse().unwrap(), secret)]),
        models: Vec::new(),
        manifest: None,
        lease: Some(Lease { duration: Duration::from_secs(60), grace: Duration::ZERO }),
    }
}

#[test]
fn a_file_has_mode_0400_and_is_replaced_whole() {
    let Some(memory) = memory_directory() else { return };
    let path = memory.path().join("key");
    let mut places = Places::prepare(&configuration(&path), Platform::Simulation).unwrap();
    places.deliver(&released(b"first", 1)).unwrap();
    let old = fs::metadata(&path).unwrap();
    assert_eq!(old.permissions().mode() & 0o7777, 0o400);
    let mut reader = fs::File::open(&path).unwrap();
    places.deliver(&released(b"second, and longer", 2)).unwrap();
    // A program that has the old one open reads it to its end; one that opens now gets the new.
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "first");
    assert_eq!(fs::read_to_string(&path).unwrap(), "second, and longer");
    assert_ne!(fs::metadata(&path).unwrap().ino(), old.ino());
    let names: Vec<_> =
        fs::read_dir(memory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["key"]);
    drop(places);
    assert!(!path.exists());
}

#[test]
fn a_link_in_its_place_is_replaced_and_not_followed() {
    let Some(memory) = memory_directory() else { return };
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("target");
    fs::write(&target, "untouched").unwrap();
    let path = memory.path().join("key");
    symlink(&target, &path).unwrap();
    let mut places = Places::prepare(&configuration(&path), Platform::Simulation).unwrap();
    places.deliver(&released(b"sesame", 1)).unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "untouched");
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
}

/// The directory that was looked at is the one that is written to.
#[test]
fn a_directory_that_is_swapped_afterwards_swaps_nothing() {
    let Some(memory) = memory_directory() else { return };
    let outside = tempfile::tempdir().unwrap();
    let (directory, moved) = (memory.path().join("secrets"), memory.path().join("moved"));
    fs::create_dir(&directory).unwrap();
    let mut places = Places::prepare(&configuration(&directory.join("key")), Platform::Simulation).unwrap();
    fs::rename(&directory, &moved).unwrap();
    symlink(outside.path(), &directory).unwrap();
    places.deliver(&released(b"sesame", 1)).unwrap();
    assert!(fs::read_dir(outside.path()).unwrap().next().is_none());
    assert_eq!(fs::read_to_string(moved.join("key")).unwrap(), "sesame");
}

#[test]
fn a_link_to_a_disk_is_looked_through() {
    let Some(memory) = memory_directory() else { return };
    let link = memory.path().join("link");
    symlink("/proc/self", &link).unwrap();
    let error = Places::prepare(&configuration(&link.join("key")), Platform::Simulation).unwrap_err();
    assert_eq!(error.code(), "storage-unsafe", "{error}");
}

#[test]
fn a_directory_that_others_may_change_is_refused() {
    let Some(memory) = memory_directory() else { return };
    let path = memory.path().join("key");
    let prepare = |mode| {
        fs::set_permissions(memory.path(), fs::Permissions::from_mode(mode)).unwrap();
        Places::prepare(&configuration(&path), Platform::Simulation).map(|_| ()).map_err(|error| error.code())
    };
    assert_eq!(prepare(0o777), Err("storage-unsafe"));
    assert_eq!(prepare(0o770), Err("storage-unsafe"));
    assert_eq!(prepare(0o1777), Ok(()));
    assert_eq!(prepare(0o755), Ok(()));
}

#[test]
fn a_directory_in_its_place_is_refused() {
    let Some(memory) = memory_directory() else { return };
    let path = memory.path().join("key");
    fs::create_dir(&path).unwrap();
    let error = Places::prepare(&configuration(&path), Platform::Simulation).unwrap_err();
    assert_eq!(error.code(), "storage-failed", "{error}");
}

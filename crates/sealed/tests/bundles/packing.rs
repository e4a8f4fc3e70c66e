//! From a directory to a bundle and back.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, symlink},
        net::UnixListener,
    },
    path::Path,
    process::Command,
};

use adytum_sealed::{
    bundle::{Ownership, PackError, TreeWriter, pack, remove_tree, seal_bundle},
    statement::Statement,
};
use sha2::{Digest, Sha256};

use crate::fixture::Fixture;

/// The tree of all these tests: two files, one executable, a link, directories.
fn plant(root: &Path) {
    fs::create_dir_all(root.join("etc/empty")).unwrap();
    fs::create_dir(root.join("bin")).unwrap();
    fs::write(root.join("etc/conf"), "answer = 42\n").unwrap();
    fs::write(root.join("etc/nothing"), "").unwrap();
    fs::write(root.join("bin/run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("bin/run"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(root.join("large"), vec![5; 150_000]).unwrap();
    symlink("../etc/conf", root.join("bin/link")).unwrap();
}

fn archive(root: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    pack(root, &mut bytes, &mut |_| Ok(())).unwrap();
    bytes
}

fn seal(fixture: &Fixture, tree: &Path, out: &str) -> Result<Statement, PackError> {
    let (recipient, name) = (fixture.identity.recipient(), "web".parse().unwrap());
    seal_bundle(tree, &fixture.path(out), &recipient, &fixture.owner, &name, 3, &mut |_| Ok(()))
        .map(|(statement, _)| statement)
}

fn refused(fixture: &Fixture, tree: &Path) -> &'static str {
    let code = seal(fixture, tree, "refused").unwrap_err().code();
    let left: Vec<_> =
        fs::read_dir(fixture.directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["tree"], "{code}");
    code
}

#[test]
fn a_tree_comes_back() {
    let fixture = Fixture::new();
    let tree = fixture.path("tree");
    fs::create_dir(&tree).unwrap();
    plant(&tree);
    seal(&fixture, &tree, "web").unwrap();
    let to = fixture.path("to");
    fixture.unpack_by(&fixture.path("web"), &fixture.rule(3), &to).unwrap();
    assert_eq!(fs::read_to_string(to.join("etc/conf")).unwrap(), "answer = 42\n");
    assert_eq!(fs::read(to.join("large")).unwrap(), vec![5; 150_000]);
    assert_eq!(fs::metadata(to.join("etc/nothing")).unwrap().len(), 0);
    assert!(fs::metadata(to.join("etc/empty")).unwrap().is_dir());
    assert_eq!(fs::read_link(to.join("bin/link")).unwrap(), Path::new("../etc/conf"));
    let mode = |path: &str| fs::metadata(to.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(["bin/run", "etc/conf", "etc", ""].map(mode), [0o755, 0o644, 0o755, 0o755]);
    assert_eq!(archive(&to), archive(&tree));
    // Never overwritten.
    assert_eq!(seal(&fixture, &tree, "web").unwrap_err().code(), "seal-exists");
}

/// Owners, times, the order of names, permissions for others, hard links and
/// holes make no other bundle; content, names and the right to execute do.
#[test]
fn equal_trees_have_one_digest() {
    let fixture = Fixture::new();
    let (one, two) = (fixture.path("one"), fixture.path("two"));
    for tree in [&one, &two] {
        fs::create_dir(tree).unwrap();
    }
    plant(&one);
    fs::write(two.join("large"), "").unwrap();
    plant(&two);
    fs::set_permissions(two.join("etc/conf"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(two.join("etc"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::hard_link(two.join("etc/nothing"), fixture.path("another-name")).unwrap();
    let long_ago = fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
    fs::File::open(two.join("large")).unwrap().set_times(long_ago).unwrap();
    let original = archive(&one);
    assert_eq!(archive(&two), original);
    // The format: a change of one byte of it changes every bundle's digest.
    assert_eq!(
        hex::encode(Sha256::digest(&original)),
        "f692fd0c48a3dead304b9f3012e379a91d4f000eca0f93ea2fd26d7db2d87b62"
    );
    fs::set_permissions(two.join("etc/conf"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_ne!(archive(&two), original);
}

#[test]
fn the_standard_tool_reads_it() {
    if Command::new("tar").arg("--version").output().is_err() {
        println!("SKIPPED: there is no tar");
        return;
    }
    let fixture = Fixture::new();
    let (tree, to) = (fixture.path("tree"), fixture.path("to"));
    fs::create_dir(&tree).unwrap();
    fs::create_dir(&to).unwrap();
    plant(&tree);
    fs::create_dir_all(tree.join("deep").join("d".repeat(90)).join("e".repeat(50))).unwrap();
    fs::write(tree.join("deep").join("d".repeat(90)).join("e".repeat(50)).join("f".repeat(100)), "x")
        .unwrap();
    let bytes = archive(&tree);
    fs::write(fixture.path("web.tar"), &bytes).unwrap();
    let output =
        Command::new("tar").arg("-C").arg(&to).arg("-xf").arg(fixture.path("web.tar")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(archive(&to), bytes);
}

#[test]
fn trees_that_a_bundle_can_not_have() {
    let fixture = Fixture::new();
    let tree = fixture.path("tree");
    let fresh = || {
        let _ = fs::remove_dir_all(&tree);
        fs::create_dir(&tree).unwrap();
    };
    for (target, code) in [
        ("/etc/passwd", "bundle-link-outside"),
        ("..", "bundle-link-outside"),
        ("../tree/a", "bundle-link-outside"),
    ] {
        fresh();
        symlink(target, tree.join("link")).unwrap();
        assert_eq!(refused(&fixture, &tree), code, "{target}");
    }
    fresh();
    nix::unistd::mkfifo(&tree.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(refused(&fixture, &tree), "bundle-fifo");
    fresh();
    let _listener = UnixListener::bind(tree.join("socket")).unwrap();
    assert_eq!(refused(&fixture, &tree), "bundle-socket");
    for mode in [0o4755, 0o2755, 0o1755] {
        fresh();
        fs::write(tree.join("run"), "").unwrap();
        fs::set_permissions(tree.join("run"), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(refused(&fixture, &tree), "bundle-special-bits");
    }
    fresh();
    fs::write(tree.join(OsStr::from_bytes(b"\xff")), "").unwrap();
    assert_eq!(refused(&fixture, &tree), "bundle-path-not-utf8");
    fresh();
    fs::write(tree.join("a\nb"), "").unwrap();
    assert_eq!(refused(&fixture, &tree), "bundle-path-spelling");
    fresh();
    fs::write(tree.join("n".repeat(101)), "").unwrap();
    assert_eq!(refused(&fixture, &tree), "bundle-path-too-long");
    fresh();
    fs::create_dir_all(tree.join("d/".repeat(65))).unwrap();
    assert_eq!(refused(&fixture, &tree), "bundle-path-too-deep");
    fresh();
    let error = seal(&fixture, &tree, "tree/web").unwrap_err();
    assert_eq!(error.code(), "seal-bundle-inside");
    assert_eq!(seal(&fixture, &fixture.path("none"), "web").unwrap_err().code(), "seal-bundle-unreadable");
}

#[test]
fn a_tree_is_removed_and_what_it_links_to_is_not() {
    let fixture = Fixture::new();
    let (tree, precious) = (fixture.path("tree"), fixture.path("precious"));
    fs::create_dir(&tree).unwrap();
    plant(&tree);
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("f"), "untouched").unwrap();
    symlink(&precious, tree.join("etc/link")).unwrap();
    let parent = fs::File::open(fixture.directory.path()).unwrap();
    remove_tree(&parent, OsStr::new("tree")).unwrap();
    assert!(!tree.exists());
    assert_eq!(fs::read_to_string(precious.join("f")).unwrap(), "untouched");
    // A link in its place is removed itself; nothing is no error.
    symlink(&precious, &tree).unwrap();
    remove_tree(&parent, OsStr::new("tree")).unwrap();
    remove_tree(&parent, OsStr::new("tree")).unwrap();
    assert_eq!(fs::read_to_string(precious.join("f")).unwrap(), "untouched");
}

#[test]
fn files_have_the_owner_that_was_asked_for() {
    let fixture = Fixture::new();
    let own = fs::metadata(fixture.directory.path()).unwrap();
    if own.uid() != 0 {
        println!("SKIPPED: only root gives files away");
        return;
    }
    let (tree, to) = (fixture.path("tree"), fixture.path("to"));
    fs::create_dir(&tree).unwrap();
    fs::create_dir(&to).unwrap();
    plant(&tree);
    let ownership = Ownership { user: Some(1234), group: Some(4321) };
    let mut writer = TreeWriter::new(fs::File::open(&to).unwrap().into(), ownership).unwrap();
    let bytes = archive(&tree);
    let mut source = adytum_sealed::bundle::SliceSource::new(&bytes);
    adytum_sealed::bundle::read(&mut source, &mut writer, &mut |_| Ok(())).unwrap();
    for path in ["", "etc", "etc/conf", "bin/link"] {
        let metadata = fs::symlink_metadata(to.join(path)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (1234, 4321), "{path:?}");
    }
}

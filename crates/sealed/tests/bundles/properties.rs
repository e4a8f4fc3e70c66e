//! Whatever the bytes: no panic, nothing outside, and one spelling only.

use std::{collections::BTreeMap, fs, path::Path};

use adytum_sealed::bundle::{SliceSource, pack, read};
use proptest::prelude::*;

use crate::fixture::{Archive, Rebuilt};

/// Reads an archive and writes it again.
fn again(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut rebuilt = Rebuilt::default();
    read(&mut SliceSource::new(bytes), &mut rebuilt, &mut |_| Ok(())).ok()?;
    Some(rebuilt.finish())
}

fn small() -> Vec<u8> {
    Archive::new().directory("d").file("d/f", b"content").link("d/l", "f").file("e", &[1; 600]).finish()
}

/// Written by another program, from docs/bundles.md alone.
#[test]
fn an_archive_of_another_hand_is_read() {
    let bytes = include_bytes!("../../../../fuzz/seeds/bundle_archive/tree.tar");
    assert_eq!(again(bytes).as_deref(), Some(&bytes[..]));
}

#[derive(Clone, Debug)]
enum Node {
    File(Vec<u8>),
    Directory(BTreeMap<String, Node>),
}

fn tree() -> impl Strategy<Value = BTreeMap<String, Node>> {
    let name = "[a-zA-Z0-9._ -]{1,12}|[äß€]{1,3}";
    let name = name.prop_filter("a name of its own", |name| !matches!(name.as_str(), "." | ".."));
    let file = proptest::collection::vec(any::<u8>(), 0..1200).prop_map(Node::File);
    let node = file.prop_recursive(4, 24, 5, {
        let name = name.clone();
        move |inner| proptest::collection::btree_map(name.clone(), inner, 0..5).prop_map(Node::Directory)
    });
    proptest::collection::btree_map(name, node, 0..6)
}

fn plant(root: &Path, tree: &BTreeMap<String, Node>) {
    fs::create_dir(root).unwrap();
    for (name, node) in tree {
        match node {
            Node::File(content) => fs::write(root.join(name), content).unwrap(),
            Node::Directory(inner) => plant(&root.join(name), inner),
        }
    }
}

proptest! {
    #[test]
    fn any_tree_comes_back(tree in tree()) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("tree");
        plant(&root, &tree);
        let mut bytes = Vec::new();
        pack(&root, &mut bytes, &mut |_| Ok(())).unwrap();
        prop_assert_eq!(again(&bytes), Some(bytes));
    }

    #[test]
    fn any_bytes_are_refused_or_have_one_spelling(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        if let Some(rebuilt) = again(&bytes) {
            prop_assert_eq!(rebuilt, bytes);
        }
    }

    #[test]
    fn changed_archives_are_refused_or_are_another_archive(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(), cut_it in any::<bool>(),
    ) {
        let mut bytes = small();
        for (position, byte) in changes {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        if cut_it {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Some(rebuilt) = again(&bytes) {
            prop_assert_eq!(rebuilt, bytes);
        }
    }
}

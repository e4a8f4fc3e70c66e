//! Archives that an owner sealed, or was made to seal, and that are refused all
//! the same, each with a code of its own.

use tar::EntryType;

use crate::fixture::{Archive, Fixture, set_name};

#[test]
fn paths_that_lead_out() {
    let fixture = Fixture::new();
    let named = |name: &[u8]| Archive::new().raw(|header| set_name(header, name)).finish();
    for (name, code) in [
        (&b"/etc/passwd"[..], "bundle-path-absolute"),
        (b"../precious", "bundle-path-parent"),
        (b"a/../../precious", "bundle-path-parent"),
        (b"..", "bundle-path-parent"),
        (b"./a", "bundle-path-spelling"),
        (b"a//b", "bundle-path-spelling"),
        (b"a/", "bundle-path-spelling"),
        (b"", "bundle-path-spelling"),
        (b"a\nERROR all is lost", "bundle-path-spelling"),
        (b"a\xff", "bundle-path-not-utf8"),
    ] {
        assert_eq!(fixture.refused(&named(name)), code, "{:?}", String::from_utf8_lossy(name));
    }
    // By way of the header's other half.
    let prefixed = |prefix: &[u8]| {
        let change = |header: &mut tar::Header| {
            header.as_ustar_mut().unwrap().prefix[..prefix.len()].copy_from_slice(prefix);
        };
        Archive::new().raw(change).finish()
    };
    assert_eq!(fixture.refused(&prefixed(b"..")), "bundle-path-parent");
    assert_eq!(fixture.refused(&prefixed(b"/etc")), "bundle-path-absolute");
    // A path that needs no prefix has one spelling.
    assert_eq!(fixture.refused(&prefixed(b"a")), "bundle-header-not-canonical");
    let deep =
        |header: &mut tar::Header| set_name(header, "d/".repeat(49).as_bytes().split_last().unwrap().1);
    let deep = Archive::new().raw(|header| {
        deep(header);
        let prefix = "d/".repeat(50);
        header.as_ustar_mut().unwrap().prefix[..prefix.len() - 1]
            .copy_from_slice(&prefix.as_bytes()[..prefix.len() - 1]);
    });
    assert_eq!(fixture.refused(&deep.finish()), "bundle-path-too-deep");
}

#[test]
fn links_that_lead_out() {
    let fixture = Fixture::new();
    let link = |path: &str, target: &str| {
        Archive::new()
            .directory("d")
            .raw(|header| {
                set_name(header, path.as_bytes());
                header.set_entry_type(EntryType::Symlink);
                header.set_mode(0o777);
                let linkname = &mut header.as_ustar_mut().unwrap().linkname;
                linkname[..target.len()].copy_from_slice(target.as_bytes());
            })
            .finish()
    };
    for (path, target) in [
        ("l", "/etc"),
        ("l", ".."),
        ("l", "../precious"),
        ("d/l", "../.."),
        ("d/l", "../../precious"),
        ("l", "d/../../precious"),
    ] {
        assert_eq!(fixture.refused(&link(path, target)), "bundle-link-outside", "{path} -> {target}");
    }
    assert_eq!(fixture.refused(&link("l", "")), "bundle-path-spelling");
    assert_eq!(fixture.refused(&link("l", "a//b")), "bundle-path-spelling");
    // Two links that stay inside, each alone, and would not together.
    let two = Archive::new().directory("d").directory("d/e").link("d/e/up", "..");
    let through = two.raw(|header| {
        set_name(header, b"l");
        header.set_entry_type(EntryType::Symlink);
        header.set_mode(0o777);
        header.as_ustar_mut().unwrap().linkname[..12].copy_from_slice(b"d/e/up/../..");
    });
    assert_eq!(fixture.refused(&through.finish()), "bundle-link-outside");
}

#[test]
fn nothing_is_written_through_a_link_or_into_a_file() {
    let fixture = Fixture::new();
    let through = Archive::new().directory("d").link("e", "d").file("e/f", b"written");
    assert_eq!(fixture.refused(&through.finish()), "bundle-behind-link");
    let through = Archive::new().link("e", "f").directory("e/f");
    assert_eq!(fixture.refused(&through.finish()), "bundle-behind-link");
    let into = Archive::new().file("e", b"").file("e/f", b"written");
    assert_eq!(fixture.refused(&into.finish()), "bundle-behind-file");
    // A link and then a directory, or a file, of the same name.
    let over = Archive::new().link("e", "d").directory("e").file("e/f", b"written");
    assert_eq!(fixture.refused(&over.finish()), "bundle-entry-duplicate");
    let over = Archive::new().link("e", "d").file("e", b"written");
    assert_eq!(fixture.refused(&over.finish()), "bundle-entry-duplicate");
}

#[test]
fn what_is_neither_directory_file_nor_link() {
    let fixture = Fixture::new();
    for (kind, code) in [
        (EntryType::Link, "bundle-hard-link"),
        (EntryType::Char, "bundle-device"),
        (EntryType::Block, "bundle-device"),
        (EntryType::Fifo, "bundle-fifo"),
        (EntryType::GNUSparse, "bundle-sparse"),
        (EntryType::XHeader, "bundle-extension"),
        (EntryType::XGlobalHeader, "bundle-extension"),
        (EntryType::GNULongName, "bundle-extension"),
        (EntryType::GNULongLink, "bundle-extension"),
        (EntryType::Continuous, "bundle-entry-kind"),
        (EntryType::new(b's'), "bundle-entry-kind"),
    ] {
        assert_eq!(fixture.refused(&Archive::new().kind("victim", kind).finish()), code, "{kind:?}");
    }
    // A hard link to something outside is none the better for it.
    let outside = Archive::new().raw(|header| {
        header.set_entry_type(EntryType::Link);
        header.as_ustar_mut().unwrap().linkname[..11].copy_from_slice(b"../precious");
    });
    assert_eq!(fixture.refused(&outside.finish()), "bundle-hard-link");
}

#[test]
fn modes_and_everything_else_that_a_header_could_say() {
    let fixture = Fixture::new();
    for mode in [0o4755, 0o2755, 0o1755, 0o6644, 0o7777] {
        let archive = Archive::new().raw(|header| header.set_mode(mode)).finish();
        assert_eq!(fixture.refused(&archive), "bundle-special-bits", "{mode:o}");
    }
    let changes: [fn(&mut tar::Header); 11] = [
        |header| header.set_mode(0o666),
        |header| header.set_mode(0o600),
        |header| header.set_uid(1000),
        |header| header.set_gid(1000),
        |header| header.set_mtime(1),
        |header| header.set_username("root").unwrap(),
        |header| header.as_ustar_mut().unwrap().pad[3] = 1,
        |header| header.as_ustar_mut().unwrap().linkname[0] = b'x',
        |header| header.as_ustar_mut().unwrap().name[50] = b'x',
        |header| header.as_ustar_mut().unwrap().typeflag[0] = 0,
        // Base 256, as GNU's tar has large numbers.
        |header| header.as_ustar_mut().unwrap().size = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let archive = Archive::new().raw(change).finish();
        assert_eq!(fixture.refused(&archive), "bundle-header-not-canonical", "change {number}");
    }
    let gnu = Archive::new().raw(|header| header.as_ustar_mut().unwrap().magic = *b"ustar ");
    assert_eq!(fixture.refused(&gnu.finish()), "bundle-header-not-ustar");
    let mut checksum = Archive::new().file("a", b"").finish();
    checksum[148] ^= 1;
    assert_eq!(fixture.refused(&checksum), "bundle-header-not-canonical");
    // A directory or a link with content.
    let heavy = Archive::new().raw(|header| {
        header.set_entry_type(EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(512);
    });
    assert_eq!(fixture.refused(&heavy.bytes(&[1; 512]).finish()), "bundle-header-not-canonical");
}

#[test]
fn entries_twice_out_of_order_or_without_their_directory() {
    let fixture = Fixture::new();
    let twice = Archive::new().file("a", b"first").file("a", b"second");
    assert_eq!(fixture.refused(&twice.finish()), "bundle-entry-duplicate");
    let twice = Archive::new().directory("a").file("a/b", b"").directory("a");
    assert_eq!(fixture.refused(&twice.finish()), "bundle-entry-duplicate");
    let later = Archive::new().file("a", b"first").file("b", b"").file("a", b"second");
    assert_eq!(fixture.refused(&later.finish()), "bundle-entry-order");
    let back = Archive::new().directory("a").directory("b").file("a/f", b"");
    assert_eq!(fixture.refused(&back.finish()), "bundle-parent-missing");
    let missing = Archive::new().file("a/f", b"");
    assert_eq!(fixture.refused(&missing.finish()), "bundle-parent-missing");
    let missing = Archive::new().directory("a").file("a/b/f", b"");
    assert_eq!(fixture.refused(&missing.finish()), "bundle-parent-missing");
    // Names are compared as bytes, and a directory's content follows it at once.
    let archive = Archive::new().directory("a").file("a/z", b"").file("a.b", b"").file("b", b"");
    fixture.unpack(&fixture.genuine("ordered", &archive.finish())).unwrap();
}

#[test]
fn sizes_that_lie() {
    let fixture = Fixture::new();
    let bomb = |size: u64| {
        let named = Archive::new().raw(|header| header.set_size(size));
        fixture.refused(&named.bytes(&[7; 512]).finish())
    };
    for size in [513 + 1024, 1 << 20, 1 << 32, 0o77_777_777_777] {
        assert_eq!(bomb(size), "bundle-entry-overlong", "{size}");
    }
    // More than eleven octal digits say.
    assert_eq!(bomb(1 << 40), "bundle-file-too-large");
    // Its content is taken for the next header.
    assert_eq!(bomb(0), "bundle-header-not-ustar");
    // The end of the archive as content: then there is no end.
    assert_eq!(bomb(512 + 512 + 512), "bundle-archive-truncated");
    let padded = Archive::new().raw(|header| header.set_size(1)).bytes(&[7; 512]);
    assert_eq!(fixture.refused(&padded.finish()), "bundle-padding");
}

#[test]
fn archives_cut_off_and_put_together() {
    let fixture = Fixture::new();
    let archive = Archive::new().directory("d").file("d/f", &[7; 1000]);
    let whole = archive.clone().finish();
    fixture.unpack(&fixture.genuine("whole", &whole)).unwrap();
    for cut in [1, 511, 512, 1000, 1024, 1500, 2048, 2049, 2560, whole.len() - 512, whole.len() - 1] {
        let code = fixture.refused(&whole[..cut]);
        assert!(matches!(code, "bundle-archive-truncated" | "bundle-entry-overlong"), "cut at {cut}: {code}");
    }
    let two = [&whole[..], &whole[..]].concat();
    assert_eq!(fixture.refused(&two), "bundle-archive-trailing");
    // As GNU's tar pads to its record size.
    let longer = [&whole[..], &[0; 512]].concat();
    assert_eq!(fixture.refused(&longer), "bundle-archive-trailing");
    let one_zero = archive.bytes(&[0; 512]).file("e", b"").finish();
    assert_eq!(fixture.refused(&one_zero), "bundle-archive-end");
    assert_eq!(fixture.refused(b"hello"), "bundle-archive-truncated");
    assert_eq!(fixture.refused(&[b'x'; 4096]), "bundle-header-not-ustar");
}

#[test]
fn more_entries_than_a_bundle_has() {
    let mut archive = Archive::new();
    for number in 0..=adytum_sealed::bundle::MAXIMUM_ENTRIES {
        archive = archive.file(&format!("{number:06}"), b"");
    }
    let archive = archive.finish();
    // Not onto a disk: that they are counted is what matters.
    let mut rebuilt = crate::fixture::Rebuilt::default();
    let mut source = adytum_sealed::bundle::SliceSource::new(&archive);
    let error = adytum_sealed::bundle::read(&mut source, &mut rebuilt, &mut |_| Ok(())).unwrap_err();
    assert_eq!(error.code(), "bundle-too-many-entries");
}

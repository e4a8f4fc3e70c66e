use std::{fs, path::Path};

use tempfile::TempDir;

use super::{circles_of, imports::Level};

/// A crate of these files; the first is its root.
fn source_tree(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

/// The members of each circle between modules, and of each between folders.
fn circles(files: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let directory = source_tree(files);
    let found = circles_of(directory.path());
    let of = |modules: bool| {
        let found = found.iter().filter(|circle| (circle.of == Level::Module) == modules);
        found.map(|circle| circle.members.join(" ")).collect()
    };
    (of(true), of(false))
}

#[track_caller]
fn assert_circle(files: &[(&str, &str)], members: &str) {
    assert_eq!(circles(files).0, [members]);
}

#[track_caller]
fn assert_none(files: &[(&str, &str)]) {
    assert_eq!(circles(files), (Vec::new(), Vec::new()));
}

const ROOT: (&str, &str) = ("lib.rs", "mod a; mod b; mod c;");
const EMPTY: (&str, &str) = ("c.rs", "");

#[test]
fn imports_one_way_are_no_circle() {
    assert_none(&[
        ROOT,
        ("a.rs", "use crate::b::B; pub struct A(B);"),
        ("b.rs", "use super::c; pub struct B(c::C);"),
        ("c.rs", "pub struct C;"),
    ]);
}

#[test]
fn a_path_in_an_expression_counts_as_a_use_does() {
    assert_circle(
        &[
            ROOT,
            ("a.rs", "use crate::b::B; pub fn a() -> B { B }"),
            ("b.rs", "pub struct B; impl B { fn b() { let _ = 1 + crate::a::a as usize; } }"),
            EMPTY,
        ],
        "a b",
    );
}

#[test]
fn types_bounds_patterns_and_implementations_count() {
    for b in [
        "pub struct B; pub fn b(_: &[Option<super::a::A>]) {}",
        "pub struct B; pub fn b<T>() where T: super::a::T {}",
        "pub struct B; pub fn b(x: u8) { match x { super::a::N => {} _ => {} } }",
        "pub struct B; impl super::a::T for B {}",
        "use super::a::N; pub struct B; pub fn b(x: u8) { if let N = x {} }",
        "pub struct B; pub fn b() { <u8 as super::a::T>::t() }",
        "pub struct B; pub fn b(_: <super::a::A as Iterator>::Item) {}",
    ] {
        assert_circle(
            &[
                ROOT,
                ("a.rs", "pub struct A(crate::b::B); pub trait T { fn t(); } pub const N: u8 = 1;"),
                ("b.rs", b),
                EMPTY,
            ],
            "a b",
        );
    }
}

#[test]
fn a_reexport_hides_no_circle() {
    // c is only a facade: it is not part of the circle.
    assert_circle(
        &[
            ROOT,
            ("a.rs", "use crate::c::Renamed; pub fn a(_: Renamed) {}"),
            ("b.rs", "pub struct B; fn b() { crate::a::a(B) }"),
            ("c.rs", "pub use crate::b::B as Renamed;"),
        ],
        "a b",
    );
}

#[test]
fn a_reexport_may_have_its_modules_name() {
    assert_circle(
        &[
            ("lib.rs", "mod a { mod deep; pub use self::deep::deep; } mod b;"),
            ("a/deep.rs", "pub fn deep() { crate::b::b() }"),
            ("b.rs", "use crate::a::deep; pub fn b() { deep() }"),
        ],
        "a::deep b",
    );
}

#[test]
fn globs_of_one_another_are_a_circle_and_end() {
    assert_circle(
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub use crate::b::*;"),
            ("b.rs", "pub use crate::a::*; fn b(_: X) {}"),
        ],
        "a b",
    );
}

#[test]
fn what_a_parent_reexports_is_its_childs() {
    let files = [
        ("lib.rs", "mod a { mod one; mod two; pub use self::{one::One, two::Two}; }"),
        ("a/one.rs", "use super::Two; pub struct One(Option<Two>);"),
        ("a/two.rs", "pub struct Two(Vec<super::One>);"),
    ];
    assert_eq!(circles(&files), (vec!["a::one a::two".to_owned()], Vec::new()));
}

#[test]
fn a_glob_counts_and_so_does_what_it_brings() {
    assert_circle(
        &[
            ROOT,
            ("a.rs", "use crate::b::*; pub struct A;"),
            ("b.rs", "pub fn b() { let _ = crate::a::A; }"),
            EMPTY,
        ],
        "a b",
    );
    // By way of a module that only passes names on.
    assert_circle(
        &[
            ROOT,
            ("a.rs", "use crate::c::*; pub struct A(B);"),
            ("b.rs", "pub struct B; pub fn b() { let _ = crate::a::A; }"),
            ("c.rs", "pub use crate::b::*;"),
        ],
        "a b c",
    );
}

#[test]
fn paths_in_macros_and_attributes_count() {
    for b in [
        "pub struct B; fn b() { println!(\"{}\", crate::a::a()); }",
        "pub struct B; fn b() { vec![(1, [super::a::a()])]; }",
        "use crate::a; pub struct B; fn b() { assert!(a::a() > 1); }",
        "pub struct B; macro_rules! m { () => { $crate::a::a() } }",
        "pub struct B; macro_rules! m { () => { use $crate::a::{z::{y, x}, a}; } }",
        "#[derive(Debug)] #[arg(value_parser = crate::a::a)] pub struct B;",
        "pub struct B; struct S { #[serde(default, with = \"crate::a::a\")] b: u8 }",
    ] {
        assert_circle(
            &[ROOT, ("a.rs", "use crate::b::B; pub fn a() -> u8 { drop(B); 1 }"), ("b.rs", b), EMPTY],
            "a b",
        );
    }
}

#[test]
fn a_macros_own_names_are_no_paths() {
    assert_none(&[
        ROOT,
        ("a.rs", "use crate::b::B; pub fn a() -> u8 { drop(B); 1 }"),
        ("b.rs", "pub struct B; macro_rules! m { ($a:ident) => { $a::a(x.a, ::a::a, Vec::<u8>::a) } }"),
        EMPTY,
    ]);
}

#[test]
fn a_macro_is_the_modules_that_defines_it() {
    assert_circle(
        &[
            ROOT,
            ("a.rs", "#[macro_export] macro_rules! m { () => { $crate::b::B } } pub const N: u8 = 1;"),
            ("b.rs", "pub struct B; fn b() { crate::m!() }"),
            EMPTY,
        ],
        "a b",
    );
}

#[test]
fn imports_in_a_block_are_followed() {
    assert_circle(
        &[
            ROOT,
            ("a.rs", "pub fn a() { use crate::c as d; d::B; }"),
            ("b.rs", "pub struct B; fn b() { use super::a; if true { a::a() } }"),
            ("c.rs", "pub use super::b::B;"),
        ],
        "a b",
    );
}

#[test]
fn a_name_that_a_block_defines_is_no_import() {
    assert_none(&[
        ROOT,
        ("a.rs", "pub struct A; pub fn a() { drop(crate::b::b) }"),
        ("b.rs", "pub fn b() { struct A; let _ = A; }"),
        EMPTY,
    ]);
}

#[test]
fn a_use_of_a_module_is_what_is_used_through_it() {
    // `c` passes on what `b` has; `b` uses `c`'s own constant. No circle of a and c.
    assert_none(&[
        ROOT,
        ("a.rs", "pub const N: u8 = 1; fn a() { use crate::c; }"),
        ("b.rs", ""),
        ("c.rs", "pub use crate::a::N;"),
    ]);
}

#[test]
fn a_module_may_use_what_is_above_it_and_below_it() {
    assert_none(&[
        ("lib.rs", "mod a; pub const N: u8 = 1;"),
        ("a/mod.rs", "mod deep; pub struct Word; pub fn a() { deep::deep() }"),
        ("a/deep.rs", "pub fn deep() { let _ = (super::Word, crate::N, crate::a::Word); }"),
    ]);
}

#[test]
fn folders_circle_where_no_two_of_their_modules_do() {
    let files = [
        ("lib.rs", "mod a { pub mod up; pub mod down; } mod b;"),
        ("a/up.rs", "pub fn up() { crate::b::b() }"),
        ("a/down.rs", "pub fn down() {}"),
        ("b.rs", "pub fn b() { crate::a::down::down() }"),
    ];
    assert_eq!(circles(&files), (Vec::new(), vec!["a b".to_owned()]));
}

#[test]
fn folders_within_a_folder_are_checked_too() {
    let files = [
        ("lib.rs", "mod a { mod one { pub mod up; pub mod down; } mod two; }"),
        ("a/one/up.rs", "pub fn up() { crate::a::two::two() }"),
        ("a/one/down.rs", "pub fn down() {}"),
        ("a/two.rs", "pub fn two() { super::one::down::down() }"),
    ];
    assert_eq!(circles(&files), (Vec::new(), vec!["a::one a::two".to_owned()]));
}

#[test]
fn what_a_macro_defines_is_the_modules_that_calls_it() {
    assert_circle(
        &[
            ROOT,
            ("a.rs", "make! { enum A { One } } fn a() { crate::b::b() }"),
            ("b.rs", "pub fn b(_: crate::c::A) {}"),
            ("c.rs", "pub use crate::a::A;"),
        ],
        "a b",
    );
}

#[test]
fn tests_may_use_anything() {
    let a = "use crate::b::B; pub struct A(B); #[cfg(test)] pub(crate) fn fixture() {}";
    assert_none(&[
        ROOT,
        ("a.rs", a),
        ("b.rs", "pub struct B; #[cfg(test)] mod tests { use crate::a::A; }"),
        ("c.rs", "#[cfg(test)] use crate::a::A; impl X { #[cfg(test)] fn f() { crate::a::fixture() } }"),
    ]);
    assert_none(&[ROOT, ("a.rs", a), ("b.rs", "#![cfg(test)] use crate::a::A;"), EMPTY]);
}

#[test]
fn modules_are_found_by_path_attributes() {
    assert_circle(
        &[
            ("lib.rs", "mod a; #[path = \"elsewhere/bee.rs\"] mod b;"),
            ("a.rs", "pub fn a() { crate::b::inner::b() }"),
            ("elsewhere/bee.rs", "pub mod inner;"),
            ("elsewhere/inner.rs", "pub fn b() { crate::a::a() }"),
        ],
        "a b::inner",
    );
}

#[test]
fn each_import_of_a_circle_is_shown_with_its_place() {
    let directory = source_tree(&[
        ROOT,
        ("a.rs", "use crate::b::B;\npub struct A(B);"),
        ("b.rs", "pub struct B;\n\nfn b(_: crate::a::A) {}"),
        EMPTY,
    ]);
    let found = circles_of(directory.path());
    assert_eq!(found[0].way, ["a.rs:1: a uses b (`crate::b::B`)", "b.rs:3: b uses a (`crate::a::A`)"]);
}

#[test]
fn a_file_that_is_missing_is_named() {
    let directory = source_tree(&[("lib.rs", "mod absent;")]);
    let error = crate::sources::ModuleTree::read(&directory.path().join("lib.rs")).err().unwrap().to_string();
    assert!(error.contains("absent.rs"), "{error}");
    assert!(Path::new(&error).components().count() > 1, "{error}");
}

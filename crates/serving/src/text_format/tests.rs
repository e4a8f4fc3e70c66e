//! Tests of the text format.

use proptest::prelude::*;

use super::*;

fn fields(text: &str) -> Fields {
    Fields::new("Test", parse("Test", text.as_bytes()).unwrap())
}

fn syntax_error(text: &str) -> (usize, usize) {
    match parse("Test", text.as_bytes()) {
        Err(TextError::Syntax { line, column, .. }) => (line, column),
        other => panic!("{text:?}: {other:?}"),
    }
}

#[test]
fn a_file_as_tensorflow_serving_documents_it() {
    let text = "# models\nmodel_config_list {\n  config {\n    name: 'first' base_path: \"/models/first\"\n  }\n  \
                config: <\n    name: \"sec\" 'ond',\n    model_version_policy { specific { versions: 42 versions: [43, 0x2c] } };\n    \
                version_labels { key: 'stable' value: 42 }\n    version_labels [ { key: 'canary' value: 43 } ]\n  >\n}\n";
    let mut all = fields(text);
    let mut list = Fields::new("Test", all.message("model_config_list").unwrap().unwrap());
    all.finish().unwrap();
    let mut configs = list.messages("config").unwrap().into_iter().map(|config| Fields::new("Test", config));
    list.finish().unwrap();
    let mut first = configs.next().unwrap();
    assert_eq!(first.text("name").unwrap().unwrap(), "first");
    assert_eq!(first.text("base_path").unwrap().unwrap(), "/models/first");
    first.finish().unwrap();
    let mut second = configs.next().unwrap();
    assert_eq!(second.text("name").unwrap().unwrap(), "second");
    let mut policy = Fields::new("Test", second.message("model_version_policy").unwrap().unwrap());
    let mut specific = Fields::new("Test", policy.message("specific").unwrap().unwrap());
    assert_eq!(specific.integers("versions").unwrap(), [42, 43, 44]);
    assert_eq!(second.messages("version_labels").unwrap().len(), 2);
    second.finish().unwrap();
    assert!(configs.next().is_none());
}

#[test]
fn numbers_and_words() {
    let mut all = fields(
        "a: 0 b: -017 c: 0xFF d: 9223372036854775807 e: - 5 f: 1.5e+3f g: -inf h: t i: 9223372036854775808",
    );
    let integers: Vec<Option<i64>> =
        ["a", "b", "c", "d", "e"].map(|name| all.integer(name).unwrap()).into_iter().collect();
    assert_eq!(integers, [0, -15, 255, i64::MAX, -5].map(Some));
    assert_eq!(all.integer("z").unwrap(), None);
    for name in ["f", "g", "i"] {
        assert_eq!(all.integer(name).unwrap_err().code(), "text-type", "{name}");
    }
    assert_eq!(all.boolean("h").unwrap(), Some(true));
    let mut all = fields("a: -1 b: 4294967296 c: 7 d { value: 3 } e {} f { values: 3 }");
    assert!(all.unsigned("a").is_err() && all.unsigned("b").is_err());
    assert_eq!(all.unsigned("c").unwrap(), Some(7));
    assert_eq!(all.wrapped_integer("d").unwrap(), Some(3));
    assert_eq!(all.wrapped_integer("e").unwrap(), Some(0));
    assert_eq!(all.wrapped_integer("f").unwrap_err().code(), "text-unknown-field");
}

#[test]
fn what_protobuf_refuses_is_refused() {
    assert_eq!(
        fields("a: 1\na: 2").integer("a").unwrap_err().to_string(),
        "Test, line 2: the field a is given twice"
    );
    let all = fields("latest {}\nall {}");
    assert_eq!(all.one_of(&["latest", "all", "specific"]).unwrap_err().code(), "text-conflict");
    all_unknown("\n\nnam: 1", 3);
    all_unknown("[type.googleapis.com/x.Y] { a: 1 }", 1);
    assert!(fields("a: 'x'").message("a").is_err());
    assert!(fields("a {}").text("a").is_err());
    assert!(fields("a: '\\377'").text("a").is_err());
    assert!(fields("a: 2").boolean("a").is_err());
}

fn all_unknown(text: &str, expected: usize) {
    let mut all = fields(text);
    all.text("name").unwrap();
    match all.finish().unwrap_err() {
        TextError::UnknownField { line, known, .. } => assert_eq!((line, known.as_str()), (expected, "name")),
        other => panic!("{other}"),
    }
}

#[test]
fn syntax_errors_name_their_place() {
    assert_eq!(syntax_error("a: 1\n  b c"), (2, 5));
    for broken in [
        "a", "a:", "a: }", "a {", "a < }", "a: [1", "a: [1 2]", "a [1]", "1: 2", "a: -", "[a", "a: 'x\n'",
        "}",
    ] {
        syntax_error(broken);
    }
    syntax_error(&"a {".repeat(10_000));
    syntax_error(&format!("{}{}", "a {".repeat(101), "}".repeat(101)));
    parse("Test", format!("{}{}", "a {".repeat(100), "}".repeat(100)).as_bytes()).unwrap();
}

#[test]
fn values_do_not_print() {
    let message = parse("Test", b"key: 'sesame'").unwrap();
    assert!(!format!("{message:?}").contains("sesame"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse("Test", &text);
    }

    #[test]
    fn any_arrangement_of_its_signs_is_read_or_refused(text in "[a-c:{}<>\\[\\],;'\"\\\\ \\n#0-9x.+-]{0,80}") {
        let _ = parse("Test", text.as_bytes());
    }

    #[test]
    fn strings_come_back(value in proptest::collection::vec(any::<u8>(), 0..40)) {
        let escaped: String = value.iter().map(|byte| format!("\\{byte:03o}")).collect();
        let message = parse("Test", format!("a: '{escaped}'").as_bytes()).unwrap();
        prop_assert_eq!(&message.fields[0].value, &Value::Scalar(Scalar::Text(value.into())));
    }
}

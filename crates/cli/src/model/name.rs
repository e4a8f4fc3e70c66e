//! A model's name, from that of its file.

use std::path::Path;

use adytum_api::names::ModelName;

/// The name of a model's file without its ending, with what names don't have left out.
pub(crate) fn name_of(model: &Path) -> Option<ModelName> {
    let generic = ["model", "saved_model"];
    let stem = |path: &Path| match path.is_dir() {
        true => Some(path.file_name()?.to_string_lossy().into_owned()),
        false => Some(path.file_stem()?.to_string_lossy().into_owned()),
    };
    let mut text = stem(model)?;
    if generic.contains(&text.as_str())
        && let Some(parent) = model.parent().and_then(stem)
    {
        text = parent;
    }
    let mut name = String::new();
    for c in text.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') => name.push(c),
            _ if name.ends_with('-') => {}
            _ => name.push('-'),
        }
    }
    name.truncate(64);
    name.trim_matches(['-', '_', '.']).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_a_file() {
        let name = |path: &str| name_of(Path::new(path)).map(|name| name.to_string());
        for (path, expected) in [
            ("iris.onnx", "iris"),
            ("/a/My Model (2).onnx", "My-Model-2"),
            ("/a/digits/model.onnx", "digits"),
            ("/a/b/résumé.onnx", "r-sum"),
            ("/a/v1.2.onnx", "v1.2"),
        ] {
            assert_eq!(name(path).as_deref(), Some(expected), "{path}");
        }
        assert_eq!(name("/a/模型.onnx"), None);
    }
}

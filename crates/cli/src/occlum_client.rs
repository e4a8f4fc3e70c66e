//! Occlum's client by its own words.
//!
//! Its users call `python3 resnet_client_grpc.py ...` and `python3 benchmark.py
//! ...` in the client's image. Our image has no Python: there `python3` is a
//! second name of this program, which knows those two scripts and nothing else.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
};

/// The names under which this program is the Occlum client.
const INTERPRETERS: [&str; 2] = ["python3", "python"];

/// A script of the Occlum client, and the verb that does the same.
const SCRIPTS: [(&str, &str); 2] = [("resnet_client_grpc.py", "predict"), ("benchmark.py", "bench")];

/// Called as `python3` with something that is no script of the Occlum client.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this image has no Python: python3 is a name of adytum here, and runs resnet_client_grpc.py (adytum predict) \
     and benchmark.py (adytum bench); {found}; to run a script of your own, use an image with Python and copy \
     server.crt from this one"
)]
pub(crate) struct NotTheOcclumClient {
    found: String,
}

/// The words for our own command line: those that were given, or, where this
/// program was called as `python3`, what they mean.
pub(crate) fn translated(
    words: impl IntoIterator<Item = OsString>,
) -> Result<Vec<OsString>, NotTheOcclumClient> {
    let mut words: Vec<OsString> = words.into_iter().collect();
    let called = words.first().map(|word| file_name(word)).unwrap_or_default();
    if !INTERPRETERS.iter().any(|name| called == *name) {
        return Ok(words);
    }
    let Some(script) = words.get(1) else {
        return Err(NotTheOcclumClient { found: "no script was given".to_owned() });
    };
    let name = file_name(script);
    let Some((_, verb)) = SCRIPTS.iter().find(|(known, _)| name == *known) else {
        return Err(NotTheOcclumClient { found: format!("found {:?}", script.to_string_lossy()) });
    };
    words.splice(..2, ["adytum".into(), (*verb).into()]);
    Ok(words)
}

fn file_name(word: &OsStr) -> OsString {
    Path::new(word).file_name().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translate(words: &str) -> Result<String, NotTheOcclumClient> {
        let words = words.split_whitespace().map(OsString::from);
        let translated = translated(words)?;
        Ok(translated.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn the_occlum_clients_lines_mean_our_verbs() {
        for (line, meant) in [
            (
                "python3 resnet_client_grpc.py --server=localhost:31001 --crt server.crt --image cat.jpg",
                "adytum predict --server=localhost:31001 --crt server.crt --image cat.jpg",
            ),
            ("/usr/bin/python3 ./client/benchmark.py --cnum 4", "adytum bench --cnum 4"),
            ("/usr/bin/adytum bench --cnum 4", "/usr/bin/adytum bench --cnum 4"),
            ("adytum", "adytum"),
        ] {
            assert_eq!(translate(line).as_deref(), Ok(meant));
        }
    }

    #[test]
    fn anything_else_is_no_python() {
        for line in
            ["python3", "python3 -c 1", "python3 inception_client.py", "python3 predict", "python3 .."]
        {
            let refusal = translate(line).unwrap_err().to_string();
            assert!(refusal.contains("no Python") && refusal.contains("benchmark.py"), "{line}: {refusal}");
        }
    }
}

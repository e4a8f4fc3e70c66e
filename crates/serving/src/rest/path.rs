//! Paths of the REST API, as TensorFlow Serving's `http_rest_api_handler.cc` and the Open
//! Inference Protocol have them.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

use super::RestError;
use crate::models::VersionChoice;

/// The calls that take examples or tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Predict,
    Classify,
    Regress,
}

/// A model in a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ModelPath {
    pub(super) name: String,
    pub(super) version: VersionChoice,
}

/// What a request wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// The names of the models (KServe's V1).
    Models,
    Status(ModelPath),
    Metadata(ModelPath),
    Call(ModelPath, Call),
    /// The server's metadata (V2).
    Server,
    Live,
    Ready,
    /// A model's metadata (V2).
    Model(ModelPath),
    ModelReady(ModelPath),
    Infer(ModelPath),
    /// The models of the repository (V2).
    Index,
}

impl Route {
    /// Its name, as the access log and traces have it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Models => "GET /v1/models",
            Self::Status(_) => "GET /v1/models/{model}",
            Self::Metadata(_) => "GET /v1/models/{model}/metadata",
            Self::Call(_, Call::Predict) => "POST /v1/models/{model}:predict",
            Self::Call(_, Call::Classify) => "POST /v1/models/{model}:classify",
            Self::Call(_, Call::Regress) => "POST /v1/models/{model}:regress",
            Self::Server => "GET /v2",
            Self::Live => "GET /v2/health/live",
            Self::Ready => "GET /v2/health/ready",
            Self::Model(_) => "GET /v2/models/{model}",
            Self::ModelReady(_) => "GET /v2/models/{model}/ready",
            Self::Infer(_) => "POST /v2/models/{model}/infer",
            Self::Index => "POST /v2/repository/index",
        }
    }

    /// Reads a method and a path.
    pub(super) fn parse(method: &Method, path: &str) -> Result<Self, RestError> {
        let malformed = || RestError::MalformedRequest {
            method: method.as_str().chars().take(20).collect(),
            path: path.chars().take(200).collect(),
        };
        // As in TensorFlow Serving, the fixed parts of a path have no case.
        let segments: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
        let (first, rest) = segments.split_first().unwrap_or((&"", &[]));
        let route = if first.eq_ignore_ascii_case("v1") {
            version_1(method, rest)?
        } else if first.eq_ignore_ascii_case("v2") {
            version_2(method, rest)?
        } else {
            return Err(RestError::NoPath { path: path.chars().take(200).collect() });
        };
        route.ok_or_else(malformed)
    }
}

fn version_1(method: &Method, segments: &[&str]) -> Result<Option<Route>, RestError> {
    let Some((models, segments)) = segments.split_first() else { return Ok(None) };
    if !models.eq_ignore_ascii_case("models") {
        return Ok(None);
    }
    if *method == Method::POST {
        let Some((last, before)) = segments.split_last() else { return Ok(None) };
        let Some((last, call)) = last.rsplit_once(':') else { return Ok(None) };
        let call = match call.to_ascii_lowercase().as_str() {
            "predict" => Call::Predict,
            "classify" => Call::Classify,
            "regress" => Call::Regress,
            _ => return Ok(None),
        };
        let segments: Vec<&str> = before.iter().copied().chain([last]).collect();
        return Ok(model(&segments)?.map(|model| Route::Call(model, call)));
    }
    if *method != Method::GET {
        return Ok(None);
    }
    match segments {
        [] => Ok(Some(Route::Models)),
        [before @ .., last] if !before.is_empty() && last.eq_ignore_ascii_case("metadata") => {
            Ok(model(before)?.map(Route::Metadata))
        }
        segments => Ok(model(segments)?.map(Route::Status)),
    }
}

fn version_2(method: &Method, segments: &[&str]) -> Result<Option<Route>, RestError> {
    let is = |segment: &str, word: &str| segment.eq_ignore_ascii_case(word);
    let get = *method == Method::GET;
    let post = *method == Method::POST;
    Ok(match segments {
        [] | [""] if get => Some(Route::Server),
        [health, live] if get && is(health, "health") && is(live, "live") => Some(Route::Live),
        [health, ready] if get && is(health, "health") && is(ready, "ready") => Some(Route::Ready),
        [repository, index] if post && is(repository, "repository") && is(index, "index") => {
            Some(Route::Index)
        }
        [models, before @ .., last] if is(models, "models") && !before.is_empty() => {
            if post && is(last, "infer") {
                model(before)?.map(Route::Infer)
            } else if get && is(last, "ready") {
                model(before)?.map(Route::ModelReady)
            } else if get {
                model(segments.get(1..).unwrap_or_default())?.map(Route::Model)
            } else {
                None
            }
        }
        [models, name] if get && is(models, "models") => model(&[name])?.map(Route::Model),
        _ => None,
    })
}

/// `NAME`, `NAME/versions/NUMBER` or `NAME/labels/LABEL`.
fn model(segments: &[&str]) -> Result<Option<ModelPath>, RestError> {
    let (name, version) = match segments {
        [name] => (name, VersionChoice::Latest),
        [name, kind, version] if kind.eq_ignore_ascii_case("versions") => {
            (name, VersionChoice::Number(number(version)?))
        }
        [name, kind, label] if kind.eq_ignore_ascii_case("labels") => match decode(label) {
            Some(label) => (name, VersionChoice::Label(label.into_owned())),
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    Ok(decode(name).map(|name| ModelPath { name: name.into_owned(), version }))
}

/// A segment of a path; `None` if it is empty or not UTF-8.
fn decode(segment: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(segment).decode_utf8().ok().filter(|name| !name.is_empty() && !name.contains(':'))
}

fn number(version: &str) -> Result<i64, RestError> {
    version
        .parse()
        .ok()
        .filter(|number| *number >= 0)
        .ok_or_else(|| RestError::Version { version: version.chars().take(40).collect() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn route(method: Method, path: &str) -> Route {
        Route::parse(&method, path).unwrap()
    }

    fn path(name: &str, version: VersionChoice) -> ModelPath {
        ModelPath { name: name.to_owned(), version }
    }

    #[test]
    fn paths_of_both_protocols_are_read() {
        let latest = || path("m", VersionChoice::Latest);
        let (seven, stable) = (VersionChoice::Number(7), VersionChoice::Label("stable".to_owned()));
        assert_eq!(route(Method::POST, "/v1/models/m:predict"), Route::Call(latest(), Call::Predict));
        assert_eq!(
            route(Method::POST, "/v1/models/m/versions/7:classify"),
            Route::Call(path("m", seven.clone()), Call::Classify)
        );
        assert_eq!(
            route(Method::POST, "/V1/models/m/labels/stable:REGRESS"),
            Route::Call(path("m", stable.clone()), Call::Regress)
        );
        assert_eq!(route(Method::GET, "/v1/models"), Route::Models);
        assert_eq!(route(Method::GET, "/v1/models/m"), Route::Status(latest()));
        assert_eq!(route(Method::GET, "/v1/models/m/versions/7"), Route::Status(path("m", seven.clone())));
        assert_eq!(
            route(Method::GET, "/v1/models/a%20b/metadata"),
            Route::Metadata(path("a b", VersionChoice::Latest))
        );
        assert_eq!(
            route(Method::GET, "/v1/models/m/labels/stable/metadata"),
            Route::Metadata(path("m", stable))
        );
        assert_eq!(route(Method::GET, "/v2"), Route::Server);
        assert_eq!(route(Method::GET, "/v2/"), Route::Server);
        assert_eq!(route(Method::GET, "/v2/health/live"), Route::Live);
        assert_eq!(route(Method::GET, "/v2/health/ready"), Route::Ready);
        assert_eq!(route(Method::POST, "/v2/repository/index"), Route::Index);
        assert_eq!(route(Method::GET, "/v2/models/m"), Route::Model(latest()));
        assert_eq!(route(Method::GET, "/v2/models/m/versions/7"), Route::Model(path("m", seven.clone())));
        assert_eq!(route(Method::GET, "/v2/models/m/ready"), Route::ModelReady(latest()));
        assert_eq!(route(Method::POST, "/v2/models/m/versions/7/infer"), Route::Infer(path("m", seven)));
    }

    #[test]
    fn other_paths_are_refused() {
        let code = |method, path: &str| Route::parse(&method, path).unwrap_err().code();
        for path in
            ["/v1", "/v1/models/", "/v1/models/m:train", "/v1/models/:predict", "/v1/models/m", "/v1/x"]
        {
            assert_eq!(code(Method::POST, path), "rest-malformed", "{path}");
        }
        for path in [
            "/v1/models/m:predict",
            "/v1/models/m/x",
            "/v1/models/m/versions",
            "/v1/models/%ff",
            "/v2/models",
        ] {
            assert_eq!(code(Method::GET, path), "rest-malformed", "{path}");
        }
        assert_eq!(code(Method::DELETE, "/v1/models/m"), "rest-malformed");
        for version in ["x", "-1", "99999999999999999999", ""] {
            let path = format!("/v1/models/m/versions/{version}");
            assert_eq!(code(Method::GET, &path), "rest-version", "{version}");
        }
        assert_eq!(code(Method::GET, "/"), "rest-no-path");
        assert_eq!(code(Method::GET, "/healthz"), "rest-no-path");
    }

    proptest! {
        #[test]
        fn any_path_is_read_or_refused(path in "(/|v1|v2|models|m|versions|[0-9]|:predict|infer|ready|%|.){0,12}") {
            for method in [Method::GET, Method::POST] {
                let _ = Route::parse(&method, &path);
            }
        }
    }
}

//! Loads the library.
//!
//! Not by `ort`'s own loader: that takes a path from the environment, gives no order to the
//! libraries that this one needs, and ends the process if the interface is missing.

#![allow(unsafe_code, reason = "a library is loaded, and its interface is asked for")]

use std::{
    ffi::{CStr, CString, c_void},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    ptr::NonNull,
};

use ort::sys::{ORT_API_VERSION, OrtApi, OrtApiBase};

use crate::error::RuntimeError;

/// The variable that keeps ONNX Runtime from sending what it sees to its vendor, and from writing
/// it to files. It is read before this program could call anything.
const TELEMETRY: &str = "ORT_DISABLE_TELEMETRY";

/// A file to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedObject {
    /// What others call it that need it: its file name.
    pub name: String,
    /// Where its bytes are: a path below `/proc/self/fd` for a checked copy in memory.
    pub location: PathBuf,
    /// Where they came from, for messages.
    pub path: PathBuf,
}

/// ONNX Runtime's library, loaded. It stays loaded until the process ends.
pub struct Library {
    pub(crate) api: OrtApi,
    version: String,
}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Library").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Library {
    /// Loads ONNX Runtime and, before it, what it needs: `needed` is in an order in which each
    /// comes after those that it needs itself. One that this process has already is left out.
    /// Since all are there by then, the loader searches no directory.
    ///
    /// The environment must have `ORT_DISABLE_TELEMETRY=1`. This runs the code of these files, so they must be trusted as this program is.
    pub fn load(needed: &[SharedObject], library: &SharedObject) -> Result<Self, RuntimeError> {
        check_telemetry(std::env::var(TELEMETRY).ok())?;
        for object in needed {
            if !is_loaded(&object.name) {
                open(object)?;
            }
        }
        let handle = open(library)?;
        let path = || library.path.clone();
        let base = api_base(handle).ok_or_else(|| RuntimeError::NotOnnxRuntime { path: path() })?;
        let version = base.version();
        let expected = format!("1.{ORT_API_VERSION} or later, below 2");
        if !is_supported(&version) {
            return Err(RuntimeError::Version { path: path(), expected, found: version });
        }
        let Some(api) = base.api() else {
            let found = format!("{version} without version {ORT_API_VERSION} of the C interface");
            return Err(RuntimeError::Version { path: path(), expected, found });
        };
        Ok(Self { api, version })
    }

    /// Its version, as in `1.32.0`.
    pub fn version(&self) -> &str {
        &self.version
    }
}

fn check_telemetry(found: Option<String>) -> Result<(), RuntimeError> {
    if found.as_deref() == Some("1") {
        return Ok(());
    }
    Err(RuntimeError::Telemetry { variable: TELEMETRY, found })
}

/// Whether this is a version whose C interface is known to have what is used here.
fn is_supported(version: &str) -> bool {
    let mut parts = version.split('.');
    let number = |part: Option<&str>| part.and_then(|part| part.parse::<u32>().ok());
    let (major, minor) = (number(parts.next()), number(parts.next()));
    major == Some(1) && minor.is_some_and(|minor| minor >= ORT_API_VERSION)
}

fn c_string(bytes: &[u8]) -> Option<CString> {
    CString::new(bytes).ok()
}

/// Whether the process has a library of this name. Runs no code of it.
fn is_loaded(name: &str) -> bool {
    let Some(name) = c_string(name.as_bytes()) else { return false };
    // SAFETY: the name is a C string that outlives the call. With RTLD_NOLOAD nothing is
    // loaded and no code is run (dlopen(3)); the reference that is counted is never given back,
    // which only keeps loaded what is.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOLOAD | libc::RTLD_LAZY) };
    !handle.is_null()
}

fn open(object: &SharedObject) -> Result<NonNull<c_void>, RuntimeError> {
    let failed = |reason: String| RuntimeError::Load { path: object.path.clone(), reason };
    let location = c_string(object.location.as_os_str().as_bytes())
        .ok_or_else(|| failed("its path has a NUL byte".to_owned()))?;
    // SAFETY: the location is a C string that outlives the call. The call runs the library's
    // initialisers: its bytes are those that the caller trusts, as `Library::load` demands. The
    // handle is never closed, so no pointer into the library dangles.
    let handle = unsafe { libc::dlopen(location.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    NonNull::new(handle).ok_or_else(|| failed(loader_error(&object.location)))
}

/// What the loader says of its last failure, without the path of a copy in memory.
fn loader_error(location: &Path) -> String {
    // SAFETY: dlerror(3) gives null or a C string of this thread, valid until its next call of
    // the loader; it is copied before.
    let message = unsafe {
        let message = libc::dlerror();
        if message.is_null() { None } else { Some(CStr::from_ptr(message).to_string_lossy().into_owned()) }
    };
    let message = message.unwrap_or_else(|| "the loader gives no reason".to_owned());
    message.replace(&format!("{}: ", location.display()), "")
}

/// What `OrtGetApiBase` gives.
#[derive(Clone, Copy)]
struct Base(NonNull<OrtApiBase>);

fn api_base(handle: NonNull<c_void>) -> Option<Base> {
    // SAFETY: the handle is an open library's, and the name is a C string.
    let symbol = unsafe { libc::dlsym(handle.as_ptr(), c"OrtGetApiBase".as_ptr()) };
    if symbol.is_null() {
        return None;
    }
    // SAFETY: a library that has this symbol is ONNX Runtime, which the caller of
    // `Library::load` vouches for; the function has this type since version 1.0.
    let get: unsafe extern "C" fn() -> *const OrtApiBase = unsafe { std::mem::transmute(symbol) };
    // SAFETY: the function takes nothing and may be called at any time.
    NonNull::new(unsafe { get() }.cast_mut()).map(Base)
}

impl Base {
    fn version(self) -> String {
        // SAFETY: the base is a static of the library, which is never unloaded, and so is the
        // C string that this gives.
        let version = unsafe { (self.0.as_ref().GetVersionString)() };
        if version.is_null() {
            return "of an unknown version".to_owned();
        }
        // SAFETY: see above; it is not null.
        unsafe { CStr::from_ptr(version) }.to_string_lossy().into_owned()
    }

    fn api(self) -> Option<OrtApi> {
        // SAFETY: as in `version`; for a version that the library does not have it gives null.
        let api = unsafe { (self.0.as_ref().GetApi)(ORT_API_VERSION) };
        // SAFETY: a table for this version has at least the functions of this version, in
        // this order; later ones come behind them.
        unsafe { api.as_ref() }.cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telemetry_must_be_off() {
        assert_eq!(check_telemetry(Some("1".to_owned())), Ok(()));
        for found in [None, Some("0".to_owned()), Some(String::new())] {
            assert_eq!(check_telemetry(found).unwrap_err().code(), "onnxruntime-telemetry");
        }
    }

    #[test]
    fn versions_are_told_apart() {
        for version in ["1.20.0", "1.32.0", "1.32.0-rc1", "1.100"] {
            assert!(is_supported(version), "{version}");
        }
        for version in ["", "1", "1.19.2", "2.0.0", "0.32.0", "one.two", "of an unknown version"] {
            assert!(!is_supported(version), "{version}");
        }
    }
}

//! Which engine runs the models.
//!
//! The static engine is part of the program. ONNX Runtime is a library that is loaded at run
//! time, so a program has it only if it was built so and is linked dynamically
//! (docs/engines.md).

use std::{num::NonZeroUsize, path::PathBuf, sync::Arc};

use adytum_engine::{
    bfloat16_engine::BFloat16Engine,
    engine::Engine,
    precision::{Precision, PrecisionError},
    static_engine::StaticEngine,
};
use adytum_init::{configuration::MeasuredConfiguration, error::ProgramError, platform::Platform};
use clap::{Args, ValueEnum};

/// The engines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lowercase")]
pub enum EngineKind {
    /// Pure Rust, part of the program
    #[default]
    Static,
    /// ONNX Runtime, loaded at run time
    OnnxRuntime,
}

/// The floats of convolutions and products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PrecisionKind {
    /// 32-bit floats
    #[default]
    #[value(name = "f32")]
    Float32,
    /// 16-bit floats, for models whose answers stay near
    #[value(name = "bf16")]
    BFloat16,
}

/// The flags that choose the engine.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Engine", rename_all = "snake_case")]
pub struct EngineFlags {
    /// The engine of the models. ONNX Runtime is in the image that deploy/build.sh -e onnxruntime
    /// makes
    #[arg(long, value_name = "NAME", default_value = "static")]
    pub engine: EngineKind,

    /// The library of ONNX Runtime, libonnxruntime.so.VERSION. With a measured configuration that
    /// names it, and this flag may be left out
    #[arg(long, value_name = "FILE")]
    pub onnxruntime_library: Option<PathBuf>,

    /// The floats in which the static engine computes convolutions and products. With bf16, a model whose
    /// answers are too far from those with f32 is not loaded. Needs a processor with AVX512-BF16
    #[arg(long, value_name = "NAME", default_value = "f32")]
    pub precision: PrecisionKind,
}

/// Why the engine can't be used.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineChoiceError {
    /// The program was built without ONNX Runtime.
    ///
    /// Do: use the image that `deploy/build.sh -e onnxruntime` makes, or leave the flag out for
    /// the static engine.
    #[error(
        "--engine onnxruntime: expected a program that can load it, found one with the static engine only; use the \
         image that deploy/build.sh -e onnxruntime makes, or leave the flag out"
    )]
    NotBuilt,
    /// The library of ONNX Runtime is not named, and no measured configuration names it.
    ///
    /// Do: name `libonnxruntime.so.VERSION` with `--onnxruntime_library`.
    #[error(
        "--engine onnxruntime: expected --onnxruntime_library with libonnxruntime.so.VERSION, found none; add it"
    )]
    NoLibrary,
    /// A library of ONNX Runtime is named, and another engine is chosen.
    ///
    /// Do: add `--engine onnxruntime`, or leave `--onnxruntime_library` out.
    #[error(
        "--onnxruntime_library: expected --engine onnxruntime, found the static engine; add that flag, or leave this \
         one out"
    )]
    LibraryUnused,
    /// 16-bit floats are asked of ONNX Runtime.
    ///
    /// Do: leave `--precision` out, or use the static engine.
    #[error(
        "--precision bf16: expected the static engine, found ONNX Runtime, which computes in the types of the model; \
         leave one of both flags out"
    )]
    PrecisionEngine,
    /// The processor can't compute in the floats that are asked for.
    #[error(transparent)]
    Precision(#[from] PrecisionError),
    /// The program can't be started again in an environment in which ONNX Runtime sends no
    /// telemetry.
    ///
    /// Do: set `ORT_DISABLE_TELEMETRY=1` in the program's environment.
    #[error("starting again with ORT_DISABLE_TELEMETRY=1: {source}; set it in the environment")]
    Restart {
        /// What the system says.
        source: std::io::Error,
    },
    /// The library is not the pinned one, or can't be read.
    #[error(transparent)]
    Library(#[from] ProgramError),
    /// The library can't be used.
    #[cfg(feature = "onnxruntime")]
    #[error(transparent)]
    Runtime(#[from] adytum_onnxruntime::RuntimeError),
}

impl EngineChoiceError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotBuilt => "engine-not-built",
            Self::NoLibrary => "onnxruntime-no-library",
            Self::LibraryUnused => "onnxruntime-unused",
            Self::PrecisionEngine => "precision-engine",
            Self::Precision(error) => error.code(),
            Self::Restart { .. } => "onnxruntime-restart",
            Self::Library(error) => error.code(),
            #[cfg(feature = "onnxruntime")]
            Self::Runtime(error) => error.code(),
        }
    }
}

/// An engine that may be started: what it loads was checked.
#[derive(Debug)]
pub struct ChosenEngine(Choice);

#[derive(Debug)]
enum Choice {
    Static(PrecisionKind),
    #[cfg(feature = "onnxruntime")]
    OnnxRuntime(adytum_init::program::onnxruntime::VerifiedOnnxRuntime),
}

impl EngineFlags {
    /// Checks what the flags ask for, before anything is asked of a broker. The library of ONNX
    /// Runtime is read once, here; it must be the one that the measured configuration pins.
    pub fn choose(
        &self,
        configuration: Option<&MeasuredConfiguration>,
        platform: Platform,
    ) -> Result<ChosenEngine, EngineChoiceError> {
        match self.engine {
            EngineKind::Static if self.onnxruntime_library.is_some() => Err(EngineChoiceError::LibraryUnused),
            EngineKind::OnnxRuntime if self.precision != PrecisionKind::Float32 => {
                Err(EngineChoiceError::PrecisionEngine)
            }
            EngineKind::Static
                if self.precision == PrecisionKind::BFloat16 && !Precision::BFloat16.is_available() =>
            {
                Err(PrecisionError::Unsupported.into())
            }
            EngineKind::Static => Ok(ChosenEngine(Choice::Static(self.precision))),
            EngineKind::OnnxRuntime => self.onnxruntime(configuration, platform),
        }
    }

    /// Starts this program again in its place if ONNX Runtime is chosen and would send telemetry.
    /// With a measured configuration the confinement does that.
    pub fn forbid_telemetry(&self) -> Result<(), EngineChoiceError> {
        use std::os::unix::process::CommandExt;

        use adytum_init::program::onnxruntime::TELEMETRY_OFF;

        let is_off = TELEMETRY_OFF.iter().all(|(name, value)| std::env::var(name).as_deref() == Ok(*value));
        if self.engine == EngineKind::Static || is_off {
            return Ok(());
        }
        let mut arguments = std::env::args_os();
        let mut again = std::process::Command::new("/proc/self/exe");
        if let Some(name) = arguments.next() {
            again.arg0(name);
        }
        Err(EngineChoiceError::Restart { source: again.args(arguments).envs(TELEMETRY_OFF).exec() })
    }

    #[cfg(not(feature = "onnxruntime"))]
    fn onnxruntime(
        &self,
        _: Option<&MeasuredConfiguration>,
        _: Platform,
    ) -> Result<ChosenEngine, EngineChoiceError> {
        Err(EngineChoiceError::NotBuilt)
    }

    #[cfg(feature = "onnxruntime")]
    fn onnxruntime(
        &self,
        configuration: Option<&MeasuredConfiguration>,
        platform: Platform,
    ) -> Result<ChosenEngine, EngineChoiceError> {
        use adytum_init::program::onnxruntime::VerifiedOnnxRuntime;

        let asked = self.onnxruntime_library.as_deref();
        let verified = match (configuration, asked) {
            (Some(configuration), asked) => VerifiedOnnxRuntime::pinned(configuration, asked, platform)?,
            (None, Some(path)) => {
                let verified = VerifiedOnnxRuntime::unpinned(path)?;
                let digest = verified.library.digest();
                tracing::warn!(%digest, "no measured configuration pins the library of ONNX Runtime");
                verified
            }
            (None, None) => return Err(EngineChoiceError::NoLibrary),
        };
        Ok(ChosenEngine(Choice::OnnxRuntime(verified)))
    }
}

impl ChosenEngine {
    /// Starts the engine on this number of cores.
    #[cfg_attr(
        not(feature = "onnxruntime"),
        expect(unused_variables, reason = "the static engine gets it with each run")
    )]
    pub fn start(self, cores: NonZeroUsize) -> Result<Arc<dyn Engine>, EngineChoiceError> {
        match self.0 {
            Choice::Static(PrecisionKind::Float32) => Ok(Arc::new(StaticEngine)),
            Choice::Static(PrecisionKind::BFloat16) => Ok(Arc::new(BFloat16Engine)),
            #[cfg(feature = "onnxruntime")]
            Choice::OnnxRuntime(verified) => {
                use adytum_init::program::onnxruntime::VerifiedLibrary;
                use adytum_onnxruntime::{Library, OnnxRuntime, SharedObject};

                let object = |library: &VerifiedLibrary| SharedObject {
                    name: library
                        .path()
                        .file_name()
                        .map(|name| name.to_string_lossy().into_owned())
                        .unwrap_or_default(),
                    location: library.location(),
                    path: library.path().to_owned(),
                };
                let needed: Vec<SharedObject> = verified.needed.iter().map(object).collect();
                let library = Library::load(&needed, &object(&verified.library))?;
                let runtime = OnnxRuntime::start(library, cores)?;
                tracing::info!(version = runtime.version(), "ONNX Runtime");
                Ok(Arc::new(runtime))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(engine: EngineKind, library: Option<&str>) -> EngineFlags {
        let (onnxruntime_library, precision) = (library.map(PathBuf::from), PrecisionKind::Float32);
        EngineFlags { engine, onnxruntime_library, precision }
    }

    #[test]
    fn half_the_bits_are_for_the_static_engine_on_a_processor_that_has_them() {
        let choose = |engine| {
            let flags = EngineFlags { precision: PrecisionKind::BFloat16, ..flags(engine, None) };
            flags.choose(None, Platform::Simulation).map_err(|error| error.code())
        };
        assert_eq!(choose(EngineKind::OnnxRuntime).unwrap_err(), "precision-engine");
        let found = choose(EngineKind::Static);
        assert_eq!(found.is_ok(), Precision::BFloat16.is_available());
        assert!(found.is_ok() || found.is_err_and(|code| code == "precision-unsupported"));
    }

    #[test]
    fn the_static_engine_needs_no_library() {
        let choose = |library| flags(EngineKind::Static, library).choose(None, Platform::Simulation);
        assert!(choose(None).is_ok());
        assert_eq!(choose(Some("/lib/libonnxruntime.so")).unwrap_err().code(), "onnxruntime-unused");
    }

    #[cfg(not(feature = "onnxruntime"))]
    #[test]
    fn a_build_without_it_names_the_image_to_use() {
        let error = flags(EngineKind::OnnxRuntime, Some("/lib/libonnxruntime.so"))
            .choose(None, Platform::Simulation)
            .unwrap_err();
        assert_eq!(error.code(), "engine-not-built");
        assert!(error.to_string().contains("build.sh -e onnxruntime"), "{error}");
    }

    #[cfg(feature = "onnxruntime")]
    #[test]
    fn a_library_must_be_named_and_be_there() {
        let choose = |library| flags(EngineKind::OnnxRuntime, library).choose(None, Platform::Simulation);
        assert_eq!(choose(None).unwrap_err().code(), "onnxruntime-no-library");
        assert_eq!(choose(Some("/no/such.so")).unwrap_err().code(), "program-unreadable");
    }
}

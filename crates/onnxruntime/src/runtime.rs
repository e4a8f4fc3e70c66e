//! The engine: ONNX Runtime with its threads.

use std::{num::NonZeroUsize, sync::Arc};

use ort::{
    environment::{Environment, GlobalThreadPoolOptions},
    logging::LogLevel,
};

use crate::{error::RuntimeError, library::Library, native::CpuMemory, watch::Watcher};

/// ONNX Runtime, started. Copies share it.
#[derive(Clone)]
pub struct OnnxRuntime {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) environment: Environment,
    pub(crate) memory: CpuMemory,
    pub(crate) watcher: Watcher,
    version: String,
}

impl std::fmt::Debug for OnnxRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnnxRuntime").field("version", &self.shared.version).finish_non_exhaustive()
    }
}

impl OnnxRuntime {
    /// Starts ONNX Runtime with threads that all models share. It starts once in a process.
    pub fn start(library: Library, threads: NonZeroUsize) -> Result<Self, RuntimeError> {
        let version = library.version().to_owned();
        if !ort::set_api(library.api) {
            let reason = "it was started before, and it starts once in a process".to_owned();
            return Err(RuntimeError::Start { reason });
        }
        let failed = |error: ort::Error| RuntimeError::Start { reason: error.to_string() };
        let pool = GlobalThreadPoolOptions::default()
            .with_intra_threads(threads.get())
            .and_then(|pool| pool.with_inter_threads(1))
            // Other work waits for these cores.
            .and_then(|pool| pool.with_spin_control(false))
            .map_err(failed)?;
        let environment = ort::init()
            .with_name("adytum")
            .with_telemetry(false)
            .with_global_thread_pool(pool)
            // Its messages name parts of models. A failure comes back as an error, too.
            .with_logger(Arc::new(|_, _, _, _, _| {}))
            .build()
            .map_err(failed)?;
        environment.set_log_level(LogLevel::Fatal);
        let memory = CpuMemory::new().map_err(|failure| RuntimeError::Start { reason: failure.message })?;
        let watcher = Watcher::start().map_err(|error| RuntimeError::Start { reason: error.to_string() })?;
        Ok(Self { shared: Arc::new(Shared { environment, memory, watcher, version }) })
    }

    /// Its version, as in `1.32.0`.
    pub fn version(&self) -> &str {
        &self.shared.version
    }
}

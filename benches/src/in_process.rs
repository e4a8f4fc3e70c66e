//! The baseline for large models: the same engine in this process, no server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use rten::{Model, RunOptions, ThreadPool};
use rten_tensor::{NdTensor, prelude::*};

/// A model and one input for it.
pub(crate) struct InProcess {
    model: Arc<Model>,
    input: Arc<NdTensor<f32, 4>>,
}

impl InProcess {
    /// Loads an ONNX model; `input` is [1, height, width, channels].
    pub(crate) fn load(onnx: Vec<u8>, shape: [usize; 4], values: Vec<f32>) -> Result<Self> {
        let model = Model::load(onnx).context("load the model in process")?;
        Ok(Self { model: Arc::new(model), input: Arc::new(NdTensor::from_data(shape, values)) })
    }

    fn run(&self, pool: &Arc<ThreadPool>) -> Result<()> {
        let input = self.model.input_ids().first().copied().ok_or_else(|| anyhow!("no input"))?;
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(pool)));
        self.model
            .run(vec![(input, self.input.view().into())], self.model.output_ids(), Some(options))
            .map_err(|error| anyhow!("run in process: {error}"))?;
        Ok(())
    }

    /// The time of one run on this pool.
    pub(crate) fn time(&self, pool: &Arc<ThreadPool>) -> Result<Duration> {
        let start = Instant::now();
        self.run(pool)?;
        Ok(start.elapsed())
    }

    /// Runs a second, one at a time, each on all cores.
    pub(crate) fn all_cores(&self, pool: &Arc<ThreadPool>, duration: Duration) -> Result<f64> {
        let (start, mut runs) = (Instant::now(), 0u32);
        while start.elapsed() < duration {
            self.run(pool)?;
            runs += 1;
        }
        Ok(f64::from(runs) / start.elapsed().as_secs_f64())
    }

    /// Runs a second with one single-threaded run a core.
    pub(crate) fn one_a_core(&self, cores: usize, duration: Duration) -> Result<f64> {
        let runs = AtomicU64::new(0);
        let start = Instant::now();
        thread::scope(|scope| {
            let workers: Vec<_> = (0..cores)
                .map(|_| {
                    scope.spawn(|| {
                        let pool = Arc::new(ThreadPool::with_num_threads(1));
                        while start.elapsed() < duration {
                            self.run(&pool)?;
                            runs.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok::<_, anyhow::Error>(())
                    })
                })
                .collect();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().map_err(|_| anyhow!("a worker panicked"))?)
        })?;
        Ok(runs.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64())
    }
}

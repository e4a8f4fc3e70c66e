//! What every protocol does once it knows the tensors.

pub(crate) mod inputs;

use std::{sync::Arc, time::Instant};

use adytum_engine::{operators::Cancellation, tensor::Tensor};
use tokio::sync::OwnedSemaphorePermit;
use tonic::Code;

use crate::{
    batching::Batcher,
    error::RequestError,
    limits::RequestMemory,
    metrics::{Api, Entrypoint},
    models::{Models, Servable, ServedSignature, count_elements},
    observation::{self, Ran},
    scheduler::{ScheduleError, Scheduler, Turn},
    status,
    tensor::rows::rows,
};

/// Messages of this many bytes are read on another thread than the one of their connection: that
/// one would keep its other requests waiting.
const LONG: usize = 256 << 10;

/// Everything that answering takes.
#[derive(Clone)]
pub struct Inference {
    pub models: Models,
    pub scheduler: Scheduler,
    /// Merges requests into batches, if that is wanted.
    pub batcher: Option<Batcher>,
    /// The memory that requests may take.
    pub memory: RequestMemory,
    pub options: AnswerOptions,
}

/// How requests are answered, where flags say so.
#[derive(Clone, Debug, Default)]
pub struct AnswerOptions {
    /// Whether a signature answers only the call that its method names
    /// (`--enable_signature_method_name_check`).
    pub check_method: bool,
    /// Whether `Predict` answers with `tensor_content` instead of the typed fields
    /// (`--enable_serialization_as_tensor_content`).
    pub tensor_content: bool,
}

impl Inference {
    /// Runs a signature of a model. `inputs` are in the order of its inputs and features,
    /// `outputs` are indices of its outputs.
    pub(crate) async fn run(
        &self,
        servable: &Arc<Servable>,
        signature: &ServedSignature,
        inputs: Vec<Tensor>,
        outputs: Vec<usize>,
    ) -> Result<Vec<Tensor>, RequestError> {
        let elements = count_elements(&inputs);
        servable.check_memory(signature, elements)?;
        let rows = rows(&inputs);
        let predicted = signature.cost().predict(elements);
        if let (Some(batcher), Some(rows)) = (&self.batcher, rows)
            && signature.is_batchable()
            && batcher.takes(rows)
            && batcher.pays(predicted)
        {
            return batcher.run(servable, &signature.name, inputs, rows, outputs).await;
        }
        let running = Arc::clone(servable);
        let name = signature.name.clone();
        let caller = Caller::default();
        let cancellation = caller.0.clone();
        let entry = observation::current();
        let submitted = Instant::now();
        let turn = Turn::current(Arc::as_ptr(servable).addr());
        self.scheduler
            .run_in(turn, predicted, move |threads| {
                let (began, batch) = (Instant::now(), rows.unwrap_or(1));
                running.metrics().queued(began - submitted);
                running.metrics().batch(batch);
                let signature = running.signature(&name)?;
                let answer = running.run(signature, inputs, &outputs, threads, &cancellation);
                if let Some(entry) = entry {
                    entry.ran(Ran { submitted, began, ended: Instant::now(), batch });
                }
                answer
            })
            .await?
    }

    /// Counts an answer to a request for a model.
    pub(crate) async fn counted<T, E: HasCode>(
        &self,
        model: &str,
        api: Api,
        entrypoint: Entrypoint,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let started = Instant::now();
        let answer = answer.await;
        self.count(model, api, entrypoint, &answer, started);
        answer
    }

    /// Counts an answer to a request for a model that was `started` then.
    pub(crate) fn count<T, E: HasCode>(
        &self,
        model: &str,
        api: Api,
        entrypoint: Entrypoint,
        answer: &Result<T, E>,
        started: Instant,
    ) {
        let code = answer.as_ref().map_or_else(HasCode::code, |_| Code::Ok);
        self.models.metrics(model).request(api, entrypoint, code, started.elapsed());
    }

    /// Takes the memory of tensors of `size` bytes, of which `held` are taken already.
    pub(crate) fn charge(
        &self,
        size: usize,
        held: usize,
    ) -> Result<Option<OwnedSemaphorePermit>, RequestError> {
        match size.saturating_sub(held) {
            0 => Ok(None),
            more => Ok(Some(self.memory.reserve(more)?)),
        }
    }
}

/// An error with a status code.
pub(crate) trait HasCode {
    fn code(&self) -> Code;
}

impl HasCode for RequestError {
    fn code(&self) -> Code {
        status::code(self)
    }
}

/// Reads a message of `length` bytes: here if it is short, else on a thread that may block.
pub(crate) async fn read<T: Send + 'static, E: From<RequestError> + Send + 'static>(
    length: usize,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    if length < LONG {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(read) => read,
        // Only when the server ends, or by a programming error.
        Err(error) if error.is_panic() => Err(RequestError::Schedule(ScheduleError::Panicked).into()),
        Err(_) => Err(RequestError::Schedule(ScheduleError::Stopped).into()),
    }
}

/// The client that waits for the answer. When the client goes, this is dropped, and a run ends at
/// its next operator.
#[derive(Default)]
struct Caller(Cancellation);

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

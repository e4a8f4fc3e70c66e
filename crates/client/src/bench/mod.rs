//! How fast a server answers: a closed loop as the reference benchmark has it.
//!
//! Each task has a connection of its own and sends its next request when the
//! last one is answered. All connect and warm up first; then all start at once.

mod report;

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use adytum_api::tensorflow::serving::PredictRequest;
use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, sleep},
};

use self::report::Tally;
pub use self::report::{Latency, Query, Report};
use crate::{
    client::{Client, ClientOptions},
    connection::ServerAddress,
    error::ClientError,
};

/// After a request that failed at once, so that a server that is down is not
/// asked a hundred thousand times a second.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(10);

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// This number of requests of each task.
    Requests(u64),
    /// As many as are begun in this time.
    Duration(Duration),
}

/// What a benchmark does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Tasks at the same time, each on its own connection.
    pub tasks: NonZeroUsize,
    /// What of each is measured.
    pub amount: Amount,
    /// Requests of each task before that, not measured.
    pub warm_up: u64,
}

/// Called for every measured request, from many tasks at once.
pub type Observer = Arc<dyn Fn(&Query<'_>) + Send + Sync>;

/// Runs the plan with one and the same request. An error is one before the
/// measurement; errors of measured requests are counted in the report.
pub async fn run(
    server: &ServerAddress,
    options: &ClientOptions,
    request: &PredictRequest,
    plan: &Plan,
    observer: Observer,
) -> Result<Report, ClientError> {
    let mut warming = JoinSet::new();
    for _ in 0..plan.tasks.get() {
        let (server, options, request) = (server.clone(), options.clone(), request.clone());
        let count = plan.warm_up;
        warming.spawn(async move {
            let client = Client::connect(&server, &options).await?;
            for _ in 0..count {
                client.predict(request.clone()).await?;
            }
            Ok::<_, ClientError>(client)
        });
    }
    let mut clients = Vec::new();
    while let Some(warmed) = warming.join_next().await {
        clients.push(finished(warmed)?);
    }

    let start = Instant::now();
    let mut running = JoinSet::new();
    for (task, client) in clients.into_iter().enumerate() {
        let (request, observer, amount) = (request.clone(), Arc::clone(&observer), plan.amount);
        let task = Task { number: task, client, is_tls: options.is_tls() };
        running.spawn(async move { task.run(&request, amount, start, &observer).await });
    }
    let mut tally = Tally::default();
    while let Some(ended) = running.join_next().await {
        tally.add(finished(ended));
    }
    Ok(tally.report(plan.tasks.get(), start.elapsed()))
}

/// A task's result; its panic goes on in ours.
fn finished<T>(joined: Result<T, JoinError>) -> T {
    match joined {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

struct Task {
    number: usize,
    client: Client,
    is_tls: bool,
}

impl Task {
    async fn run(
        self,
        request: &PredictRequest,
        amount: Amount,
        start: Instant,
        observer: &Observer,
    ) -> Tally {
        let mut tally = Tally::default();
        let repeated_before = self.client.repeated();
        let mut loop_index = 0;
        while match amount {
            Amount::Requests(count) => loop_index < count,
            Amount::Duration(duration) => start.elapsed() < duration,
        } {
            let sent = Instant::now();
            let result = self.client.predict(request.clone()).await;
            let latency = sent.elapsed();
            let error = result.err();
            tally.record(latency, error.as_ref());
            observer(&Query {
                is_tls: self.is_tls,
                task: self.number,
                loop_index,
                latency,
                error: error.as_ref(),
            });
            if error.is_some() {
                sleep(PAUSE_AFTER_FAILURE).await;
            }
            loop_index += 1;
        }
        tally.count_repeated(self.client.repeated() - repeated_before);
        tally
    }
}

//! Traces, sent to an OpenTelemetry collector by OTLP over gRPC.
//!
//! The queue and the batches are those of OpenTelemetry's SDK. The exporter is ours: theirs lets
//! the environment, and so the host, change where it sends to. A queue that is full, or a
//! collector that is not there, costs spans and nothing else.

use std::{
    sync::{Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_proto::{
    tonic::collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    transform::{
        common::tonic::ResourceAttributesWithSchema, trace::tonic::group_spans_by_resource_and_scope,
    },
};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, IdGenerator, RandomIdGenerator, SpanData, SpanEvents,
        SpanExporter, SpanLinks, SpanProcessor,
    },
};
use tonic::transport::{Channel, Endpoint};

use super::{Entry, Protocol, Ran, entry::Outcome};

/// Spans that wait for the collector; more are dropped.
const QUEUE: usize = 2048;

/// Spans in a message to the collector.
const BATCH: usize = 512;

/// The longest time that a span waits for others.
const DELAY: Duration = Duration::from_secs(1);

/// The time for a message to the collector.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The time between two lines of the log about a collector that does not answer.
const PAUSE: Duration = Duration::from_secs(60);

/// The name of the service, if the attributes do not have another.
const SERVICE: &str = "adytum-serving";

/// The share of requests that is traced, and the collector that gets it.
#[derive(Clone, Debug)]
pub struct TraceOptions {
    /// The collector: `http` with host and port.
    pub endpoint: Endpoint,
    /// Attributes of this server: keys and values.
    pub attributes: Vec<(String, String)>,
    /// The share of the requests that are traced, of those whose client did not decide it.
    pub ratio: f64,
}

/// Sends traces.
pub struct Traces {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    ids: RandomIdGenerator,
    ratio: f64,
}

impl Traces {
    /// Starts a thread that sends. Call it in a runtime that lives as long: the connection
    /// is made there, when there is something to send.
    pub fn start(options: TraceOptions) -> Self {
        let endpoint = options.endpoint.timeout(TIMEOUT).connect_timeout(TIMEOUT);
        let attributes = options.attributes.into_iter().map(|(key, value)| KeyValue::new(key, value));
        let resource = Resource::builder_empty()
            .with_attribute(KeyValue::new("service.name", SERVICE))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attributes(attributes)
            .build();
        let exporter = Exporter {
            client: TraceServiceClient::new(endpoint.connect_lazy()),
            resource: (&resource).into(),
            complained: Mutex::new(None),
        };
        let limits = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(DELAY)
            .build();
        Self {
            processor: BatchSpanProcessor::builder(exporter).with_batch_config(limits).build(),
            scope: InstrumentationScope::builder(SERVICE).with_version(env!("CARGO_PKG_VERSION")).build(),
            ids: RandomIdGenerator::default(),
            ratio: options.ratio,
        }
    }

    /// Puts the spans of a request into the queue, if it is traced. Never waits.
    pub(super) fn record(&self, entry: &Entry, outcome: Outcome) {
        let sampled =
            entry.parent.map_or_else(|| rand::random::<f64>() < self.ratio, |parent| parent.sampled);
        if !sampled {
            return;
        }
        let trace = entry.parent.map_or_else(|| self.ids.new_trace_id(), |parent| parent.trace);
        let root = self.ids.new_span_id();
        let at = |instant: Instant| entry.started_at + instant.saturating_duration_since(entry.started);
        for ran in entry.runs() {
            let Ran { submitted, began, ended, batch } = ran;
            let size = i64::try_from(batch).unwrap_or(i64::MAX);
            let batch = vec![KeyValue::new("adytum.batch.size", size)];
            self.end(self.inner("queue", trace, root, (at(submitted), at(began)), Vec::new()));
            self.end(self.inner("engine", trace, root, (at(began), at(ended)), batch));
        }
        let status = if outcome.is_failure() { Status::error("") } else { Status::Unset };
        self.end(SpanData {
            span_context: self.context(trace, root),
            parent_span_id: entry.parent.map_or(SpanId::INVALID, |parent| parent.span),
            parent_span_is_remote: entry.parent.is_some(),
            span_kind: SpanKind::Server,
            name: entry.call().into(),
            attributes: attributes(entry, outcome),
            status,
            ..self.inner("", trace, root, (entry.started_at, at(Instant::now())), Vec::new())
        });
    }

    /// Sends what waits, at most for a few seconds, and ends. It blocks its thread.
    pub(super) fn finish(&self) {
        // An error means that the collector takes nothing, and the log says that already.
        let _ = self.processor.shutdown_with_timeout(TIMEOUT);
    }

    fn end(&self, span: SpanData) {
        self.processor.on_end(span);
    }

    fn context(&self, trace: TraceId, span: SpanId) -> SpanContext {
        SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::NONE)
    }

    fn inner(
        &self,
        name: &'static str,
        trace: TraceId,
        parent: SpanId,
        (start_time, end_time): (SystemTime, SystemTime),
        attributes: Vec<KeyValue>,
    ) -> SpanData {
        SpanData {
            span_context: self.context(trace, self.ids.new_span_id()),
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time,
            end_time,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

/// The attributes of a request, with OpenTelemetry's names where it has them.
fn attributes(entry: &Entry, outcome: Outcome) -> Vec<KeyValue> {
    let size = |counter: &std::sync::atomic::AtomicU64| {
        i64::try_from(counter.load(Ordering::Relaxed)).unwrap_or(i64::MAX)
    };
    let mut all = vec![
        KeyValue::new("adytum.received.bytes", size(&entry.received)),
        KeyValue::new("adytum.sent.bytes", size(&entry.sent)),
    ];
    match entry.protocol {
        Protocol::Grpc => {
            all.push(KeyValue::new("rpc.system", "grpc"));
            all.push(KeyValue::new("rpc.method", entry.call()));
        }
        Protocol::Rest => all.push(KeyValue::new("http.route", entry.call())),
    }
    match outcome {
        Outcome::Grpc(code) => {
            all.push(KeyValue::new("rpc.grpc.status_code", i64::from(i32::from(code))));
        }
        Outcome::Http(status) => {
            all.push(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        }
        Outcome::Gone => all.push(KeyValue::new("error.type", "gone")),
    }
    if let Some(model) = entry.model() {
        all.push(KeyValue::new("adytum.model.name", model.name));
        if let Some(version) = model.version {
            all.push(KeyValue::new("adytum.model.version", version));
        }
    }
    all
}

/// Sends spans to the collector.
#[derive(Debug)]
struct Exporter {
    client: TraceServiceClient<Channel>,
    resource: ResourceAttributesWithSchema,
    /// When the log last had a line about the collector.
    complained: Mutex<Option<Instant>>,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let resource_spans = group_spans_by_resource_and_scope(batch, &self.resource);
        let sent = self.client.clone().export(ExportTraceServiceRequest { resource_spans }).await;
        sent.map(drop).map_err(|status| {
            let code = status.code();
            self.complain(spans, code);
            OTelSdkError::InternalFailure(code.description().to_owned())
        })
    }
}

impl Exporter {
    fn complain(&self, spans: usize, code: tonic::Code) {
        let mut complained = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if complained.is_none_or(|when| when.elapsed() >= PAUSE) {
            *complained = Some(Instant::now());
            tracing::warn!(
                spans,
                reason = code.description(),
                "the collector of traces took nothing; spans are dropped"
            );
        }
    }
}

//! Recording: each event is in the log, durably, before it has an effect.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use adytum_api::broker::{AuditCheckpoint, AuditStart, AuditSummary, audit_record::What};
use adytum_evidence::clock::Clock;
use adytum_governance::{
    audit::{
        checkpoint::{CheckpointKey, CheckpointPublicKey},
        events::Event,
        record::{self, StoredRecord},
    },
    command::MAXIMUM_AUDIT_PAGE,
    genesis::GenesisDigest,
    head::StateHead,
    recovery::root_key::KeyError,
};
use tokio::sync::OnceCell;

use super::{
    counted::EventCounts,
    sink::{RecordError, RecordErrorKind},
};
use crate::store::{Change, Item, Store, StoreError};

/// Where the checkpoint key lies in the store.
const KEY: &str = "audit/checkpoint-key";

/// How large a log becomes, counted in records of at most
/// [`record::MAXIMUM_RECORD_LENGTH`] bytes; a common one has 300.
#[derive(Clone, Copy, Debug)]
pub struct AuditLimits {
    /// Records; beyond them nothing is granted.
    pub records: u64,
    /// The number of records that are kept for grants. When only these are left, refusals
    /// and reading commands of owners are counted and not recorded.
    pub kept_for_grants: u64,
    /// Further ones for what owners do, so that they can still revoke.
    pub kept_for_owners: u64,
    /// The number of records after which a checkpoint is signed.
    pub checkpoint_every: u64,
    /// The time after which counted events are summarised in one record.
    pub summary_interval: Duration,
}

impl Default for AuditLimits {
    fn default() -> Self {
        Self {
            records: 16_000_000,
            kept_for_grants: 8_000_000,
            kept_for_owners: 100_000,
            checkpoint_every: 1000,
            summary_interval: Duration::from_secs(600),
        }
    }
}

/// A broker's audit log.
pub struct AuditLog {
    store: Store,
    clock: Arc<dyn Clock>,
    genesis: GenesisDigest,
    epoch: u64,
    key: CheckpointKey,
    limits: AuditLimits,
    /// The record of this start is in the log, and the key in the store.
    begun: OnceCell<()>,
    /// Up to which record a checkpoint was signed.
    signed: AtomicU64,
    counted: EventCounts,
}

/// How an event goes into the log.
enum Place {
    Recorded,
    Counted(&'static str),
    Full,
}

impl AuditLog {
    /// The log in this store. Makes its checkpoint key if there is none yet.
    /// Blocks on the disk.
    pub(crate) fn open(
        store: Store,
        clock: Arc<dyn Clock>,
        genesis: GenesisDigest,
        epoch: u64,
        limits: AuditLimits,
    ) -> Result<Self, StoreError> {
        let failed = || StoreError::from(KeyError { operation: "the audit log's checkpoint key" });
        let key = match store.item(KEY)? {
            Some(bytes) => CheckpointKey::from_bytes(&bytes),
            None => CheckpointKey::generate(),
        };
        let signed = AtomicU64::new(store.head().audit_size);
        let (begun, counted) = (OnceCell::new(), EventCounts::default());
        Ok(Self {
            key: key.ok_or_else(failed)?,
            store,
            clock,
            genesis,
            epoch,
            limits,
            begun,
            signed,
            counted,
        })
    }

    /// The first record of this run. Others begin with it, so that it is there
    /// before them.
    pub async fn begin(&self) -> Result<(), RecordError> {
        self.begun.get_or_try_init(|| self.record_start()).await.copied()
    }

    async fn record_start(&self) -> Result<(), RecordError> {
        let start = AuditStart {
            genesis: self.genesis.0.0.to_vec(),
            epoch: self.epoch,
            checkpoint_key: self.key.public_key().0.to_vec(),
            program: concat!("adytum-broker ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let known = self.store.item(KEY).map_err(|error| unavailable(&error))?.is_some();
        let items = if known { Vec::new() } else { vec![(KEY, Some(self.key_item()?))] };
        let audit = vec![record::encode(self.clock.now(), What::Start(start))];
        let change = Change { items, audit, ..Change::default() };
        self.store.commit(change).await.map(drop).map_err(|error| unavailable(&error))
    }

    fn key_item(&self) -> Result<Item, RecordError> {
        let failed =
            || unavailable(&StoreError::from(KeyError { operation: "the audit log's checkpoint key" }));
        self.key.to_bytes().map(Item).ok_or_else(failed)
    }

    /// The key that signs its checkpoints, once it is kept.
    pub fn checkpoint_key(&self) -> Option<CheckpointPublicKey> {
        self.begun.initialized().then(|| self.key.public_key())
    }

    /// Records these events, all or none, durably.
    pub(crate) async fn record(&self, events: &[Event]) -> Result<(), RecordError> {
        let records = self.prepare(events).await?;
        if records.is_empty() {
            return Ok(());
        }
        let committed = self.store.append_audit(records).await.map_err(|error| unavailable(&error))?;
        self.committed(&committed.head).await;
        Ok(())
    }

    /// The records of these events, to be committed together with what they are
    /// about. Those that are only counted are counted now.
    pub(crate) async fn prepare(&self, events: &[Event]) -> Result<Vec<Vec<u8>>, RecordError> {
        self.begin().await?;
        let (now, size) = (self.clock.now(), self.store.head().audit_size);
        let mut records = Vec::with_capacity(events.len());
        for event in events {
            match self.place(event, size.saturating_add(records.len() as u64)) {
                Place::Recorded => records.push(record::encode(now, record::what(event))),
                Place::Counted(code) => self.counted.add(code, 1, now),
                Place::Full => return Err(self.full()),
            }
        }
        Ok(records)
    }

    /// To be called when records of [`Self::prepare`] are committed.
    pub(crate) async fn committed(&self, head: &StateHead) {
        let last = self.signed.load(Ordering::SeqCst);
        let due = head.audit_size >= last.saturating_add(self.limits.checkpoint_every);
        let taken =
            |last| self.signed.compare_exchange(last, head.audit_size, Ordering::SeqCst, Ordering::SeqCst);
        if !due || taken(last).is_err() {
            return;
        }
        let Some(checkpoint) = self.sign(head) else { return };
        let record = record::encode(self.clock.now(), What::Checkpoint(checkpoint));
        if let Err(error) = self.store.append_audit(vec![record]).await {
            tracing::warn!(code = error.code(), %error, "a checkpoint of the audit log was not kept");
        }
    }

    /// Counts a failure of somebody without accepted evidence.
    pub(crate) fn count(&self, code: &str) {
        self.counted.add(code, 1, self.clock.now());
    }

    /// Records what was counted, in one record; nothing when that is nothing.
    pub(crate) async fn summarise(&self) -> Result<(), RecordError> {
        let Some(summary) = self.counted.take(self.clock.now()) else { return Ok(()) };
        let recorded = self.record_summary(summary.clone()).await;
        if recorded.is_err() {
            self.counted.put_back(summary);
        }
        recorded
    }

    async fn record_summary(&self, summary: AuditSummary) -> Result<(), RecordError> {
        self.begin().await?;
        if self.store.durable() && self.store.head().audit_size >= self.limits.records {
            return Err(self.full());
        }
        let record = record::encode(self.clock.now(), What::Summary(summary));
        let committed = self.store.append_audit(vec![record]).await.map_err(|error| unavailable(&error))?;
        self.committed(&committed.head).await;
        Ok(())
    }

    /// Summarises what was counted, again and again.
    pub(crate) async fn keep_summarising(&self) {
        loop {
            tokio::time::sleep(self.limits.summary_interval).await;
            if let Err(error) = self.summarise().await {
                tracing::warn!(code = error.code(), %error, "refusals are counted and not recorded yet");
            }
        }
    }

    /// At most `count` records from number `first` on (0: the last ones), and a
    /// checkpoint over all there are.
    pub(crate) async fn read(
        &self,
        first: u64,
        count: u32,
    ) -> Result<(Vec<StoredRecord>, Option<AuditCheckpoint>), StoreError> {
        let head = self.store.head();
        let count = u64::from(count.clamp(1, MAXIMUM_AUDIT_PAGE));
        let last_ones = head.audit_size.saturating_sub(count - 1).max(1);
        let first = if first == 0 { last_ones } else { first };
        // No further than the checkpoint.
        let count = count.min(head.audit_size.saturating_add(1).saturating_sub(first));
        let store = self.store.clone();
        let read = move || store.records(first, usize::try_from(count).unwrap_or(0));
        let records = tokio::task::spawn_blocking(read).await.map_err(|_| StoreError::Closed)??;
        Ok((records, self.sign(&head)))
    }

    fn sign(&self, head: &StateHead) -> Option<AuditCheckpoint> {
        Some(self.key.sign(self.genesis, head.audit_size, head.audit_hash?))
    }

    fn place(&self, event: &Event, size: u64) -> Place {
        // In memory, old records make room for new ones.
        let below = |limit: u64| !self.store.durable() || size < limit;
        let AuditLimits { records, kept_for_grants, kept_for_owners, .. } = self.limits;
        let spared = |code| {
            if below(records.saturating_sub(kept_for_grants)) {
                Place::Recorded
            } else {
                Place::Counted(code)
            }
        };
        match event {
            Event::Granted { .. } if below(records) => Place::Recorded,
            // One owner alone may read, and must not keep secrets from workloads.
            Event::Executed { changes: false, command, .. } => spared(command.as_str()),
            Event::Executed { .. } | Event::Confirmed { .. } | Event::Recovered { .. }
                if below(records.saturating_add(kept_for_owners)) =>
            {
                Place::Recorded
            }
            Event::Granted { .. }
            | Event::Executed { .. }
            | Event::Confirmed { .. }
            | Event::Recovered { .. } => Place::Full,
            Event::Refused { code, .. } => spared(code),
            // A peer with neither evidence nor an owner's key is a stranger.
            Event::CommandRefused { who, owners, code, .. }
                if owners.is_empty() && who.attested.is_none() =>
            {
                Place::Counted(code)
            }
            Event::CommandRefused { code, .. } => spared(code),
        }
    }

    fn full(&self) -> RecordError {
        RecordError {
            kind: RecordErrorKind::Full,
            reason: format!(
                "the audit log has {} records, as many as it may have; start the broker with a higher \
                 --audit-limit",
                self.store.head().audit_size
            ),
        }
    }
}

fn unavailable(error: &StoreError) -> RecordError {
    RecordError { kind: RecordErrorKind::Unavailable, reason: error.to_string() }
}

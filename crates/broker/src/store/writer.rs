//! Group commit: one thread takes what many callers want to change, commits all
//! that has come meanwhile in one transaction, and answers each when it is
//! durable.

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use adytum_governance::{head::StateHead, recovery::root_key::RootKey};
use tokio::sync::{mpsc, oneshot};

use super::{
    Change, CommittedChange, MAXIMUM_CHANGE_LENGTH, Store, StoreError,
    directory_lock::DirectoryLock,
    engine::{Engine, Slot},
    row::RowCipher,
    storage::Storage,
};
use crate::telemetry::metrics::StoreActivity;

/// At most this number of callers wait in the queue; one more waits to enter it.
const QUEUE: usize = 1024;
/// The most changes that are committed together.
const MAXIMUM_GROUP: usize = 1024;
/// The most bytes that are committed together, unless one change has more.
const MAXIMUM_GROUP_LENGTH: usize = 8 * 1024 * 1024;

pub(super) enum Message {
    Commit(Box<Change>, oneshot::Sender<Result<CommittedChange, StoreError>>),
    /// The same, and nothing after it.
    CommitLast(Box<Change>, oneshot::Sender<Result<CommittedChange, StoreError>>),
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// What the handles share.
pub(super) struct Shared {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) root: RootKey,
    pub(super) cipher: Arc<RowCipher>,
    pub(super) slot: Arc<Slot>,
    pub(super) head: Arc<RwLock<StateHead>>,
    pub(super) activity: StoreActivity,
    queue: Mutex<Option<mpsc::Sender<Message>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    lock: Mutex<Option<DirectoryLock>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The thread ends when nobody can ask it any more; the file and the
        // directory are free when this returns.
        *self.queue.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

pub(super) fn start(
    engine: Engine,
    storage: Arc<dyn Storage>,
    (root, cipher): (RootKey, Arc<RowCipher>),
    slot: Arc<Slot>,
    lock: Option<DirectoryLock>,
) -> Result<Store, StoreError> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let head = Arc::new(RwLock::new(engine.current().head()));
    let published = Arc::clone(&head);
    let activity = StoreActivity::default();
    let counting = activity.clone();
    let thread = std::thread::Builder::new()
        .name("store".to_owned())
        .spawn(move || {
            let writer = Writer {
                engine,
                known: 0,
                took: Duration::ZERO,
                head: published,
                activity: counting,
                closed: false,
            };
            writer.run(receiver);
        })
        .map_err(|source| super::tables::io_error(storage.path(), "starting its thread", source))?;
    Ok(Store(Arc::new(Shared {
        storage,
        root,
        cipher,
        slot,
        head,
        activity,
        queue: Mutex::new(Some(sender)),
        thread: Mutex::new(Some(thread)),
        lock: Mutex::new(lock),
    })))
}

impl Shared {
    pub(super) async fn commit(&self, change: Change) -> Result<CommittedChange, StoreError> {
        let found = change.length();
        if found > MAXIMUM_CHANGE_LENGTH {
            return Err(StoreError::TooLarge { found, limit: MAXIMUM_CHANGE_LENGTH });
        }
        let (answer, answered) = oneshot::channel();
        self.send(Message::Commit(Box::new(change), answer)).await?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    pub(super) async fn commit_last(&self, change: Change) -> Result<CommittedChange, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::CommitLast(Box::new(change), answer)).await?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Close(answer)).await?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Is its thread there to commit anything?
    pub(super) fn listens(&self) -> bool {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.as_ref().is_some_and(|queue| !queue.is_closed())
    }

    /// Once it is closed: closes the file and frees the directory. Waits for those
    /// who read; blocks.
    pub(super) fn release(&self) -> Result<(), StoreError> {
        *self.queue.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let database = self.slot.write().unwrap_or_else(PoisonError::into_inner).take();
        // A database writes once more when it is closed: not into a file that
        // another broker has opened meanwhile.
        let mut shared = database;
        let mut waited = Duration::ZERO;
        while let Some(database) = shared.take() {
            if let Err(still) = Arc::try_unwrap(database).map(drop) {
                if waited >= RELEASE {
                    let busy = std::io::Error::other("it is still being read");
                    return Err(super::tables::io_error(self.storage.path(), "closing", busy));
                }
                std::thread::sleep(PAUSE);
                waited += PAUSE;
                shared = Some(still);
            }
        }
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    async fn send(&self, message: Message) -> Result<(), StoreError> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        queue.ok_or(StoreError::Closed)?.send(message).await.map_err(|_| StoreError::Closed)
    }
}

/// How long the thread looks for the next caller who was answered and comes again: a small
/// part of what a sync takes. It only gives way meanwhile: to be woken from a sleep takes
/// longer than their coming where processors are virtual.
const PATIENCE: Duration = Duration::from_micros(100);
/// And for all of them no longer than this part of the time that the last transaction
/// took: a caller that comes later is better served by the next one.
const PART: u32 = 4;
/// How long those who read may take when the file is to be closed, and how often that
/// is looked at.
const RELEASE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_micros(20);

struct Writer {
    engine: Engine,
    /// How many callers were there last: answered, or waiting meanwhile.
    known: usize,
    /// How long the last transaction took.
    took: Duration,
    head: Arc<RwLock<StateHead>>,
    activity: StoreActivity,
    closed: bool,
}

type Waiting = (Box<Change>, oneshot::Sender<Result<CommittedChange, StoreError>>);

impl Writer {
    fn run(mut self, mut queue: mpsc::Receiver<Message>) {
        while let Some(first) = queue.blocking_recv() {
            let mut group: Vec<Waiting> = Vec::new();
            let mut length = 0;
            let mut next = Some(first);
            let mut closing = None;
            let mut last = false;
            let began = Instant::now();
            while let Some(message) = next.take() {
                match message {
                    Message::Commit(change, answer) => {
                        length += change.length();
                        group.push((change, answer));
                    }
                    Message::CommitLast(change, answer) => {
                        group.push((change, answer));
                        last = true;
                    }
                    Message::Close(answer) => closing = Some(answer),
                }
                if closing.is_none() && !last && group.len() < MAXIMUM_GROUP && length < MAXIMUM_GROUP_LENGTH
                {
                    next = queue.try_recv().ok();
                    // Callers come in step: without a moment's patience every
                    // other group would be a small one.
                    let looked = Instant::now();
                    while next.is_none()
                        && group.len() < self.known
                        && looked.elapsed() < PATIENCE
                        && began.elapsed() < self.took / PART
                    {
                        std::thread::yield_now();
                        next = queue.try_recv().ok();
                    }
                }
            }
            self.commit(group, last, &queue);
            if let Some(answer) = closing {
                let _ = answer.send(self.close());
            }
        }
    }

    fn commit(&mut self, group: Vec<Waiting>, last: bool, queue: &mpsc::Receiver<Message>) {
        if group.is_empty() {
            return;
        }
        let began = Instant::now();
        let result = if self.closed {
            Err(StoreError::Closed)
        } else {
            let changes: Vec<&Change> = group.iter().map(|(change, _)| &**change).collect();
            self.engine.commit(&changes, |state| state.clean |= last)
        };
        self.closed |= last && result.is_ok();
        // Also after a failure: records may be on the disk that were reported to nobody.
        *self.head.write().unwrap_or_else(PoisonError::into_inner) = self.engine.current().head();
        self.known = group.len() + queue.len();
        self.took = began.elapsed();
        // A caller that went away does not want the answer.
        match result {
            Ok(committed) => {
                self.activity.committed(committed.len(), self.took);
                for ((_, answer), committed) in group.into_iter().zip(committed) {
                    let _ = answer.send(Ok(committed));
                }
            }
            Err(error) => {
                if !self.closed {
                    self.activity.failed();
                }
                tracing::error!(code = error.code(), %error, changes = group.len(), "a commit failed");
                for (_, answer) in group {
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
    }

    fn close(&mut self) -> Result<(), StoreError> {
        if self.closed {
            return Ok(());
        }
        self.engine.commit(&[&Change::default()], |state| state.clean = true)?;
        self.closed = true;
        Ok(())
    }
}

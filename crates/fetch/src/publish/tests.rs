//! Releases that are cut in the middle, over a store that fails at a chosen request.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use adytum_sealed::{
    keys::ModelIdentity,
    seal::{SealOptions, seal_to_directory},
    statement::FileName,
};
use adytum_signing::OwnerSigningKey;
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutResult, Result, UploadPart, memory::InMemory,
};

use super::*;

/// Larger than one part of an upload.
const LARGE: usize = 20 << 20;

/// Where the store fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Never,
    /// The request is refused.
    Before,
    /// It is done, and its answer is lost.
    After,
    /// It is never answered.
    Hangs,
}

/// A store in memory whose write number `at` fails: objects, begun uploads, parts, ends of uploads.
#[derive(Debug)]
struct Faulty {
    inner: InMemory,
    plan: Arc<Mutex<(usize, Fault)>>,
    writes: Arc<AtomicUsize>,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store that fails")
    }
}

impl Faulty {
    fn new(at: usize, fault: Fault) -> Self {
        Self {
            inner: InMemory::new(),
            plan: Arc::new(Mutex::new((at, fault))),
            writes: Arc::new(AtomicUsize::new(0)),
        }
    }
}

fn cut() -> StoreError {
    StoreError::Generic { store: "test", source: "the connection was cut".into() }
}

/// Does this write as the plan says.
async fn write<T>(
    plan: &Mutex<(usize, Fault)>,
    writes: &AtomicUsize,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let number = writes.fetch_add(1, Ordering::SeqCst);
    let (at, fault) = *plan.lock().unwrap();
    match fault {
        _ if number != at => work.await,
        Fault::Never => work.await,
        Fault::Before => Err(cut()),
        Fault::After => {
            work.await?;
            Err(cut())
        }
        Fault::Hangs => std::future::pending().await,
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        write(&self.plan, &self.writes, self.inner.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let begun = self.inner.put_multipart_opts(location, options);
        let upload = write(&self.plan, &self.writes, begun).await?;
        Ok(Box::new(Upload { inner: upload, plan: Arc::clone(&self.plan), writes: Arc::clone(&self.writes) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct Upload {
    inner: Box<dyn MultipartUpload>,
    plan: Arc<Mutex<(usize, Fault)>>,
    writes: Arc<AtomicUsize>,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let part = self.inner.put_part(data);
        let (plan, writes) = (Arc::clone(&self.plan), Arc::clone(&self.writes));
        Box::pin(async move { write(&plan, &writes, part).await })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        write(&self.plan, &self.writes, self.inner.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

/// A sealed version on this machine.
struct Sealed(tempfile::TempDir);

impl Sealed {
    fn new(version: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options =
            SealOptions { model: "digits".parse().unwrap(), version, file_name: FileName::model_onnx() };
        let (key, recipient) = (OwnerSigningKey::generate().unwrap(), ModelIdentity::generate().recipient());
        let plaintext = vec![7; LARGE];
        seal_to_directory(plaintext.as_slice(), directory.path(), &recipient, &key, &options, &mut |_| {})
            .unwrap();
        Self(directory)
    }

    async fn publish(&self, source: &Source, version: u64) -> std::result::Result<(), PublishError> {
        publish(source, version, &self.0.path().join(version.to_string()), &mut |_| {}).await
    }
}

fn source(store: Faulty) -> (Source, Arc<AtomicUsize>) {
    let writes = Arc::clone(&store.writes);
    (Source::of_store(Arc::new(store), "digits"), writes)
}

async fn names(source: &Source) -> Vec<String> {
    let mut names: Vec<String> =
        source.store.list(None).map_ok(|meta| meta.location.to_string()).try_collect().await.unwrap();
    names.sort();
    names
}

async fn versions(source: &Source) -> (Vec<u64>, Option<u64>) {
    let there = published(source).await.unwrap();
    (there.versions.iter().map(|(version, _)| *version).collect(), there.highest)
}

/// The names of a version that is whole.
const WHOLE: [&str; 3] = ["digits/3/.claim", "digits/3/model.onnx.age", "digits/3/model.seal"];

/// Every write of a release fails once, in each way. A version is there as a whole or not at all, and
/// the next release takes the next number.
#[tokio::test(start_paused = true)]
async fn a_release_that_is_cut_leaves_a_whole_version_or_none() {
    let (third, fourth) = (Sealed::new(3), Sealed::new(4));
    let (whole, writes) = source(Faulty::new(0, Fault::Never));
    third.publish(&whole, 3).await.unwrap();
    assert_eq!(names(&whole).await, WHOLE);
    let writes = writes.load(Ordering::SeqCst);
    // The claim, the upload's begin, three parts, its end, the statement.
    assert_eq!(writes, 7);
    for at in 0..writes {
        for fault in [Fault::Before, Fault::After, Fault::Hangs] {
            let case = format!("write {at}, {fault:?}");
            let (source, _) = source(Faulty::new(at, fault));
            let result = match fault {
                // Its process is killed.
                Fault::Hangs => {
                    let limit = std::time::Duration::from_secs(3600);
                    assert!(tokio::time::timeout(limit, third.publish(&source, 3)).await.is_err(), "{case}");
                    None
                }
                _ => Some(third.publish(&source, 3).await),
            };
            if let Some(result) = result {
                let error = result.expect_err(&case);
                assert_eq!(error.code(), "pull-unreachable", "{case}: {error}");
                assert!(!error.to_string().contains("read"), "{case}: {error}");
            }
            let (there, highest) = versions(&source).await;
            let last = at == writes - 1 && fault == Fault::After;
            assert_eq!(there, if last { vec![3] } else { Vec::new() }, "{case}");
            if last {
                assert_eq!(names(&source).await, WHOLE, "{case}");
            }
            // The number stays taken from the moment when the claim may be there.
            let taken = at > 0 || fault == Fault::After;
            assert_eq!(highest, taken.then_some(3), "{case}");
            if taken {
                let again = Sealed::new(3).publish(&source, 3).await.unwrap_err();
                assert_eq!(again.code(), "publish-taken", "{case}");
            }
            fourth.publish(&source, 4).await.unwrap();
            assert!(versions(&source).await.0.ends_with(&[4]), "{case}");
        }
    }
}

//! A web server that lists nothing, and one that does not do what it says.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::fixture::{look, puller, seal, shown, tree};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// A fault of the server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The first transfer of a ciphertext ends in the middle.
    CutOnce,
    /// Each does.
    CutAlways,
    /// A ciphertext has a byte more than it was said to have.
    Longer,
}

/// Serves a directory by HTTP/1.1, without entity tags and parts; gives its address, and
/// counts transfers of ciphertexts.
async fn serve(root: PathBuf, fault: Fault) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let transfers = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&transfers);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(answer(stream, root.clone(), fault, Arc::clone(&counted)));
        }
    });
    (address, transfers)
}

/// One request, and then the connection ends.
async fn answer(stream: TcpStream, root: PathBuf, fault: Fault, transfers: Arc<AtomicUsize>) {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    stream.read_line(&mut request).await.unwrap();
    let mut header = String::new();
    while stream.read_line(&mut header).await.unwrap() > 2 {
        header.clear();
    }
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap().trim_start_matches('/'));
    let found = fs::read(root.join(path)).ok();
    let status = if found.is_some() { "200 OK" } else { "404 Not Found" };
    let mut body = found.unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Connection: close\r\n\r\n",
        body.len() + usize::from(fault == Fault::Longer && method == "GET" && path.ends_with(".age"))
    );
    if method == "HEAD" {
        body.clear();
    } else if path.ends_with(".age") {
        let before = transfers.fetch_add(1, Ordering::SeqCst);
        match fault {
            Fault::CutAlways => body.truncate(body.len() / 2),
            Fault::CutOnce if before == 0 => body.truncate(body.len() / 2),
            Fault::Longer => body.push(0),
            Fault::None | Fault::CutOnce => {}
        }
    }
    // The client may have gone.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&body).await;
    let _ = stream.flush().await;
}

struct Fixture {
    source: tempfile::TempDir,
    directory: tempfile::TempDir,
    address: String,
    transfers: Arc<AtomicUsize>,
}

impl Fixture {
    async fn new(fault: Fault) -> Self {
        let (source, directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        seal(source.path(), 7, 300_000);
        let (address, transfers) = serve(source.path().to_owned(), fault).await;
        Self { source, directory, address, transfers }
    }
}

#[tokio::test]
async fn one_version_is_fetched_by_its_names() {
    let fixture = Fixture::new(Fault::None).await;
    let (round, events) =
        look(&puller(&format!("{}/7", fixture.address), fixture.directory.path(), "all")).await;
    assert_eq!(round.unwrap().present, [7].into());
    assert_eq!(events, ["added 7 sealed=true"]);
    assert_eq!(tree(fixture.directory.path()), tree(fixture.source.path()));
}

#[tokio::test]
async fn a_transfer_that_was_cut_is_begun_again() {
    let fixture = Fixture::new(Fault::CutOnce).await;
    look(&puller(&format!("{}/7", fixture.address), fixture.directory.path(), "all")).await.0.unwrap();
    assert_eq!(tree(fixture.directory.path()), tree(fixture.source.path()));
    assert_eq!(fixture.transfers.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_server_that_cuts_each_transfer_is_given_up() {
    let fixture = Fixture::new(Fault::CutAlways).await;
    let (round, events) =
        look(&puller(&format!("{}/7", fixture.address), fixture.directory.path(), "all")).await;
    assert_eq!(round.unwrap().failed[&7].code(), "pull-unreachable");
    assert!(events.is_empty() && shown(fixture.directory.path()).is_empty());
    assert_eq!(fixture.transfers.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn no_more_is_written_than_was_stated() {
    let fixture = Fixture::new(Fault::Longer).await;
    let (round, _) = look(&puller(&format!("{}/7", fixture.address), fixture.directory.path(), "all")).await;
    assert_eq!(round.unwrap().failed[&7].code(), "pull-length");
    assert!(shown(fixture.directory.path()).is_empty());
}

#[tokio::test]
async fn a_version_that_is_not_there_says_so() {
    let fixture = Fixture::new(Fault::None).await;
    let error = look(&puller(&format!("{}/8", fixture.address), fixture.directory.path(), "all"))
        .await
        .0
        .unwrap_err();
    assert_eq!(error.code(), "pull-no-version");
}

//! A server that gives scripted answers, over real sockets.

use std::collections::HashMap;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

/// What to do when asked.
#[derive(Clone)]
pub(crate) enum Reply {
    /// These bytes, and the end.
    Bytes(Vec<u8>),
    /// Nothing, for ever.
    Silence,
    /// This, and then spaces without end.
    Flood(Vec<u8>),
}

impl Reply {
    pub(crate) fn status(status: &str) -> Self {
        Self::http(status, &[], b"")
    }

    pub(crate) fn http(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        Self::Bytes([head.as_bytes(), b"\r\n", body].concat())
    }
}

/// Runs until it is dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    task: JoinHandle<()>,
}

impl Server {
    /// Answers by the last part of the path, the rest with 404.
    pub(crate) async fn new(replies: HashMap<&'static str, Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let replies = replies.clone();
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => return,
                        }
                    }
                    let head = String::from_utf8(head).unwrap();
                    let path = head.split(' ').nth(1).unwrap().split('?').next().unwrap();
                    let name = path.rsplit('/').next().unwrap();
                    match replies.get(name).cloned().unwrap_or_else(|| Reply::status("404 Not Found")) {
                        Reply::Bytes(bytes) => drop(stream.write_all(&bytes).await),
                        Reply::Silence => std::future::pending().await,
                        Reply::Flood(bytes) => {
                            let _ = stream.write_all(&bytes).await;
                            while stream.write_all(&[b' '; 4096]).await.is_ok() {}
                        }
                    }
                });
            }
        });
        Self { url, task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

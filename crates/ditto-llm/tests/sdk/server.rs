//! A small HTTP server that says what a test tells it to, and remembers what it was asked.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use ditto_llm::{OpenAICompatible, OpenAICompatibleBatches};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The key of every test: if it is seen anywhere but in the one header, that is a leak.
pub(crate) const CANARY: &str = "sk-canary-5f1d0c";

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

/// What the server does with a request.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    end: End,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Whole,
    /// The length is announced, but only so many bytes come.
    Cut(usize),
    /// Not even a status line.
    Drop,
    /// So many bytes, and then silence.
    Silence(usize),
}

impl Reply {
    pub(crate) fn status(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            end: End::Whole,
        }
    }

    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::status(200, body)
    }

    pub(crate) fn dropped() -> Self {
        Self {
            end: End::Drop,
            ..Self::ok("")
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn cut_after(self, bytes: usize) -> Self {
        Self {
            end: End::Cut(bytes),
            ..self
        }
    }

    pub(crate) fn silent_after(self, bytes: usize) -> Self {
        Self {
            end: End::Silence(bytes),
            ..self
        }
    }

    fn head(&self) -> String {
        let mut head = format!("HTTP/1.1 {} Scripted\r\nconnection: close\r\n", self.status);
        let names = |name: &str| self.headers.iter().any(|(known, _)| known == name);
        if !names("content-length") && !names("transfer-encoding") {
            head += &format!("content-length: {}\r\n", self.body.len());
        }
        for (name, value) in self.headers.iter().filter(|(_, value)| value != "none") {
            head += &format!("{name}: {value}\r\n");
        }
        head + "\r\n"
    }
}

type Answering = dyn Fn(&Seen) -> Reply + Send + Sync;

/// The server; it ends when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Answers every request by a function of it.
    pub(crate) async fn answering(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = bind().await;
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answer: Arc<Answering> = Arc::new(answer);
        let task = tokio::spawn(accept(listener, Arc::clone(&seen), answer));
        Self {
            address,
            seen,
            task,
        }
    }

    /// Answers in order; past the end with 418, which nobody repeats.
    pub(crate) async fn script(replies: impl IntoIterator<Item = Reply>) -> Self {
        let replies = Mutex::new(replies.into_iter().collect::<Vec<_>>().into_iter());
        Self::answering(move |_| {
            let next = replies.lock().unwrap().next();
            next.unwrap_or_else(|| Reply::status(418, "the script is over"))
        })
        .await
    }

    /// One JSON answer to everything.
    pub(crate) async fn json(body: Value) -> Self {
        Self::answering(move |_| Reply::ok(body.to_string())).await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn files(&self) -> OpenAICompatible {
        OpenAICompatible::new(CANARY).with_base_url(self.url())
    }

    pub(crate) fn batches(&self) -> OpenAICompatibleBatches {
        self.files().batches()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Method and target of each request, in order.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Any free port, below those the system gives out by itself.
pub(crate) async fn bind() -> TcpListener {
    loop {
        let port = fastrand::u16(20_000..32_000);
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            return listener;
        }
    }
}

async fn accept(listener: TcpListener, seen: Arc<Mutex<Vec<Seen>>>, answer: Arc<Answering>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
        connections.spawn(async move { serve(stream, &seen, &*answer).await });
    }
}

/// One request, one reply. A client that goes away meanwhile is no matter.
async fn serve(mut stream: TcpStream, seen: &Mutex<Vec<Seen>>, answer: &Answering) -> Option<()> {
    let request = read(&mut stream).await?;
    let reply = answer(&request);
    seen.lock().unwrap().push(request);
    let (head, body) = (reply.head(), &reply.body);
    match reply.end {
        End::Drop => {}
        End::Whole => {
            stream.write_all(head.as_bytes()).await.ok()?;
            stream.write_all(body).await.ok()?;
        }
        End::Cut(bytes) => {
            stream.write_all(head.as_bytes()).await.ok()?;
            stream
                .write_all(&body[..bytes.min(body.len())])
                .await
                .ok()?;
        }
        End::Silence(bytes) => {
            stream.write_all(head.as_bytes()).await.ok()?;
            stream
                .write_all(&body[..bytes.min(body.len())])
                .await
                .ok()?;
            std::future::pending::<()>().await;
        }
    }
    stream.shutdown().await.ok()
}

async fn read(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = bytes.split_off(head_end);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Seen {
        method,
        target,
        headers,
        body,
    })
}

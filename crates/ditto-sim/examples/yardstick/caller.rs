//! One connection to a server, and calls over it one after the other.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;

use crate::AnyError;

pub(crate) type Sender = http1::SendRequest<Full<Bytes>>;

/// Must be called within a runtime: the connection is a task of it.
pub(crate) async fn connect(address: SocketAddr) -> Result<Sender, AnyError> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // Head and body of a small request fit into one buffer: that is cheaper to send than two.
    let (sender, connection) = http1::Builder::new()
        .writev(false)
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Speaks the API's JSON.
pub(crate) struct Caller {
    sender: Sender,
    host: String,
}

impl Caller {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, AnyError> {
        Ok(Self {
            sender: connect(address).await?,
            host: address.to_string(),
        })
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<Value, AnyError> {
        self.call(Method::GET, path, "application/json", Bytes::new())
            .await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Result<Value, AnyError> {
        let body = Bytes::from(serde_json::to_vec(body)?);
        self.call(Method::POST, path, "application/json", body)
            .await
    }

    /// The id of the file that was made of these bytes.
    pub(crate) async fn upload(&mut self, content: &[u8]) -> Result<String, AnyError> {
        let mut form =
            b"--cut\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n\
            --cut\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n"
                .to_vec();
        form.extend_from_slice(content);
        form.extend_from_slice(b"\r\n--cut--\r\n");
        let kind = "multipart/form-data; boundary=cut";
        let file = self
            .call(Method::POST, "/v1/files", kind, form.into())
            .await?;
        id(&file)
    }

    async fn call(
        &mut self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<Value, AnyError> {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .header("content-type", content_type)
            .body(Full::new(body))?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
        }
        Ok(serde_json::from_slice(&body)?)
    }
}

/// The id of an object.
pub(crate) fn id(object: &Value) -> Result<String, AnyError> {
    let id = object["id"].as_str().ok_or("an object without an id")?;
    Ok(id.to_owned())
}

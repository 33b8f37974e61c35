//! TLS, and the proxies of the environment.

use hyper_util::client::proxy::matcher::Matcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::join;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

use super::*;
use crate::upstream::Caller;

const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/tls");
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

/// Trusts the authority of the tests.
fn trusting() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(format!("{CERTIFICATES}/ca.pem")).unwrap();
    roots.add(authority).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = connector::system_tls().unwrap().alpn_protocols;
    config
}

/// The other side of TLS; of `localhost`, and with HTTP/2 if that is wanted.
async fn secured(stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
    let file = |name| format!("{CERTIFICATES}/{name}.pem");
    let chain = CertificateDer::pem_file_iter(file("first-cert")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("first-key")).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    config.alpn_protocols = [&b"h2"[..], b"http/1.1"].map(<[u8]>::to_vec).into();
    TlsAcceptor::from(Arc::new(config)).accept(stream).await
}

fn caller(base: &str, proxies: &Matcher, tls: ClientConfig) -> HttpCaller {
    let to: Uri = base.parse().unwrap();
    let way = Way::to(&to, proxies);
    HttpCaller::new(Arc::new(Terms {
        heads: Heads::new(base, &[CHAT.to_owned()], None, &way).unwrap(),
        connector: Connector::new(&to, &way, tls.into()).unwrap(),
        timeout: Duration::from_secs(20),
        answer_bytes: 1 << 20,
        keep: Keep::for_a_look(),
        spares: Mutex::default(),
    }))
}

fn straight() -> Matcher {
    Matcher::builder().build()
}

/// All requests go through a proxy there, whose name and password these are.
fn proxied(listener: &TcpListener) -> Matcher {
    let proxy = format!("http://me:secret@{}", listener.local_addr().unwrap());
    Matcher::builder().all(proxy).build()
}

async fn line(caller: &mut HttpCaller) -> Reply {
    let request = Request {
        endpoint: CHAT,
        body: Bytes::from_static(b"{}"),
        line_id: "batch_req_1_1",
    };
    caller.send(request).await
}

/// One request, up to its empty body or the end of its head; and the answer.
async fn serve(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), answer: &[u8]) -> String {
    let mut asked = String::new();
    while !(asked.ends_with("\r\n\r\n{}")
        || asked.starts_with("CONNECT") && asked.ends_with("\r\n\r\n"))
    {
        asked.push(stream.read_u8().await.unwrap().into());
    }
    stream.write_all(answer).await.unwrap();
    stream.flush().await.unwrap();
    asked
}

#[track_caller]
fn is_answered(reply: &Reply) {
    assert!(
        matches!(reply, Reply::Answer { status: 200, .. }),
        "{reply:?}"
    );
}

#[track_caller]
fn why(reply: Reply) -> String {
    match reply {
        Reply::Unreachable { reason } => reason,
        reply => panic!("{reply:?}"),
    }
}

#[tokio::test]
async fn tls_is_greeted_once_for_all_lines_of_a_caller_and_speaks_http_1_1() {
    let listener = bind().await;
    let base = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    let mut caller = caller(&base, &straight(), trusting());
    let lines = async {
        for _ in 0..3 {
            is_answered(&line(&mut caller).await);
        }
    };
    join!(lines, async {
        let mut stream = secured(listener.accept().await.unwrap().0).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        for _ in 0..3 {
            let asked = serve(&mut stream, OK).await;
            assert!(
                asked.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"),
                "{asked}"
            );
        }
    });
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_gets_no_line() {
    let listener = bind().await;
    let base = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    let mut caller = caller(&base, &straight(), connector::system_tls().unwrap());
    let (reply, secured) = join!(line(&mut caller), async {
        secured(listener.accept().await.unwrap().0).await
    });
    assert!(why(reply).contains("certificate"));
    assert!(secured.is_err());
}

#[tokio::test]
async fn plain_http_is_given_to_the_proxy_with_the_whole_address() {
    let proxy = bind().await;
    let mut caller = caller("http://upstream.test:81", &proxied(&proxy), trusting());
    let (reply, asked) = join!(line(&mut caller), async {
        serve(&mut proxy.accept().await.unwrap().0, OK).await
    });
    is_answered(&reply);
    assert!(asked.starts_with("POST http://upstream.test:81/v1/chat/completions HTTP/1.1\r\n"));
    assert!(asked.contains("host: upstream.test:81\r\n"), "{asked}");
    assert!(
        asked.contains("proxy-authorization: Basic bWU6c2VjcmV0\r\n"),
        "{asked}"
    );
}

#[tokio::test]
async fn tls_goes_through_the_proxy_which_sees_no_request() {
    let proxy = bind().await;
    let mut caller = caller("https://localhost", &proxied(&proxy), trusting());
    let (reply, (seen, asked)) = join!(line(&mut caller), async {
        let (mut stream, _) = proxy.accept().await.unwrap();
        let seen = serve(&mut stream, b"HTTP/1.1 200 Go\r\n\r\n").await;
        let asked = serve(&mut secured(stream).await.unwrap(), OK).await;
        (seen, asked)
    });
    is_answered(&reply);
    assert!(
        seen.starts_with("CONNECT localhost:443 HTTP/1.1\r\n"),
        "{seen}"
    );
    assert!(
        seen.to_lowercase().contains("proxy-authorization: basic "),
        "{seen}"
    );
    assert!(
        asked.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"),
        "{asked}"
    );
    assert!(asked.contains("host: localhost\r\n"), "{asked}");
    assert!(!asked.contains("proxy-authorization"), "{asked}");
}

#[tokio::test]
async fn a_proxy_that_wants_to_be_signed_in_to_is_named() {
    let proxy = bind().await;
    let mut caller = caller("https://localhost", &proxied(&proxy), trusting());
    let (reply, _) = join!(line(&mut caller), async {
        let (mut stream, _) = proxy.accept().await.unwrap();
        serve(&mut stream, b"HTTP/1.1 407 Who Are You\r\n\r\n").await
    });
    assert!(why(reply).contains("proxy authorization required"));
}

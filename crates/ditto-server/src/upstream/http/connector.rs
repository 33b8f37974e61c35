//! How a connection to an upstream is made: TCP, TLS, and the proxy that the environment may name.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, USER_AGENT};
use http::{HeaderValue, Uri, uri::Scheme};
use hyper::service::Service;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector};
use hyper_util::client::legacy::connect::{HttpConnector, proxy::Tunnel};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::ServerName;

use super::connection::Connection;
use super::{Failure, USER_AGENT_NAME};

/// A server that does not take a connection within this time is away.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// How often a silent connection is tried, so that one whose other end is gone is not waited on.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_TRIES: u32 = 3;
/// Bytes that are not acknowledged for this long are lost.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// By which way requests come to an upstream.
pub(super) enum Way {
    Straight,
    /// Plain HTTP is given to a proxy, with the whole address.
    Forwarded(Intercept),
    /// TLS goes through a proxy, which sees nothing of it.
    Tunnelled(Intercept),
}

impl Way {
    /// As the proxies of the environment have it.
    pub(super) fn to(upstream: &Uri, proxies: &Matcher) -> Self {
        match proxies.intercept(upstream) {
            None => Self::Straight,
            Some(proxy) if upstream.scheme() == Some(&Scheme::HTTPS) => Self::Tunnelled(proxy),
            Some(proxy) => Self::Forwarded(proxy),
        }
    }
}

/// Makes connections to one upstream.
pub(super) struct Connector {
    to: Uri,
    by: Reach,
}

/// Takes TCP and, for `https`, TLS.
type Dial = HttpsConnector<HttpConnector>;

enum Reach {
    Direct(TowerToHyperService<Dial>),
    Tunnel {
        through: Box<TowerToHyperService<Tunnel<Dial>>>,
        tls: TlsConnector,
        name: ServerName<'static>,
    },
}

impl Connector {
    pub(super) fn new(upstream: &Uri, way: &Way, tls: Arc<ClientConfig>) -> Result<Self, Failure> {
        let dial = Dial::from((tcp(), Arc::clone(&tls)));
        let (to, by) = match way {
            Way::Straight => (upstream, Reach::Direct(TowerToHyperService::new(dial))),
            Way::Forwarded(proxy) => (proxy.uri(), Reach::Direct(TowerToHyperService::new(dial))),
            Way::Tunnelled(proxy) => (upstream, tunnel(upstream, proxy, dial, tls)?),
        };
        Ok(Self { to: to.clone(), by })
    }

    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        match tokio::time::timeout(TIMEOUT, self.connected()).await {
            Ok(connected) => connected,
            Err(_) => Err(format!("no connection within {} s", TIMEOUT.as_secs()).into()),
        }
    }

    async fn connected(&self) -> Result<Connection, Failure> {
        let to = self.to.clone();
        let connection = match &self.by {
            Reach::Direct(dial) => Connection::over(dial.call(to).await?).await?,
            Reach::Tunnel { through, tls, name } => {
                let tunnel = TokioIo::new(through.call(to).await?);
                let secured = tls.connect(name.clone(), tunnel).await?;
                Connection::over(TokioIo::new(secured)).await?
            }
        };
        Ok(connection)
    }
}

/// Addresses of a name are tried in turn, both families side by side.
fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    // Schemes are looked at one step above.
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE));
    tcp.set_keepalive_retries(Some(KEEPALIVE_TRIES));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    tcp
}

fn tunnel(
    upstream: &Uri,
    proxy: &Intercept,
    dial: Dial,
    tls: Arc<ClientConfig>,
) -> Result<Reach, Failure> {
    let agent = HeaderMap::from_iter([(USER_AGENT, HeaderValue::from_static(USER_AGENT_NAME))]);
    let mut tunnel = Tunnel::new(proxy.uri().clone(), dial).with_headers(agent);
    if let Some(auth) = proxy.basic_auth() {
        tunnel = tunnel.with_auth(auth.clone());
    }
    let host = upstream.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok(Reach::Tunnel {
        through: Box::new(TowerToHyperService::new(tunnel)),
        tls: tls.into(),
        name: ServerName::try_from(host.to_owned())?,
    })
}

/// Whom the system trusts is trusted. One connection carries one request at a time, so HTTP/2 is not
/// offered.
pub(super) fn system_tls() -> Result<ClientConfig, Failure> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .try_with_platform_verifier()?
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

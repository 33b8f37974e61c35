//! The heads of requests: what is the same for every line is made once.

use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, PROXY_AUTHORIZATION,
    USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Method, Uri};
use http_body_util::Full;
use reqwest::Url;

use super::connector::Way;
use super::{Failure, USER_AGENT_NAME};
use crate::upstream::Request;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Makes the requests of one upstream.
pub(super) struct Heads {
    /// Without `/v1` and without a slash at the end.
    base: String,
    form: Form,
    /// By endpoint: parsing an address costs more than the rest of a head.
    targets: Vec<(String, Uri)>,
    /// All headers; those of a line stand there empty, so that a copy has room for them.
    common: HeaderMap,
}

/// What a request line shows of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The path, for the server itself.
    Path,
    /// All of it, for a proxy that passes the request on.
    Whole,
}

impl Heads {
    /// For an upstream at this address.
    pub(super) fn new(
        base: &str,
        endpoints: &[String],
        key: Option<&HeaderValue>,
        way: &Way,
    ) -> Result<Self, Failure> {
        let (form, proxy) = match way {
            Way::Straight | Way::Tunnelled(_) => (Form::Path, None),
            Way::Forwarded(proxy) => (Form::Whole, proxy.basic_auth()),
        };
        let targets = endpoints.iter().map(|endpoint| {
            let target = target(base, endpoint, form)?;
            Ok((endpoint.clone(), target))
        });
        let empty = HeaderValue::from_static("");
        let all = [
            (HOST, Some(&host(base)?)),
            (AUTHORIZATION, key),
            (PROXY_AUTHORIZATION, proxy),
            (ACCEPT, Some(&HeaderValue::from_static("*/*"))),
            (USER_AGENT, Some(&HeaderValue::from_static(USER_AGENT_NAME))),
            (
                CONTENT_TYPE,
                Some(&HeaderValue::from_static("application/json")),
            ),
            (CONTENT_LENGTH, Some(&empty)),
            (IDEMPOTENCY_KEY, Some(&empty)),
            (X_REQUEST_ID, Some(&empty)),
        ];
        let set = all
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?.clone())));
        Ok(Self {
            base: base.to_owned(),
            form,
            targets: targets.collect::<Result<_, Failure>>()?,
            common: set.collect(),
        })
    }

    /// The request of a line.
    pub(super) fn request(&self, line: Request<'_>) -> Result<http::Request<Full<Bytes>>, Failure> {
        let known = self.targets.iter().find(|(at, _)| at == line.endpoint);
        let target = match known {
            Some((_, target)) => target.clone(),
            // A batch from before the list of endpoints was changed.
            None => target(&self.base, line.endpoint, self.form)?,
        };
        let id = HeaderValue::from_str(line.line_id)?;
        let mut headers = self.common.clone();
        headers.insert(CONTENT_LENGTH, line.body.len().into());
        headers.insert(IDEMPOTENCY_KEY, id.clone());
        headers.insert(X_REQUEST_ID, id);
        let mut request = http::Request::new(Full::new(line.body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = target;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

fn target(base: &str, endpoint: &str, form: Form) -> Result<Uri, Failure> {
    let mut address = Url::parse(&format!("{base}{endpoint}"))?;
    address.set_fragment(None);
    let whole: Uri = address.as_str().parse()?;
    Ok(match (form, whole.path_and_query()) {
        (Form::Path, Some(path)) => path.clone().into(),
        (Form::Path, None) | (Form::Whole, _) => whole,
    })
}

/// Host and port; the port of the scheme itself is left out.
fn host(base: &str) -> Result<HeaderValue, Failure> {
    let address: Uri = Url::parse(base)?.as_str().parse()?;
    let authority = address
        .authority()
        .map_or("", |authority| authority.as_str());
    Ok(HeaderValue::from_str(authority)?)
}

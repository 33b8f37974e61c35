//! A body that is read no faster than its tenant may send.

use std::sync::Arc;

use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::StreamExt;
use futures_util::stream::try_unfold;
use tokio::time::sleep;

use crate::service::quota::Quotas;

/// Bytes that are waited for at once. Small, so that many uploads that share a rate each get some of it
/// often enough not to be taken for idle.
const PIECE: usize = 16 * 1024;

struct Paced {
    body: BodyDataStream,
    /// Read, and not given yet.
    rest: Bytes,
    quotas: Arc<Quotas>,
    tenant: Arc<str>,
}

/// The same body, in pieces that come at the pace of its tenant. Nothing is read ahead: a client that
/// sends faster is held up by its own connection.
pub(super) fn paced(body: Body, quotas: Arc<Quotas>, tenant: Arc<str>) -> Body {
    let paced = Paced {
        body: body.into_data_stream(),
        rest: Bytes::new(),
        quotas,
        tenant,
    };
    Body::from_stream(try_unfold(paced, Paced::next))
}

impl Paced {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, axum::Error> {
        while self.rest.is_empty() {
            match self.body.next().await {
                None => return Ok(None),
                Some(chunk) => self.rest = chunk?,
            }
        }
        let piece = self.rest.split_to(PIECE.min(self.rest.len()));
        sleep(self.quotas.pace(&self.tenant, piece.len())).await;
        Ok(Some((piece, self)))
    }
}

//! What each tenant does at the moment: how often it asks, how fast it sends, what it has open.
//!
//! In memory, and from nothing after a start: what lasts is counted by the catalog.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{BootTime, Steady};
use crate::config::{TenantLimits, Tenants};
use crate::error::{Error, ErrorKind, Result};
use crate::model::rate::Rate;

/// What a rate per minute is counted over: so much may come at once.
const MINUTE: Duration = Duration::from_secs(60);
/// Of a tenant's bytes a second this long may come at once.
const BURST: Duration = Duration::from_secs(1);
/// When a ticket may be free again: an upload or a download of a few megabytes is over by then.
const TICKET_RETRY: Duration = Duration::from_secs(5);
/// Tenants that are remembered before those are looked for of whom nothing has to be. There are no more
/// of them than keys.
const REMEMBERED: usize = 1024;

/// The doings of all tenants.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    tenants: Tenants,
    doings: Mutex<BTreeMap<Arc<str>, Doings>>,
}

/// What one tenant does.
#[derive(Debug, Default)]
struct Doings {
    requests: Rate,
    bytes: Rate,
    open: usize,
    uploads: usize,
    downloads: usize,
}

/// What is done at once by a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of whatever kind, uploads and downloads with them.
    Request,
    Upload,
    Download,
}

/// The right to one of them; given back when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    quotas: Arc<Quotas>,
    tenant: Arc<str>,
    kind: Kind,
}

impl Quotas {
    pub(crate) fn new(tenants: Tenants) -> Self {
        Self {
            tenants,
            doings: Mutex::default(),
        }
    }

    /// Counts a request, or says when it may come again.
    pub(crate) fn request(&self, tenant: &Arc<str>) -> Result<()> {
        let Some(limit) = self.limits(tenant).requests_per_minute else {
            return Ok(());
        };
        let taken = self.with(tenant, |doings, now| {
            doings.requests.take(now, MINUTE / limit.max(1), MINUTE)
        });
        taken.map_err(|wait| {
            Error::new(
                ErrorKind::Busy,
                format!(
                    "This key may send {limit} requests a minute, and has. Nothing was done; send this \
                     again when Retry-After says."
                ),
            )
            .with_code("rate_limit_exceeded")
            .with_retry_after(wait)
        })
    }

    /// Whether the bytes of this tenant's requests have a rate.
    pub(crate) fn has_pace(&self, tenant: &str) -> bool {
        self.limits(tenant).upload_bytes_per_second.is_some()
    }

    /// How long to wait before these bytes of a request are used and more are read.
    pub(crate) fn pace(&self, tenant: &Arc<str>, bytes: usize) -> Duration {
        let Some(rate) = self.limits(tenant).upload_bytes_per_second else {
            return Duration::ZERO;
        };
        let cost = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        self.with(tenant, |doings, now| doings.bytes.spend(now, cost, BURST))
    }

    /// Begins a request, an upload or a download, unless there are as many as there may be.
    pub(crate) fn begin(self: &Arc<Self>, tenant: &Arc<str>, kind: Kind) -> Result<Ticket> {
        let limits = self.limits(tenant);
        let limit = match kind {
            Kind::Request => limits.open_requests,
            Kind::Upload => limits.open_uploads,
            Kind::Download => limits.open_downloads,
        };
        let limit = limit.unwrap_or(usize::MAX);
        let begun = self.with(tenant, |doings, _| {
            let open = doings.open(kind);
            let free = *open < limit;
            *open += usize::from(free);
            free
        });
        match begun {
            true => Ok(Ticket {
                quotas: Arc::clone(self),
                tenant: Arc::clone(tenant),
                kind,
            }),
            false => Err(too_many(kind, limit)),
        }
    }

    fn limits(&self, tenant: &str) -> TenantLimits {
        self.tenants.of(tenant)
    }

    fn with<T>(&self, tenant: &Arc<str>, act: impl FnOnce(&mut Doings, Duration) -> T) -> T {
        let (now, mut all) = (BootTime.now(), self.lock());
        if !all.contains_key(tenant) && all.len() >= REMEMBERED {
            all.retain(|_, doings| !doings.is_nothing(now));
        }
        act(all.entry(Arc::clone(tenant)).or_default(), now)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Doings>> {
        // Nothing in here panics half-way.
        self.doings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Doings {
    fn open(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Request => &mut self.open,
            Kind::Upload => &mut self.uploads,
            Kind::Download => &mut self.downloads,
        }
    }

    fn is_nothing(&self, now: Duration) -> bool {
        let rates = self.requests.is_idle(now) && self.bytes.is_idle(now);
        rates && (self.open, self.uploads, self.downloads) == (0, 0, 0)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(doings) = self.quotas.lock().get_mut(&self.tenant) {
            let open = doings.open(self.kind);
            *open = open.saturating_sub(1);
        }
    }
}

fn too_many(kind: Kind, limit: usize) -> Error {
    let (what, code) = match kind {
        Kind::Request => ("requests", "open_requests_limit_exceeded"),
        Kind::Upload => ("uploads", "open_uploads_limit_exceeded"),
        Kind::Download => ("downloads", "open_downloads_limit_exceeded"),
    };
    Error::new(
        ErrorKind::Busy,
        format!(
            "This key has as many {what} under way as it may have at once ({limit}). Nothing was done; \
             send this again when one of them has ended."
        ),
    )
    .with_code(code)
    .with_retry_after(TICKET_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas(everyone: TenantLimits) -> Arc<Quotas> {
        Arc::new(Quotas::new(Tenants {
            everyone,
            ..Tenants::default()
        }))
    }

    #[test]
    fn a_tenant_that_asks_too_often_waits_and_no_other() {
        let quotas = quotas(TenantLimits {
            requests_per_minute: Some(2),
            ..TenantLimits::default()
        });
        let (a, b) = ("a".into(), "b".into());
        assert!(quotas.request(&a).is_ok() && quotas.request(&a).is_ok());
        let error = quotas.request(&a).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        let wait = error.retry_after().unwrap();
        assert!(wait > Duration::from_secs(25) && wait <= Duration::from_secs(30));
        assert!(quotas.request(&b).is_ok());
    }

    #[test]
    fn a_ticket_comes_back_when_it_is_dropped() {
        let quotas = quotas(TenantLimits {
            open_uploads: Some(1),
            ..TenantLimits::default()
        });
        let a = "a".into();
        let ticket = quotas.begin(&a, Kind::Upload).unwrap();
        let refused = quotas.begin(&a, Kind::Upload).unwrap_err();
        assert_eq!(refused.code(), Some("open_uploads_limit_exceeded"));
        assert!(quotas.begin(&a, Kind::Download).is_ok());
        assert!(quotas.begin(&"b".into(), Kind::Upload).is_ok());
        drop(ticket);
        assert!(quotas.begin(&a, Kind::Upload).is_ok());
    }

    #[test]
    fn bytes_wait_for_each_other_at_the_rate_of_their_tenant() {
        let quotas = quotas(TenantLimits {
            upload_bytes_per_second: Some(1_000_000),
            ..TenantLimits::default()
        });
        let a = "a".into();
        assert_eq!(quotas.pace(&a, 1_000_000), Duration::ZERO);
        let waits = [(); 2].map(|()| quotas.pace(&a, 1_000_000).as_secs_f64());
        assert!(waits[0] > 0.9 && waits[0] <= 1.0, "{waits:?}");
        assert!(waits[1] > 1.9 && waits[1] <= 2.0, "{waits:?}");
        assert_eq!(quotas.pace(&"b".into(), 1_000), Duration::ZERO);
    }

    #[test]
    fn tenants_of_whom_nothing_is_known_are_not_remembered() {
        let quotas = quotas(TenantLimits::default());
        for number in 0..3 * REMEMBERED {
            drop(quotas.begin(&format!("t{number}").into(), Kind::Upload));
        }
        assert!(quotas.lock().len() <= REMEMBERED + 1);
    }
}

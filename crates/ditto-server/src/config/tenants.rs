//! What a tenant may have and do at once.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// Requests of whatever kind at once: a quarter of all connections, so that no tenant alone keeps the others
/// out.
const OPEN_REQUESTS: usize = 1_024;
/// Forms that come in at once. Each holds a connection, a file and up to a part of memory.
const OPEN_UPLOADS: usize = 64;
/// Contents that go out at once. Each holds a connection, a file and a buffer.
const OPEN_DOWNLOADS: usize = 128;
/// Bytes a second that each of the uploads at once must be left with: slower, and a client that does
/// what it may would be taken for one that has gone away.
const SLOWEST_UPLOAD: u64 = 1_000;
/// Bytes of a tenant's name.
const MAX_NAME: usize = 64;

/// The limits of all tenants.
#[derive(Debug, Clone, Default)]
pub struct Tenants {
    /// Of tenants without limits of their own, and of what those leave out.
    pub everyone: TenantLimits,
    /// Of one tenant each.
    pub named: BTreeMap<String, TenantLimits>,
}

/// What one tenant may have and do. `None`: as everyone; of [`Tenants::everyone`]: as shipped, which is
/// no limit but for requests, uploads and downloads at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TenantLimits {
    /// Bytes in files, with what is set aside for its open batches.
    pub stored_bytes: Option<u64>,
    /// Batches that have not ended.
    pub open_batches: Option<u64>,
    /// Lines of the files of these batches.
    pub enqueued_lines: Option<u64>,
    /// Requests over HTTP, of which a minute's number may come at once.
    pub requests_per_minute: Option<u32>,
    /// Bytes that are read of its requests; faster ones are read more slowly and not refused.
    pub upload_bytes_per_second: Option<u64>,
    /// Requests of whatever kind that are under way at once.
    pub open_requests: Option<usize>,
    /// Forms that come in at once.
    pub open_uploads: Option<usize>,
    /// Contents, results and long lists that go out at once.
    pub open_downloads: Option<usize>,
}

impl Tenants {
    /// What counts for this one. What is done at once always has a limit.
    pub fn of(&self, tenant: &str) -> TenantLimits {
        let own = self.named.get(tenant).copied().unwrap_or_default();
        own.or(self.everyone).or(TenantLimits {
            open_requests: Some(OPEN_REQUESTS),
            open_uploads: Some(OPEN_UPLOADS),
            open_downloads: Some(OPEN_DOWNLOADS),
            ..TenantLimits::default()
        })
    }

    /// Whether they can be kept.
    pub(crate) fn check(&self) -> Result<()> {
        check(&self.of(""), "every tenant")?;
        for name in self.named.keys() {
            check_tenant(name)?;
            check(&self.of(name), &format!("the tenant {name}"))?;
        }
        Ok(())
    }
}

impl TenantLimits {
    fn or(self, other: Self) -> Self {
        Self {
            stored_bytes: self.stored_bytes.or(other.stored_bytes),
            open_batches: self.open_batches.or(other.open_batches),
            enqueued_lines: self.enqueued_lines.or(other.enqueued_lines),
            requests_per_minute: self.requests_per_minute.or(other.requests_per_minute),
            upload_bytes_per_second: self
                .upload_bytes_per_second
                .or(other.upload_bytes_per_second),
            open_requests: self.open_requests.or(other.open_requests),
            open_uploads: self.open_uploads.or(other.open_uploads),
            open_downloads: self.open_downloads.or(other.open_downloads),
        }
    }
}

fn check(limits: &TenantLimits, of: &str) -> Result<()> {
    let TenantLimits {
        requests_per_minute,
        upload_bytes_per_second,
        open_uploads,
        ..
    } = *limits;
    if requests_per_minute == Some(0) {
        return Err(Error::invalid(format!(
            "requests_per_minute of {of} is 0: nothing could ever be asked; give 1 or more"
        )));
    }
    let uploads = open_uploads.unwrap_or_default().max(1) as u64;
    let slowest = uploads.saturating_mul(SLOWEST_UPLOAD);
    if upload_bytes_per_second.is_some_and(|rate| rate < slowest) {
        return Err(Error::invalid(format!(
            "upload_bytes_per_second of {of} is too little for {uploads} uploads at once: give {slowest} or more, or lower open_uploads"
        )));
    }
    Ok(())
}

/// Whether a tenant can be called that.
pub(crate) fn check_tenant(name: &str) -> Result<()> {
    let visible = name.bytes().all(|byte| byte.is_ascii_graphic());
    if visible && (1..=MAX_NAME).contains(&name.len()) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{name:?} cannot be the name of a tenant: give 1 to {MAX_NAME} visible ASCII characters, without spaces"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenants() -> Tenants {
        let own = TenantLimits {
            open_batches: Some(1),
            ..TenantLimits::default()
        };
        Tenants {
            everyone: TenantLimits {
                open_batches: Some(2),
                stored_bytes: Some(3),
                ..TenantLimits::default()
            },
            named: BTreeMap::from([("a".to_owned(), own)]),
        }
    }

    #[test]
    fn what_a_tenant_leaves_out_is_as_everyones() {
        let (a, b) = (tenants().of("a"), tenants().of("b"));
        assert_eq!((a.open_batches, a.stored_bytes), (Some(1), Some(3)));
        assert_eq!((b.open_batches, b.stored_bytes), (Some(2), Some(3)));
        assert_eq!(b.open_uploads, Some(OPEN_UPLOADS));
        assert_eq!(b.requests_per_minute, None);
    }

    #[test]
    fn limits_that_nobody_could_keep_are_refused() {
        let with = |change: fn(&mut TenantLimits)| {
            let mut tenants = tenants();
            change(tenants.named.entry("a".to_owned()).or_default());
            tenants.check()
        };
        assert!(with(|_| {}).is_ok());
        assert!(with(|limits| limits.requests_per_minute = Some(0)).is_err());
        assert!(with(|limits| limits.upload_bytes_per_second = Some(63_999)).is_err());
        assert!(with(|limits| limits.upload_bytes_per_second = Some(64_000)).is_ok());
        let mut odd = tenants();
        odd.named.insert("a b".to_owned(), TenantLimits::default());
        assert!(odd.check().is_err());
    }
}

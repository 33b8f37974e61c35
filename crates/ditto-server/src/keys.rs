//! The operator's door to the API keys of a data folder, whether a server runs on it or not.
//!
//! A running server is not asked: a change is one short transaction beside its own, and it looks once
//! a second whether there was one (ADR 10). Whoever may write the folder may make keys.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde::Serialize;

use crate::catalog::sqlite::{SqliteCatalog, There};
use crate::catalog::{Catalog, Holder, KeyRow, NewKey, Rotated};
use crate::clock::{Clock, SystemClock};
use crate::config::check_tenant;
use crate::error::{Error, ErrorKind, Result};
use crate::owner::own;
use crate::private::make_private;
use crate::server::refuse_orphans;
use crate::{id, secret};

/// Bytes of a label: it is a word or two, and stands in a list.
const MAX_LABEL: usize = 100;

/// A key, as it is listed. All times are unix seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiKey {
    /// `key_…`, by which it is revoked and rotated; no secret.
    pub id: String,
    /// Whose files and batches it sees.
    pub tenant: String,
    /// What it is for.
    pub label: Option<String>,
    /// Its first characters.
    pub shown: String,
    /// It is taken now.
    pub live: bool,
    /// When it was made.
    pub created_at: i64,
    /// When it was used last, about to the minute.
    pub last_used_at: Option<i64>,
    /// When it ends or has ended.
    pub ends_at: Option<i64>,
}

/// A key that was just made.
#[derive(Debug)]
pub struct NewApiKey {
    /// As it is listed.
    pub key: ApiKey,
    /// The key itself. It is kept nowhere.
    pub secret: SecretString,
}

/// Makes a key. A folder without a catalog gets one, as from a server.
///
/// # Errors
///
/// [`ErrorKind::Invalid`] if tenant or label cannot be one; [`ErrorKind::Full`] if there are too many
/// keys; [`ErrorKind::Conflict`] and [`ErrorKind::Unavailable`] as from [`Server::open`].
///
/// [`Server::open`]: crate::Server::open
pub async fn create_key(data: &Path, tenant: &str, label: Option<&str>) -> Result<NewApiKey> {
    check_tenant(tenant)?;
    check_label(label)?;
    let door = Door::open(data, Missing::Make)?;
    let holder = Holder {
        tenant: tenant.to_owned(),
        label: label.map(str::to_owned),
    };
    let (secret, key) = draw();
    let row = door.catalog.create_key(holder, key).await?;
    Ok(NewApiKey {
        key: row.into(),
        secret,
    })
}

/// All keys, also those that have ended within a year, by age.
///
/// # Errors
///
/// [`ErrorKind::Missing`] if there is no catalog in the folder.
pub async fn list_keys(data: &Path) -> Result<Vec<ApiKey>> {
    let door = Door::open(data, Missing::Refuse)?;
    let rows = door.catalog.keys().await?;
    Ok(rows.into_iter().map(ApiKey::from).collect())
}

/// Ends a key now.
///
/// # Errors
///
/// [`ErrorKind::Missing`] if there is no such key.
pub async fn revoke_key(data: &Path, id: &str) -> Result<ApiKey> {
    let door = Door::open(data, Missing::Refuse)?;
    let row = door.catalog.end_key(id, Duration::ZERO).await?;
    row.map(ApiKey::from).ok_or_else(|| no_such_key(id))
}

/// Makes a key in the place of this one, which ends when the grace is over: first the old, then the
/// new.
///
/// # Errors
///
/// [`ErrorKind::Missing`] if there is no such key; [`ErrorKind::Conflict`] if it has ended.
pub async fn rotate_key(data: &Path, id: &str, grace: Duration) -> Result<(ApiKey, NewApiKey)> {
    let door = Door::open(data, Missing::Refuse)?;
    let (secret, key) = draw();
    let Some(Rotated { old, new }) = door.catalog.rotate_key(id, key, grace).await? else {
        let rows = door.catalog.keys().await?;
        return Err(match rows.iter().any(|row| row.id == id) {
            true => Error::new(
                ErrorKind::Conflict,
                format!(
                    "the key {id} has ended and is not rotated; nothing was changed: make a new one"
                ),
            ),
            false => no_such_key(id),
        });
    };
    let new = NewApiKey {
        key: new.into(),
        secret,
    };
    Ok((old.into(), new))
}

fn draw() -> (SecretString, NewKey) {
    let secret = id::secret();
    let key = NewKey {
        id: id::key(),
        hash: secret::hash(secret.as_bytes()),
        shown: id::shown(&secret),
    };
    (secret.into(), key)
}

fn check_label(label: Option<&str>) -> Result<()> {
    let fits = |label: &str| label.len() <= MAX_LABEL && !label.chars().any(char::is_control);
    if label.is_none_or(fits) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "a label has at most {MAX_LABEL} bytes and no control characters; no key was made"
    )))
}

fn no_such_key(id: &str) -> Error {
    Error::missing(format!(
        "there is no key {id:?}; nothing was changed: `keys list` names those that there are"
    ))
}

impl From<KeyRow> for ApiKey {
    fn from(row: KeyRow) -> Self {
        Self {
            id: row.id,
            tenant: row.holder.tenant,
            label: row.holder.label,
            shown: row.shown,
            live: row.live,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            ends_at: row.ends_at,
        }
    }
}

/// What of a folder without a catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make,
    Refuse,
}

/// A catalog whose keys can be changed.
struct Door {
    catalog: SqliteCatalog,
    /// Only where the catalog had to be made or brought up to date: else the folder is left to a server
    /// that may be about to start.
    _owner: Option<File>,
}

impl Door {
    fn open(data: &Path, missing: Missing) -> Result<Self> {
        let path = data.join("catalog.db");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let there = SqliteCatalog::glance(&path)?;
        if there == There::Newest {
            return Ok(Self {
                catalog: SqliteCatalog::open_to_change_beside(&path, clock)?,
                _owner: None,
            });
        }
        if there == There::None && missing == Missing::Refuse {
            return Err(Error::missing(format!(
                "there is no catalog in {}; nothing was changed: name the folder that the server was started with",
                data.display()
            )));
        }
        make_private(data)?;
        let owner = own(data)?;
        refuse_orphans(data)?;
        Ok(Self {
            catalog: SqliteCatalog::open(&path, clock)?,
            _owner: Some(owner),
        })
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[tokio::test]
    async fn a_key_is_made_listed_rotated_and_revoked_beside_an_owner() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let made = create_key(&data, "team-a", Some("ci")).await.unwrap();
        let owner = own(&data).unwrap();
        let server = SqliteCatalog::open(&data.join("catalog.db"), Arc::new(SystemClock)).unwrap();

        let (old, new) = rotate_key(&data, &made.key.id, Duration::from_secs(60))
            .await
            .unwrap();
        assert_eq!(old.id, made.key.id);
        assert_eq!(
            (new.key.tenant.as_str(), new.key.label.as_deref()),
            ("team-a", Some("ci"))
        );
        revoke_key(&data, &new.key.id).await.unwrap();
        let listed = list_keys(&data).await.unwrap();
        let live: Vec<_> = listed
            .iter()
            .map(|key| (key.id.as_str(), key.live))
            .collect();
        assert_eq!(
            live,
            [(old.id.as_str(), true), (new.key.id.as_str(), false)]
        );
        let ring = server.key_ring(None).await.unwrap().unwrap();
        assert_eq!(ring.keys.len(), 1, "the owner sees it");
        drop(owner);
    }

    #[tokio::test]
    async fn nothing_in_the_folder_is_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let made = create_key(folder.path(), "a", None).await.unwrap();
        let secret = made.secret.expose_secret();
        assert_eq!(secret.len(), "sk-ditto-".len() + 52);
        assert_eq!(made.key.shown, secret[..13]);
        for name in ["catalog.db", "catalog.db-wal"] {
            let bytes = std::fs::read(folder.path().join(name)).unwrap_or_default();
            let found = memchr::memmem::find(&bytes, &secret.as_bytes()[13..]);
            assert_eq!(found, None, "{name}");
        }
        assert!(!format!("{made:?}").contains(secret));
    }

    #[tokio::test]
    async fn what_is_not_there_is_said_and_nothing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let error = list_keys(folder.path()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Missing);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let key = create_key(folder.path(), "a", None).await.unwrap().key;
        let error = revoke_key(folder.path(), "key_no").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Missing);
        revoke_key(folder.path(), &key.id).await.unwrap();
        let error = rotate_key(folder.path(), &key.id, Duration::ZERO)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }

    #[tokio::test]
    async fn a_tenant_has_a_name_that_can_be_typed() {
        let folder = tempfile::tempdir().unwrap();
        for tenant in ["", "a b", "a\nb", "\u{1b}[31m", &"x".repeat(65)] {
            let error = create_key(folder.path(), tenant, None).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{tenant:?}");
        }
        let error = create_key(folder.path(), "a", Some("x\ny"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

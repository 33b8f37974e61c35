//! Who may ask: the keys of the settings and those of the catalog.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Service;
use crate::catalog::{Catalog, KeyRing};
use crate::clock::{BootTime, Steady};
use crate::config::TenantKey;
use crate::error::Result;
use crate::secret::{self, Hash};

/// `ditto-batch keys` writes beside us: what it changed is seen this soon, and what a key that ended had
/// begun is broken off.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// When a key was used is written down this often, in looks: one small transaction, whatever comes.
const NOTE_EVERY: u32 = 60;

/// Every key that is taken. Whoever gives none of them is nobody, unless there has never been one.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    configured: Vec<Configured>,
    made: RwLock<Arc<Made>>,
}

/// A key of the settings.
#[derive(Debug)]
struct Configured {
    hash: Hash,
    tenant: Arc<str>,
}

/// The keys of the catalog, as last read.
#[derive(Debug, Default)]
struct Made {
    version: u64,
    keys: Vec<MadeKey>,
}

#[derive(Debug)]
struct MadeKey {
    id: String,
    hash: Hash,
    tenant: Arc<str>,
    /// On the steady clock.
    ends: Option<Duration>,
    used: AtomicBool,
    /// Told when it is no longer taken.
    ended: CancellationToken,
}

/// What a key that is taken gives.
#[derive(Debug)]
pub(crate) struct Pass {
    /// Whose it is.
    pub(crate) tenant: Arc<str>,
    /// Told when the key is no longer taken. `None`: it is one of the settings and taken for as long as
    /// we run.
    pub(crate) ended: Option<CancellationToken>,
}

impl Keys {
    pub(crate) async fn open(configured: &[TenantKey], catalog: &dyn Catalog) -> Result<Self> {
        let keys = Self {
            configured: configured.iter().map(Configured::of).collect(),
            made: RwLock::default(),
        };
        keys.look(catalog).await?;
        Ok(keys)
    }

    /// Whether a key has to be given. Once there has been one it stays so, also when the last has been
    /// revoked: then nobody is let in until another is made.
    pub(crate) fn asked_for(&self) -> bool {
        !self.configured.is_empty() || self.made().version > 0
    }

    /// How many keys are taken now, and of how many tenants.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let (made, now) = (self.made(), BootTime.now());
        let live = made.keys.iter().filter(|key| key.is_live(now));
        let tenants: Vec<_> = live
            .map(|key| &key.tenant)
            .chain(self.configured.iter().map(|key| &key.tenant))
            .collect();
        let names: std::collections::BTreeSet<_> = tenants.iter().collect();
        (tenants.len(), names.len())
    }

    /// What this key gives. Looks at every key, each in the same time.
    pub(crate) fn pass(&self, given: &[u8]) -> Option<Pass> {
        let (given, now, made) = (secret::hash(given), BootTime.now(), self.made());
        let mut found = None;
        for key in &self.configured {
            if secret::same(&key.hash, &given) {
                found = Some((&key.tenant, None));
            }
        }
        for key in &made.keys {
            if secret::same(&key.hash, &given) && key.is_live(now) {
                key.used.store(true, Ordering::Relaxed);
                found = Some((&key.tenant, Some(&key.ended)));
            }
        }
        found.map(|(tenant, ended)| Pass {
            tenant: Arc::clone(tenant),
            ended: ended.cloned(),
        })
    }

    fn made(&self) -> Arc<Made> {
        // Whatever panicked meanwhile has left a whole ring: it is put there in one step.
        Arc::clone(&self.made.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the keys of the catalog again, if any has changed.
    async fn look(&self, catalog: &dyn Catalog) -> Result<()> {
        let before = self.made();
        // The time of those that end is counted from before they were asked for.
        let asked = BootTime.now();
        if let Some(ring) = catalog.key_ring(Some(before.version)).await? {
            // Those that have ended are not in it any more. That a use was not written down changes
            // nothing about which keys are taken.
            let _ = self.note(catalog).await;
            let made = Arc::new(Made::of(ring, asked, &before));
            *self.made.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&made);
            // Behind the change: whoever has come in by the ring before it is told all the same.
            before.end_all_but(&made);
        }
        Ok(())
    }

    /// Ends what was begun with keys whose grace is over.
    fn end_overdue(&self) {
        let now = BootTime.now();
        for key in self.made().keys.iter().filter(|key| !key.is_live(now)) {
            key.ended.cancel();
        }
    }

    /// Writes down which keys were used since the last time.
    async fn note(&self, catalog: &dyn Catalog) -> Result<()> {
        let made = self.made();
        let used = made
            .keys
            .iter()
            .filter(|key| key.used.swap(false, Ordering::Relaxed));
        let used: Vec<_> = used.map(|key| key.id.clone()).collect();
        if used.is_empty() {
            return Ok(());
        }
        catalog.keys_used(&used).await
    }
}

impl Configured {
    fn of(key: &TenantKey) -> Self {
        Self {
            hash: secret::hash(key.key.expose_secret().as_bytes()),
            tenant: key.tenant.as_str().into(),
        }
    }
}

impl Made {
    /// A key that was there before is the same one: what was begun with it goes on.
    fn of(ring: KeyRing, asked: Duration, before: &Self) -> Self {
        let known = before.by_id();
        let keys = ring.keys.into_iter().map(|key| MadeKey {
            used: AtomicBool::new(false),
            ended: known
                .get(key.id.as_str())
                .copied()
                .cloned()
                .unwrap_or_default(),
            id: key.id,
            hash: key.hash,
            tenant: key.tenant.into(),
            ends: key.left.map(|left| asked + left),
        });
        Self {
            version: ring.version,
            keys: keys.collect(),
        }
    }

    fn by_id(&self) -> BTreeMap<&str, &CancellationToken> {
        let ids = self.keys.iter().map(|key| (key.id.as_str(), &key.ended));
        ids.collect()
    }

    /// Ends what was begun with keys that are not in this ring any more.
    fn end_all_but(&self, ring: &Self) {
        let kept = ring.by_id();
        for key in self
            .keys
            .iter()
            .filter(|key| !kept.contains_key(key.id.as_str()))
        {
            key.ended.cancel();
        }
    }
}

impl MadeKey {
    fn is_live(&self, now: Duration) -> bool {
        self.ends.is_none_or(|ends| now < ends)
    }
}

/// Who is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody on this machine: there is no key and never was.
    Open,
    /// Whoever gives one of so many keys.
    Keys {
        /// Keys that are taken now; none if the last was revoked.
        keys: usize,
        /// Of how many tenants.
        tenants: usize,
    },
}

impl Service {
    pub(crate) fn access(&self) -> Access {
        match self.keys.asked_for() {
            true => {
                let (keys, tenants) = self.keys.counts();
                Access::Keys { keys, tenants }
            }
            false => Access::Open,
        }
    }

    /// Keeps the keys as the catalog has them, until `stop`. While it does not answer they stay as they
    /// were, as does everything else that it would have to say.
    pub(crate) async fn watch_keys(&self, stop: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut round, mut refused) = (0u32, false);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = looks.tick() => {}
            }
            let looked = self.keys.look(&*self.catalog).await;
            self.keys.end_overdue();
            if let Err(error) = &looked
                && !refused
            {
                tracing::error!(%error, "the keys cannot be read; those known before are taken meanwhile");
            }
            refused = looked.is_err();
            round = round.wrapping_add(1);
            if round.is_multiple_of(NOTE_EVERY) {
                self.note_keys().await;
            }
        }
        self.note_keys().await;
    }

    async fn note_keys(&self) {
        if let Err(error) = self.keys.note(&*self.catalog).await {
            tracing::warn!(%error, "when keys were used last was not written down; they work all the same");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::sqlite::SqliteCatalog;
    use crate::catalog::{Holder, NewKey};
    use crate::clock::ManualClock;

    fn catalog() -> SqliteCatalog {
        let clock = ManualClock::at(1_700_000_000_000);
        SqliteCatalog::in_memory(Arc::new(clock)).unwrap()
    }

    fn configured() -> Vec<TenantKey> {
        let key = |tenant: &str, key: &str| TenantKey {
            tenant: tenant.to_owned(),
            key: key.to_owned().into(),
        };
        vec![key("a", "sk-alpha"), key("b", "sk-beta")]
    }

    async fn make(catalog: &SqliteCatalog, secret: &str) {
        let holder = Holder {
            tenant: "c".to_owned(),
            label: None,
        };
        let key = NewKey {
            id: format!("key_{secret}"),
            hash: secret::hash(secret.as_bytes()),
            shown: String::new(),
        };
        catalog.create_key(holder, key).await.unwrap();
    }

    fn tenant(keys: &Keys, given: &str) -> Option<String> {
        let pass = keys.pass(given.as_bytes());
        pass.map(|pass| pass.tenant.to_string())
    }

    /// What is told to a request that comes in now.
    fn ended(keys: &Keys, given: &str) -> CancellationToken {
        let pass = keys.pass(given.as_bytes()).unwrap();
        pass.ended.unwrap()
    }

    #[tokio::test]
    async fn a_key_opens_its_tenant_only() {
        let catalog = catalog();
        make(&catalog, "sk-gamma").await;
        let keys = Keys::open(&configured(), &catalog).await.unwrap();
        let table = [
            ("sk-alpha", Some("a")),
            ("sk-beta", Some("b")),
            ("sk-gamma", Some("c")),
            ("sk-alph", None),
            ("sk-alphaa", None),
            ("", None),
        ];
        for (given, owner) in table {
            assert_eq!(tenant(&keys, given).as_deref(), owner, "{given}");
        }
        assert_eq!(keys.counts(), (3, 3));
    }

    #[tokio::test]
    async fn a_server_that_had_keys_never_opens_again() {
        let catalog = catalog();
        let keys = Keys::open(&[], &catalog).await.unwrap();
        assert!(!keys.asked_for());
        make(&catalog, "sk-gamma").await;
        keys.look(&catalog).await.unwrap();
        assert!(keys.asked_for());
        let id = "key_sk-gamma";
        catalog.end_key(id, Duration::ZERO).await.unwrap();
        keys.look(&catalog).await.unwrap();
        assert_eq!((keys.counts(), tenant(&keys, "sk-gamma")), ((0, 0), None));
        assert!(keys.asked_for());
        let again = Keys::open(&[], &catalog).await.unwrap();
        assert!(again.asked_for());
    }

    #[tokio::test]
    async fn a_key_whose_grace_is_over_is_not_taken_until_the_next_look() {
        let catalog = catalog();
        make(&catalog, "sk-gamma").await;
        let id = "key_sk-gamma";
        // Over before the catalog's own clock, which stands still, would say so.
        catalog.end_key(id, Duration::from_millis(1)).await.unwrap();
        let keys = Keys::open(&[], &catalog).await.unwrap();
        let over = async {
            while tenant(&keys, "sk-gamma").is_some() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), over)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn what_a_revoked_key_has_begun_is_told_and_nothing_else() {
        let catalog = catalog();
        for key in ["sk-gamma", "sk-delta"] {
            make(&catalog, key).await;
        }
        let keys = Keys::open(&configured(), &catalog).await.unwrap();
        assert!(keys.pass(b"sk-alpha").unwrap().ended.is_none());
        let [gamma, delta] = ["sk-gamma", "sk-delta"].map(|key| ended(&keys, key));
        let is_told = || [&gamma, &delta].map(CancellationToken::is_cancelled);
        // Another change, through which both last.
        make(&catalog, "sk-epsilon").await;
        keys.look(&catalog).await.unwrap();
        assert_eq!(is_told(), [false, false]);
        let id = "key_sk-gamma";
        catalog.end_key(id, Duration::ZERO).await.unwrap();
        keys.look(&catalog).await.unwrap();
        assert_eq!(is_told(), [true, false]);
    }

    #[tokio::test]
    async fn what_a_rotated_key_has_begun_is_told_when_the_grace_is_over() {
        let catalog = catalog();
        make(&catalog, "sk-gamma").await;
        let keys = Keys::open(&[], &catalog).await.unwrap();
        let told = ended(&keys, "sk-gamma");
        let id = "key_sk-gamma";
        // The catalog's own clock stands still.
        let grace = Duration::from_millis(1);
        catalog.end_key(id, grace).await.unwrap();
        keys.look(&catalog).await.unwrap();
        assert!(!told.is_cancelled(), "not before the next look");
        let over = async {
            while !told.is_cancelled() {
                keys.end_overdue();
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), over)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn use_is_written_down_also_when_the_key_has_ended_since() {
        let catalog = catalog();
        make(&catalog, "sk-gamma").await;
        let keys = Keys::open(&[], &catalog).await.unwrap();
        assert!(tenant(&keys, "sk-gamma").is_some());
        make(&catalog, "sk-delta").await;
        let id = "key_sk-gamma";
        catalog.end_key(id, Duration::ZERO).await.unwrap();
        keys.look(&catalog).await.unwrap();
        let used: Vec<_> = catalog.keys().await.unwrap();
        let used: Vec<_> = used.iter().map(|key| key.last_used_at.is_some()).collect();
        assert_eq!(used, [true, false]);
    }
}

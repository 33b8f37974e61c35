//! The upstreams that an engine stands before, which may be others after a reload.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::Inner;
use super::pool::Pool;
use super::segment::LineJob;
use crate::config::UpstreamConfig;
use crate::error::{Error, Result};
use crate::upstream::{Keep, Models, Routing};

/// Those of now.
pub(crate) struct Upstreams {
    front: RwLock<Arc<Front>>,
    keep: Keep,
}

/// Who there is, and what they list.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) routing: Routing,
    pub(crate) models: Models,
}

impl fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.now().fmt(f)
    }
}

impl Upstreams {
    pub(crate) fn new(routing: Routing, keep: Keep) -> Self {
        let models = Models::new(&routing);
        Self {
            front: RwLock::new(Arc::new(Front { routing, models })),
            keep,
        }
    }

    /// Whoever asks twice may be told differently.
    pub(crate) fn now(&self) -> Arc<Front> {
        Arc::clone(&self.front.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn become_these(&self, front: Arc<Front>) {
        *self.front.write().unwrap_or_else(PoisonError::into_inner) = front;
    }
}

impl Front {
    /// These upstreams in the place of its own.
    fn with(&self, upstreams: &[UpstreamConfig], inner: &Inner) -> Result<Self> {
        let keep = &inner.upstreams.keep;
        let routing = self.routing.with(upstreams, &inner.config, keep)?;
        Ok(Self {
            models: self.models.of(&routing),
            routing,
        })
    }

    fn names(&self) -> Vec<String> {
        let names = self.routing.all().map(|route| route.upstream.name());
        names.map(str::to_owned).collect()
    }
}

impl Inner {
    /// Lines go to these upstreams from now on. Nothing is lost and nothing is sent twice for it: what
    /// one that goes has in flight comes to its end, and what waits goes to the others.
    ///
    /// # Errors
    ///
    /// Nothing has changed then: an upstream that cannot be, or one fewer for a model of which lines
    /// wait and that nobody else serves.
    pub(crate) async fn reload(self: &Arc<Self>, upstreams: &[UpstreamConfig]) -> Result<()> {
        let before = self.upstreams.now();
        let front = Arc::new(before.with(upstreams, self)?);
        let pools = self.lanes.pools();
        for pool in pools.iter().filter(|pool| pool.is_used()) {
            self.require_served(&front, pool).await?;
        }
        self.upstreams.become_these(Arc::clone(&front));
        for pool in &pools {
            self.turn_to(&front, pool).await;
        }
        tracing::info!(before = ?before.names(), now = ?front.names(), "upstreams were reloaded");
        // What waited for one that was not there may go now.
        self.wake();
        Ok(())
    }

    async fn require_served(&self, front: &Front, pool: &Pool) -> Result<()> {
        let key = pool.key();
        let tenant = key.tenant.as_deref().unwrap_or_default();
        let offers = front.models.offers(&front.routing, tenant).await;
        match front.routing.routes(&key.model, &offers).is_empty() {
            false => Ok(()),
            true => Err(Error::invalid(format!(
                "lines of the model `{}` are under way, and none of these upstreams serves it; the upstreams stay as they were",
                key.model
            ))),
        }
    }

    /// The pool's lines go to the upstreams of this front. Those of a tenant that has upstreams by its
    /// name since then go to a pool of their own.
    async fn turn_to(self: &Arc<Self>, front: &Front, pool: &Arc<Pool>) {
        let key = pool.key();
        let tenant = key.tenant.as_deref().unwrap_or_default();
        let offers = front.models.offers(&front.routing, tenant).await;
        let routes = front.routing.routes(&key.model, &offers);
        let lanes = self.lanes.lanes_of(&routes, &key.model);
        pool.set_lanes(front.routing.generation(), lanes);
        let is_elsewhere = |job: &LineJob| front.routing.names(&job.segment.work.row.tenant);
        if key.tenant.is_none() {
            for job in pool.take_waiting(&is_elsewhere) {
                let tenant = &job.segment.work.row.tenant;
                let offers = front.models.offers(&front.routing, tenant).await;
                let found = self.lanes.pool(&front.routing, &offers, tenant, &key.model);
                self.dispatch(found.as_ref().unwrap_or(pool), vec![job]);
            }
        }
        self.start_slots(pool.starts(pool.waiting()));
    }
}

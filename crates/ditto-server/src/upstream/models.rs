//! The models that the upstreams list, each asked at most once a minute.
//!
//! An upstream that does not answer keeps nobody waiting twice: what it said last stands, and it is asked
//! again beside the work.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, join_all};
use serde_json::{Value, json};

use super::Upstream;
use super::routing::{Offers, Route, Routing};
use crate::error::{Error, Result};

/// Clients ask for the list at every start; a new model is seen a minute later.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// An upstream that did not answer is asked again after this.
const PAUSE: Duration = Duration::from_secs(5);
/// What was said before is taken if a new answer is not here by then.
const WAIT: Duration = Duration::from_millis(500);

/// The lists, in the order of the configuration.
#[derive(Debug)]
pub(crate) struct Models(Vec<Arc<List>>);

/// What one upstream lists.
#[derive(Debug)]
struct List {
    route: u64,
    upstream: Arc<dyn Upstream>,
    asked: Mutex<Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    told: Told,
    /// Asked, and not yet answered. It goes on whenever somebody waits for it.
    question: Option<Question>,
}

type Question = Shared<BoxFuture<'static, Told>>;

/// What an upstream told of its models.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// When it was asked; `None`: not yet.
    at: Option<Instant>,
    /// The last list that it gave.
    pub(crate) models: Arc<Vec<Value>>,
    /// Why it gave none the last time.
    failed: Option<Arc<Error>>,
}

impl Told {
    /// The list is what it serves now, as far as it says.
    pub(crate) fn is_heard(&self) -> bool {
        self.at.is_some() && self.failed.is_none()
    }

    fn is_fresh(&self) -> bool {
        let kept_for = if self.is_heard() { KEPT_FOR } else { PAUSE };
        self.at.is_some_and(|at| at.elapsed() < kept_for)
    }

    /// With its next answer.
    pub(crate) fn and(self, answer: Result<Vec<Value>>) -> Self {
        let (models, failed) = match answer {
            Ok(models) => (Arc::new(models), None),
            Err(error) => (self.models, Some(Arc::new(error))),
        };
        Self {
            at: Some(Instant::now()),
            models,
            failed,
        }
    }
}

impl Models {
    pub(crate) fn new(routing: &Routing) -> Self {
        Self(Vec::new()).of(routing)
    }

    /// Those of these upstreams. Who was asked before is not asked anew.
    pub(crate) fn of(&self, routing: &Routing) -> Self {
        let list = |route: &Route| {
            let known = self.0.iter().find(|list| list.route == route.id);
            let new = || Arc::new(List::new(route.id, &route.upstream));
            known.cloned().unwrap_or_else(new)
        };
        Self(routing.all().map(list).collect())
    }

    /// What the upstreams that are there for this tenant and answer offer, each model once, in the
    /// order of the configuration.
    ///
    /// # Errors
    ///
    /// Only if none of them answers: one upstream that is away does not hide the others.
    pub(crate) async fn list(&self, routing: &Routing, tenant: &str) -> Result<Vec<Value>> {
        let own: Vec<_> = routing.of(tenant).collect();
        let lists = join_all(own.iter().map(|(place, _)| self.0[*place].told())).await;
        let named = own.iter().any(|(_, route)| route.named().is_some());
        if let Some(error) = failed(&lists)
            && !named
        {
            return Err(Error::new(error.kind(), error.message()));
        }
        let mut seen = HashSet::new();
        let models = own
            .iter()
            .zip(&lists)
            .flat_map(|((_, route), told)| offered(route, told));
        Ok(models
            .filter(|model| seen.insert(model["id"].to_string()))
            .collect())
    }

    /// What the upstreams serve this tenant, as far as their lists decide. Those that do not are not
    /// waited for.
    pub(crate) async fn offers(&self, routing: &Routing, tenant: &str) -> Offers {
        let deciding = routing.deciding(tenant);
        let told =
            self.0
                .iter()
                .enumerate()
                .map(async |(place, list)| match deciding.contains(&place) {
                    true => list.told().await,
                    false => Told::default(),
                });
        routing.offers(tenant, &join_all(told).await)
    }
}

impl List {
    fn new(route: u64, upstream: &Arc<dyn Upstream>) -> Self {
        Self {
            route,
            upstream: Arc::clone(upstream),
            asked: Mutex::default(),
        }
    }

    /// What it told; it is asked anew if that is old.
    async fn told(&self) -> Told {
        let (known, question, is_new) = match self.known() {
            Ok(known) => return known,
            Err(asked) => asked,
        };
        let answer = self.answer(question);
        match known.at {
            None => answer.await,
            Some(_) if is_new => tokio::time::timeout(WAIT, answer).await.unwrap_or(known),
            // It has been waited for: it is here, or it is not.
            Some(_) => answer.now_or_never().unwrap_or(known),
        }
    }

    /// What it told, or the same with the question that is under way and whether it was asked just now.
    fn known(&self) -> std::result::Result<Told, (Told, Question, bool)> {
        let mut asked = lock(&self.asked);
        let Asked { told, question } = &mut *asked;
        if told.is_fresh() {
            return Ok(told.clone());
        }
        let is_new = question.is_none();
        let ask = || {
            let (upstream, told) = (Arc::clone(&self.upstream), told.clone());
            async move { told.and(upstream.models().await) }.boxed()
        };
        let question = question.get_or_insert_with(|| ask().shared()).clone();
        Err((told.clone(), question, is_new))
    }

    /// Many who wait for an answer are one question. The first to hear it writes it down.
    async fn answer(&self, question: Question) -> Told {
        let told = question.clone().await;
        let mut asked = lock(&self.asked);
        if asked.question.as_ref().is_some_and(|q| q.ptr_eq(&question)) {
            *asked = Asked {
                told: told.clone(),
                question: None,
            };
        }
        told
    }
}

fn lock(asked: &Mutex<Asked>) -> MutexGuard<'_, Asked> {
    // Nothing panics while it is held.
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of an upstream whose models are named these, each as the upstream tells of it if it does; of another
/// all that it lists.
fn offered(route: &Route, told: &Told) -> Vec<Value> {
    let heard = match told.is_heard() {
        true => told.models.as_slice(),
        false => &[],
    };
    let Some(named) = route.named() else {
        return heard.to_vec();
    };
    let of_name = |name: &String| {
        let known = heard.iter().find(|model| model["id"] == name.as_str());
        let owner = route.upstream.name();
        known.cloned().unwrap_or_else(
            || json!({"id": name, "object": "model", "created": 0, "owned_by": owner}),
        )
    };
    named.iter().map(of_name).collect()
}

/// Why nobody answered, if nobody did.
fn failed(lists: &[Told]) -> Option<&Error> {
    match lists.iter().any(Told::is_heard) {
        true => None,
        false => lists.iter().find_map(|told| told.failed.as_deref()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{Receiver, Sender, channel};

    use super::super::Caller;
    use super::*;

    /// An upstream whose answers a test gives one by one.
    #[derive(Debug)]
    struct Scripted(tokio::sync::Mutex<Receiver<Answer>>);

    type Answer = Result<Vec<Value>>;

    #[async_trait::async_trait]
    impl Upstream for Scripted {
        fn name(&self) -> &str {
            "scripted"
        }

        fn caller(&self) -> Box<dyn Caller> {
            unreachable!("nothing is sent to it")
        }

        async fn models(&self) -> Result<Vec<Value>> {
            self.0.lock().await.recv().await.unwrap()
        }

        fn secret(&self) -> Option<&str> {
            None
        }
    }

    fn scripted() -> (List, Sender<Answer>) {
        let (answers, script) = channel(2);
        let upstream: Arc<dyn Upstream> = Arc::new(Scripted(script.into()));
        (List::new(0, &upstream), answers)
    }

    /// So that what is known is old.
    fn grow_old(list: &List) {
        let at = &mut lock(&list.asked).told.at;
        *at = at.and_then(|at| at.checked_sub(2 * KEPT_FOR));
    }

    fn models(ids: &[&str]) -> Vec<Value> {
        ids.iter().map(|id| json!({"id": id})).collect()
    }

    #[tokio::test]
    async fn many_who_ask_at_once_are_one_question() {
        let (list, answers) = scripted();
        answers.send(Ok(models(&["m"]))).await.unwrap();
        let told = join_all((0..9).map(|_| list.told())).await;
        assert!(told.iter().all(|told| *told.models == models(&["m"])));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_answer_keeps_nobody_waiting_twice() {
        let (list, answers) = scripted();
        answers.send(Ok(models(&["m"]))).await.unwrap();
        assert!(list.told().await.is_heard());
        grow_old(&list);
        let before = tokio::time::Instant::now();
        // Nothing is answered now: what was said stands.
        assert_eq!(*list.told().await.models, models(&["m"]));
        assert!(before.elapsed() <= WAIT + Duration::from_millis(1));
        let before = tokio::time::Instant::now();
        list.told().await;
        assert_eq!(before.elapsed(), Duration::ZERO);
        // The same question is still under way, and its answer is taken when it comes.
        answers.send(Ok(models(&["n"]))).await.unwrap();
        assert_eq!(*list.told().await.models, models(&["n"]));
    }

    #[tokio::test]
    async fn what_was_listed_is_remembered_of_an_upstream_that_fails() {
        let (list, answers) = scripted();
        answers.send(Ok(models(&["m"]))).await.unwrap();
        list.told().await;
        grow_old(&list);
        answers.send(Err(Error::internal("away"))).await.unwrap();
        let told = list.told().await;
        assert!(!told.is_heard());
        assert_eq!(*told.models, models(&["m"]));
    }
}

//! A word from outside that a run should end.

use tokio_util::sync::CancellationToken;

/// Asks a run to stop, from another task. A create that is on its way is waited for, since its outcome
/// would have to be looked for; nothing else is. Clones are the same.
///
/// ```
/// use ditto_llm::jobs::Stop;
///
/// let stop = Stop::new();
/// stop.clone().ask();
/// assert!(stop.is_asked());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Stop(CancellationToken);

impl Stop {
    /// One that nobody has asked yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks. It cannot be taken back.
    pub fn ask(&self) {
        self.0.cancel();
    }

    /// Whether it was asked.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.is_cancelled()
    }

    pub(crate) async fn asked(&self) {
        self.0.cancelled().await;
    }
}

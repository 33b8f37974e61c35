//! An id whose bytes are not all there yet.

use super::Service;
use crate::blobs::name;
use crate::error::{Error, ErrorKind, Result};

/// An id that is in the catalog, or on its way there, and whose bytes are on theirs. Dropped before it is
/// [handed over](Self::hand_over), row and bytes go with it. It is made before the catalog is asked for
/// the row: a client may go away while that is under way.
#[derive(Debug)]
pub(super) struct Pending {
    service: Service,
    /// `None`: there is nothing to give up any more.
    what: Option<What>,
}

/// What is pending.
#[derive(Debug)]
enum What {
    File { id: String },
    Part { upload: String, id: String },
}

/// The same once the catalog has been told that its bytes are there.
#[derive(Debug)]
pub(super) struct HandedOver {
    service: Service,
    what: Option<What>,
}

impl Pending {
    pub(super) fn file(service: &Service, id: &str) -> Self {
        Self {
            service: service.clone(),
            what: Some(What::File { id: id.to_owned() }),
        }
    }

    pub(super) fn part(service: &Service, upload: &str, id: &str) -> Self {
        Self {
            service: service.clone(),
            what: Some(What::Part {
                upload: upload.to_owned(),
                id: id.to_owned(),
            }),
        }
    }

    /// To be called before the catalog is told: from here on a drop gives nothing up, since the row may
    /// be ready before we hear of it.
    pub(super) fn hand_over(mut self) -> HandedOver {
        HandedOver {
            service: self.service.clone(),
            what: self.what.take(),
        }
    }

    /// The bytes go at once.
    pub(super) async fn give_up(mut self) -> Result<()> {
        self.service.give_up(self.what.take()).await
    }

    /// The catalog made no row for it.
    pub(super) fn came_to_nothing(mut self) {
        self.what = None;
    }
}

impl HandedOver {
    /// The catalog did not take it: its bytes go at once.
    pub(super) async fn give_up(self) -> Result<()> {
        self.service.give_up(self.what).await
    }

    /// The catalog did not take it: where that is sure, its bytes go at once. The error, to be passed on.
    pub(super) async fn refused(self, error: Error) -> Result<Error> {
        match error.kind() {
            // Whether it was taken is not known; if not, the sweeper takes it after a day.
            ErrorKind::Unavailable | ErrorKind::Internal => {}
            ErrorKind::Invalid
            | ErrorKind::Missing
            | ErrorKind::Conflict
            | ErrorKind::TooLarge
            | ErrorKind::Busy
            | ErrorKind::Full
            | ErrorKind::NoSpace => self.give_up().await?,
        }
        Ok(error)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.what.is_none() {
            return;
        }
        // A client that went away. The engine's task set owns the clean-up, so that a stop waits for it.
        let (service, what) = (self.service.clone(), self.what.take());
        let engine = service.engine.clone();
        engine.clean_up(async move { service.give_up(what).await });
    }
}

impl Service {
    async fn give_up(&self, what: Option<What>) -> Result<()> {
        match what {
            None => Ok(()),
            Some(What::File { id }) => {
                self.blobs.delete_below(&name::file(&id)).await?;
                self.catalog.abandon_file(&id).await
            }
            Some(What::Part { upload, id }) => {
                self.blobs.delete_below(&name::part(&upload, &id)).await?;
                self.catalog.abandon_part(&id).await
            }
        }
    }
}

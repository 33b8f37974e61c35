//! The calls about files: they come, are listed and go, and are read by way of another host or cut short.

use std::path::PathBuf;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderMap};
use serde_json::{Value, json};

use super::batches::unknown_after;
use super::{State, json_end};
use crate::envelope::Complaint;
use crate::file_body::Span;
use crate::provider::batch::Batch;
use crate::provider::call::{Call, SIGNED};
use crate::provider::fault::ProviderFault as Fault;
use crate::provider::obstacle::{self, bad_gateway};
use crate::provider::page::{self, Wanted};
use crate::provider::show;
use crate::provider::store::Stored;
use crate::provider::upload::Upload;
use crate::provider::{End, Parcel, Sheet, asked_span};

const FILE_PAGE: usize = 10_000;

impl State {
    /// Whether an upload may come: where it goes then, and how large it may be.
    pub(crate) fn before_upload(
        &mut self,
        key: &str,
        headers: &HeaderMap,
    ) -> Result<(PathBuf, Option<u64>), End> {
        self.meet(Call::Upload.name(), key)?;
        let has_length = headers.contains_key(CONTENT_LENGTH);
        if !has_length && self.mischief.strikes(Fault::ChunkedRefused).is_some() {
            let message = "Length Required: chunked uploads are not supported.";
            return Err(Complaint::invalid(message).with_status(411).into());
        }
        let max_bytes = self.mischief.limit(Fault::MaxBytes);
        Ok((self.folder()?, max_bytes))
    }

    pub(crate) fn keep(&mut self, upload: Upload) -> Result<End, End> {
        let file = Stored {
            id: self.store.next_id(),
            path: upload.path,
            bytes: upload.bytes,
            filename: upload.filename,
            purpose: upload.purpose,
            created: self.clock.now(),
            expires_after: upload.expires_after,
            is_result: false,
            held_until: None,
        };
        let told = show::file(&file, &self.clock);
        self.store.put(file)?;
        let told = self.wrapped(told, Fault::UploadWrapped);
        let after = obstacle::after(Call::Upload.name(), &mut self.mischief);
        Ok(after.unwrap_or_else(|| json_end(&told)))
    }

    pub(super) fn list_files(&self, wanted: &Wanted) -> Result<Value, Complaint> {
        let suits = |file: &&Stored| wanted.purpose.as_ref().is_none_or(|p| *p == file.purpose);
        let mut ids: Vec<String> = self
            .store
            .all()
            .filter(suits)
            .map(|file| file.id.clone())
            .collect();
        if !wanted.oldest_first {
            ids.reverse();
        }
        let limit = wanted.limit.unwrap_or(FILE_PAGE).min(FILE_PAGE);
        let page = page::page(&ids, wanted.after.as_deref(), limit).ok_or_else(unknown_after)?;
        let files = page.ids.iter().filter_map(|id| self.store.find(id));
        let data = files.map(|file| show::file(file, &self.clock)).collect();
        Ok(page::list(data, page.has_more))
    }

    /// The bytes go too, unless a batch still reads them; then they go with the folder.
    pub(super) fn delete(&mut self, id: &str) -> Result<Value, End> {
        let path = self.store.get(id)?.path.clone();
        self.store.delete(id)?;
        let is_read = |batch: &Batch| !batch.stage.is_final() && batch.order.input_file_id == id;
        if !self.batches.iter().any(is_read) {
            std::fs::remove_file(path)?;
        }
        Ok(json!({"id": id, "object": "file", "deleted": true}))
    }

    pub(super) fn content(&mut self, id: &str, parcel: &Parcel) -> Result<End, End> {
        let file = self.store.get(id)?.clone();
        let now = self.clock.now();
        if file.held_until.is_some_and(|until| now < until) {
            return Err(End::Plain(bad_gateway()));
        }
        if file.is_result && self.mischief.strikes(Fault::Redirect).is_some() {
            return Ok(End::Elsewhere(other_host(id, &parcel.headers)));
        }
        self.sheet(file, parcel)
    }

    /// The other host: as an object store, it takes a signed address or a key, and not both.
    pub(super) fn signed(&mut self, id: &str, parcel: &Parcel) -> Result<End, End> {
        if parcel.headers.contains_key(AUTHORIZATION) {
            self.keys_leaked += 1;
            let message = "Only one auth mechanism allowed.";
            return Err(Complaint::invalid(message).into());
        }
        let file = self.store.get(id)?.clone();
        self.sheet(file, parcel)
    }

    fn sheet(&mut self, file: Stored, parcel: &Parcel) -> Result<End, End> {
        let is_short = file.is_result && self.mischief.strikes(Fault::Short).is_some();
        // In the middle of a row.
        let length = if is_short {
            file.bytes * 2 / 3
        } else {
            file.bytes
        };
        let has_ranges = self.mischief.strikes(Fault::RangesIgnored).is_none();
        let span = if has_ranges {
            asked_span(&parcel.headers, length)?
        } else {
            Span::whole(length)
        };
        Ok(End::File(Box::new(Sheet {
            cut: self.mischief.strikes(Fault::Cut).map(|at| at.number()),
            has_length: self.mischief.strikes(Fault::LengthNone).is_none(),
            has_ranges,
            file,
            span,
        })))
    }
}

/// The same simulator by another name, which is another host to a client.
fn other_host(id: &str, headers: &HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let port = host
        .and_then(|host| host.rsplit_once(':'))
        .map_or("80", |(_, port)| port);
    format!("http://localhost:{port}{SIGNED}{id}")
}

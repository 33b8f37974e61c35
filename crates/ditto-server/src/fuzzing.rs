//! What holds for any bytes, as functions that panic where it does not.
//!
//! The targets in `fuzz/` call these with bytes that are bred to find a way through; the tests here
//! call them with the corpora that are kept there, so that no find is lost and no corpus rots. The
//! module is there only for the two: a `cfg` is no feature that a user could switch on, and what it
//! reaches stays private otherwise.

use std::cell::RefCell;

use axum::Router;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::config::{Config, UpstreamConfig};
use crate::error::ErrorKind;
use crate::http::fuzzing::{Given, wants_an_upload};
use crate::model::space::Floor;
use crate::server::Server;
use crate::service::{FileDescription, UploadRequest};

pub use crate::http::fuzzing::range;
pub use crate::journal::fuzzing::journal;
pub use crate::model::fuzzing::cursor;

/// Whose everything is, where there are no keys.
const TENANT: &str = "local";
/// Of an upload.
const CONTENT: &[u8] = b"{\"a\":1}\n";
/// A server is used for so many scripts: what each leaves behind is little, and is not nothing.
const SCRIPTS: u32 = 2_000;

/// A server on a folder of its own that is never run, so that nothing moves by itself.
struct Rig {
    runtime: Runtime,
    router: Router,
    server: Server,
    scripts: u32,
    // Last: it goes when the server has let go of it.
    _folder: TempDir,
}

thread_local! {
    static RIG: RefCell<Option<Rig>> = const { RefCell::new(None) };
}

impl Rig {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime needs little");
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        // Nobody listens there, and no line is sent.
        let upstream = UpstreamConfig::new("nobody", "http://127.0.0.1:1");
        let mut config = Config::new(folder.path().join("data"), vec![upstream]);
        // The disk is nobody's claim.
        config.space = Floor::NONE;
        let server = runtime
            .block_on(Server::open(config))
            .expect("a new folder is opened");
        Self {
            runtime,
            router: server.router(),
            server,
            scripts: 0,
            _folder: folder,
        }
    }

    /// An upload that takes parts, and has one that it could be completed with.
    async fn upload(&self) -> Given {
        let request = UploadRequest {
            file: FileDescription {
                filename: "parts".to_owned(),
                purpose: "vision".to_owned(),
                expires_after: None,
            },
            bytes: CONTENT.len() as u64,
            once: None,
        };
        let service = self.server.service();
        let upload = service.create_upload(TENANT, request).await;
        let upload = upload.expect("there is room for it").id;
        let part = service.upload_part(TENANT, &upload, None).await;
        let mut part = part.expect("the upload is there");
        part.write(CONTENT).await.expect("there is room for it");
        let part = part.finish().await.expect("the upload is there").id;
        Given { upload, part }
    }

    /// Makes room for the next.
    async fn end(&self, given: &Given) {
        let service = self.server.service();
        let ended = service.cancel_upload(TENANT, &given.upload, None).await;
        // The script may have completed it.
        let refused = ended.err().map(|error| error.kind());
        assert!(matches!(refused, None | Some(ErrorKind::Invalid)));
    }
}

fn with_rig(work: impl FnOnce(&Rig)) {
    RIG.with_borrow_mut(|slot| {
        if slot.as_ref().is_some_and(|rig| rig.scripts >= SCRIPTS) {
            *slot = None;
        }
        let rig = slot.get_or_insert_with(Rig::new);
        rig.scripts += 1;
        work(rig);
    });
}

/// Any bytes as the form of an upload; see [`crate::http::fuzzing::multipart`].
///
/// # Panics
///
/// Where that does not hold.
pub fn multipart(script: &[u8]) {
    with_rig(|rig| {
        let service = rig.server.service();
        let claim = crate::http::fuzzing::multipart(&service, script);
        rig.runtime.block_on(claim);
    });
}

/// Any bytes as a request; see [`crate::http::fuzzing::request`].
///
/// # Panics
///
/// Where that does not hold.
pub fn request(script: &[u8]) {
    with_rig(|rig| {
        let claim = async {
            let router = rig.router.clone();
            if !wants_an_upload(script) {
                return crate::http::fuzzing::request(router, &Given::default(), script).await;
            }
            let given = rig.upload().await;
            crate::http::fuzzing::request(router, &given, script).await;
            rig.end(&given).await;
        };
        rig.runtime.block_on(claim);
    });
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Runs what is kept for a target.
    fn replay(target: &str, claim: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../fuzz/corpus")
            .join(target);
        let mut kept = 0;
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            // Shown with a failure: which bytes it was.
            println!("{}", path.display());
            claim(&fs::read(&path).unwrap());
            kept += 1;
        }
        assert!(kept > 0, "{} is empty", folder.display());
    }

    #[test]
    fn kept_ranges_ask_for_what_the_file_has() {
        replay("range", range);
    }

    #[test]
    fn kept_cursors_say_what_a_reader_had() {
        replay("cursor", cursor);
    }

    #[test]
    fn kept_forms_are_taken_whole_or_leave_nothing() {
        replay("multipart", multipart);
    }

    #[test]
    fn kept_requests_are_answered_in_the_envelope_or_well() {
        replay("request", request);
    }

    #[test]
    fn kept_journal_parts_give_their_whole_records_and_no_more() {
        replay("journal", journal);
    }
}

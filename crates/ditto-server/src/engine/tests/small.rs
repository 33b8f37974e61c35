//! What a batch of a few lines costs.

use std::path::{Path, PathBuf};

use super::rig::{CHAT, Rig, TENANT, lines, upload};
use crate::service::BatchRequest;

/// Files below this folder, by their names below it.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => found.push(path.strip_prefix(folder).unwrap().to_owned()),
            }
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_one_segment_is_one_blob_of_two_syncs() {
    let rig = Rig::start().await;
    // The first makes the folder that all share.
    let first = rig.submit(&lines(10)).await;
    rig.ended(&first).await.is_conserved(10);

    let file = upload(rig.service(), &lines(10)).await;
    let (folder, syncs) = (rig.config.data.join("blobs"), rig.service().blobs.syncs());
    let before = files_below(&folder);
    let request = BatchRequest {
        input_file_id: file,
        endpoint: CHAT.to_owned(),
        completion_window: "24h".to_owned(),
        ..BatchRequest::default()
    };
    let made = rig.service().create_batch(TENANT, request).await;
    let id = made.unwrap().id;
    rig.ended(&id).await.is_conserved(10);
    assert_eq!(rig.service().blobs.syncs() - syncs, 2, "bytes and name");
    let mut made = files_below(&folder);
    made.retain(|path| !before.contains(path));
    assert_eq!(made, [PathBuf::from(format!("batches/{id}.1"))]);
}

//! What an object's name says, the other way round of [`name`](crate::blobs::name).

use std::path::Path;

use crate::blobs::name::batch_of_first_seal;
use crate::catalog::Named;
use crate::journal::PartName;

/// Whose a blob is by its name; `None`: no name of ours.
pub(crate) fn of_blob(path: &Path) -> Option<Named> {
    let mut words = path.to_str()?.split('/');
    let (kind, id) = (words.next()?, words.next()?);
    let Some(rest) = words.next() else {
        return (kind == "batches").then(|| first_seal(id)).flatten();
    };
    match kind {
        "files" => Some(Named::File(id.to_owned())),
        "uploads" => Some(Named::UploadPart {
            upload: id.to_owned(),
            part: rest.to_owned(),
        }),
        "batches" => Some(match (rest, words.next().and_then(seal)) {
            ("segments", Some((index, epoch))) => Named::Blob {
                batch: id.to_owned(),
                index,
                epoch,
            },
            _ => Named::Batch(id.to_owned()),
        }),
        _ => None,
    }
}

/// Not one that is still being written, or was when somebody was killed.
pub(crate) fn is_whole(path: &Path) -> bool {
    path.to_str().is_some_and(|name| !name.contains('#'))
}

/// `batch_1.1`, or `batch_1.1#1` while it is being written.
fn first_seal(name: &str) -> Option<Named> {
    let batch = batch_of_first_seal(name.split('#').next()?)?;
    Some(Named::Blob {
        batch: batch.to_owned(),
        index: 0,
        epoch: 1,
    })
}

/// `7.2`, or `7.2#1` while it is being written.
fn seal(name: &str) -> Option<(u32, u32)> {
    let name = name.split('#').next()?;
    let (index, epoch) = name.split_once('.')?;
    Some((index.parse().ok()?, epoch.parse().ok()?))
}

/// Whose something in the journal is; `None`: no name of ours.
pub(crate) fn of_part(path: &Path) -> Option<Named> {
    let PartName { segment, epoch } = PartName::parse(path.to_str()?)?;
    Some(Named::Part { segment, epoch })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::name;
    use crate::catalog::SegmentKey;

    #[test]
    fn every_name_that_is_made_is_read_back() {
        let file = Some(Named::File("file-1".to_owned()));
        let batch = Some(Named::Batch("batch_1".to_owned()));
        let blob = Some(Named::Blob {
            batch: "batch_1".to_owned(),
            index: 7,
            epoch: 2,
        });
        let first = Some(Named::Blob {
            batch: "batch_1".to_owned(),
            index: 0,
            epoch: 1,
        });
        let part = Some(Named::UploadPart {
            upload: "upload_1".to_owned(),
            part: "part_1".to_owned(),
        });
        let table = [
            (name::part_data("upload_1", "part_1"), &part),
            (name::part_data("upload_1", "part_1") + "#1", &part),
            ("uploads/notes.txt".to_owned(), &None),
            (name::data("file-1"), &file),
            (name::map("file-1"), &file),
            (name::data("file-1") + "#1", &file),
            (name::plan("batch_1"), &batch),
            (name::faults("batch_1"), &batch),
            (name::segment("batch_1", 7, 2), &blob),
            (name::segment("batch_1", 7, 2) + "#1", &blob),
            (name::first_seal("batch_1"), &first),
            (name::first_seal("batch_1") + "#12", &first),
            ("batches/batch_1".to_owned(), &None),
            ("batches/batch_1.2".to_owned(), &None),
            ("batches/batch_1/segments/other".to_owned(), &batch),
            ("notes.txt".to_owned(), &None),
            ("files/notes.txt".to_owned(), &None),
            ("others/file-1/data".to_owned(), &None),
        ];
        for (name, named) in table {
            assert_eq!(of_blob(Path::new(&name)), *named, "{name}");
        }
    }

    #[test]
    fn a_part_is_known_by_the_name_it_was_given() {
        let segment = SegmentKey {
            batch: 12,
            index: 3,
        };
        let name = PartName { segment, epoch: 4 }.to_string();
        assert_eq!(
            of_part(Path::new(&name)),
            Some(Named::Part { segment, epoch: 4 })
        );
        for other in ["12-3", "12-3.x", "012-3.4", "12-3.4.bak", "a"] {
            assert_eq!(of_part(Path::new(other)), None, "{other}");
        }
    }
}

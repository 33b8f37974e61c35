//! Rows as values: what the columns mean.

use std::time::Duration;

use ditto_llm::wire::FailureClass;
use rusqlite::Row;
use rusqlite::types::Type;
use serde::de::DeserializeOwned;

use super::super::{
    BatchRow, Cut, FileRow, FileState, PartRow, Retry, Sealed, SealedRow, SegmentKey, UploadRow,
    Usage,
};
use crate::manifest::Piece;
use crate::model::batch::{BatchState, Ending};
use crate::model::plan::Entry;
use crate::model::upload::UploadState;

type Read<T> = rusqlite::Result<T>;

/// What of a batch decides which events it takes.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) key: i64,
    pub(super) state: BatchState,
    pub(super) ending: Option<Ending>,
}

/// An open, parked or sealed segment, as far as leases ask.
#[derive(Debug)]
pub(super) struct SegmentRow {
    pub(super) key: SegmentKey,
    pub(super) span: u32,
    pub(super) filler: bool,
    pub(super) open: bool,
    pub(super) owner: Option<String>,
    pub(super) epoch: u32,
    pub(super) unfenced: Option<u32>,
    pub(super) cuts: Vec<Cut>,
    pub(super) published_answers: u32,
    pub(super) published_errors: u32,
    pub(super) refused_ms: Option<i64>,
}

/// A number that never leaves SQLite's range in practice: bytes, lines, tokens.
pub(super) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The same, back.
pub(super) fn count(row: &Row<'_>, column: &str) -> Read<u64> {
    Ok(row.get::<_, i64>(column)?.max(0).unsigned_abs())
}

/// A time, as clients are told it.
pub(super) fn seconds(row: &Row<'_>, column: &str) -> Read<Option<i64>> {
    Ok(row
        .get::<_, Option<i64>>(column)?
        .map(|ms| ms.div_euclid(1_000)))
}

pub(super) fn file(row: &Row<'_>) -> Read<FileRow> {
    let state: String = row.get("state")?;
    let lines: Option<i64> = row.get("lines")?;
    Ok(FileRow {
        id: row.get("id")?,
        tenant: row.get("tenant")?,
        state: match state.as_str() {
            "pending" => FileState::Pending,
            "ready" => FileState::Ready,
            _ => FileState::Deleted,
        },
        purpose: row.get("purpose")?,
        filename: row.get("filename")?,
        bytes: count(row, "bytes")?,
        lines: lines.map(|lines| lines.max(0).unsigned_abs()),
        created_at: seconds(row, "created_ms")?.unwrap_or_default(),
        expires_at: seconds(row, "expires_ms")?,
        upload: row.get("upload")?,
        piece: piece(row)?,
    })
}

/// All bytes of a file, where they are one piece.
fn piece(row: &Row<'_>) -> Read<Option<Piece>> {
    let blob: Option<String> = row.get("piece_blob")?;
    blob.map(|blob| {
        Ok(Piece {
            blob,
            offset: count(row, "piece_offset")?,
            length: count(row, "bytes")?,
        })
    })
    .transpose()
}

/// The plan of a batch of one segment: all its lines are in it.
fn only(row: &Row<'_>) -> Read<Option<Entry>> {
    let first_line: Option<i64> = row.get("only_first_line")?;
    first_line
        .map(|first_line| {
            Ok(Entry {
                first_line: first_line.cast_unsigned(),
                lines: row.get("only_lines")?,
                requests: row.get("total")?,
                offset: count(row, "only_offset")?,
                length: count(row, "only_length")?,
                hash: row.get::<_, i64>("only_hash")?.cast_unsigned(),
                ..Entry::default()
            })
        })
        .transpose()
}

/// As it is at this time.
pub(super) fn upload(now_ms: i64) -> impl Fn(&Row<'_>) -> Read<UploadRow> {
    move |row| {
        let state: String = row.get("state")?;
        let state = UploadState::parse(&state)
            .ok_or_else(|| unreadable(format!("upload state {state:?}")))?;
        let lifetime: Option<i64> = row.get("file_lifetime_s")?;
        Ok(UploadRow {
            key: row.get("key")?,
            id: row.get("id")?,
            tenant: row.get("tenant")?,
            state: state.at(row.get("expires_ms")?, now_ms),
            filename: row.get("filename")?,
            purpose: row.get("purpose")?,
            bytes: count(row, "bytes")?,
            file_expires_after: lifetime.map(|s| Duration::from_secs(s.max(0).unsigned_abs())),
            created_at: seconds(row, "created_ms")?.unwrap_or_default(),
            expires_at: seconds(row, "expires_ms")?.unwrap_or_default(),
            file_id: row.get("file_id")?,
        })
    }
}

pub(super) fn part(row: &Row<'_>) -> Read<PartRow> {
    Ok(PartRow {
        id: row.get("id")?,
        upload: row.get("upload_id")?,
        bytes: count(row, "bytes")?,
        breaks: count(row, "breaks")?,
        ends_line: row.get("ends_line")?,
        index_bytes: count(row, "index_bytes")?,
        created_at: seconds(row, "created_ms")?.unwrap_or_default(),
        place: row.get("place")?,
    })
}

pub(super) fn life(row: &Row<'_>) -> Read<Life> {
    Ok(Life {
        key: row.get("key")?,
        state: state(row)?,
        ending: ending(row)?,
    })
}

fn state(row: &Row<'_>) -> Read<BatchState> {
    let text: String = row.get("state")?;
    BatchState::parse(&text).ok_or_else(|| unreadable(format!("batch state {text:?}")))
}

pub(super) fn ending(row: &Row<'_>) -> Read<Option<Ending>> {
    let text: Option<String> = row.get("ending")?;
    text.map(|text| Ending::parse(&text).ok_or_else(|| unreadable(format!("ending {text:?}"))))
        .transpose()
}

pub(super) fn batch(row: &Row<'_>) -> Read<BatchRow> {
    Ok(BatchRow {
        key: row.get("key")?,
        id: row.get("id")?,
        tenant: row.get("tenant")?,
        input_file_id: row.get("input_file_id")?,
        endpoint: row.get("endpoint")?,
        completion_window: row.get("completion_window")?,
        metadata: row.get("metadata")?,
        options: json(row, "options")?,
        retry: retry(row)?,
        state: state(row)?,
        ending: ending(row)?,
        model: row.get("model")?,
        total: count(row, "total")?,
        segments: row.get("plan_segments")?,
        only: only(row)?,
        completed: count(row, "completed")?,
        failed: count(row, "failed")?,
        usage: usage(row)?,
        errors: row.get("errors")?,
        output_file_id: row.get("output_file_id")?,
        error_file_id: row.get("error_file_id")?,
        created_at: seconds(row, "created_ms")?.unwrap_or_default(),
        expires_at: seconds(row, "expires_ms")?,
        in_progress_at: seconds(row, "in_progress_ms")?,
        finalizing_at: seconds(row, "finalizing_ms")?,
        completed_at: seconds(row, "completed_ms")?,
        failed_at: seconds(row, "failed_ms")?,
        expired_at: seconds(row, "expired_ms")?,
        cancelling_at: seconds(row, "cancelling_ms")?,
        cancelled_at: seconds(row, "cancelled_ms")?,
    })
}

fn retry(row: &Row<'_>) -> Read<Option<Retry>> {
    let Some(of) = row.get("retry_of")? else {
        return Ok(None);
    };
    let only: String = row.get("retry_only")?;
    let class =
        |word| FailureClass::parse(word).ok_or_else(|| unreadable(format!("retry_only {only:?}")));
    Ok(Some(Retry {
        of,
        only: only.split(',').map(class).collect::<Read<_>>()?,
        input: row.get("retry_input")?,
        errors: row.get("retry_errors")?,
    }))
}

/// Classes as stored.
pub(super) fn classes(only: &[FailureClass]) -> String {
    let words: Vec<_> = only.iter().map(|class| class.as_str()).collect();
    words.join(",")
}

fn usage(row: &Row<'_>) -> Read<Usage> {
    Ok(Usage {
        input: count(row, "usage_input")?,
        cached: count(row, "usage_cached")?,
        output: count(row, "usage_output")?,
        reasoning: count(row, "usage_reasoning")?,
        total: count(row, "usage_total")?,
    })
}

pub(super) fn segment(row: &Row<'_>) -> Read<SegmentRow> {
    Ok(SegmentRow {
        key: SegmentKey {
            batch: row.get("batch")?,
            index: row.get("idx")?,
        },
        span: row.get("span")?,
        filler: row.get("filler")?,
        open: row.get::<_, String>("state")? == "open",
        owner: row.get("owner")?,
        epoch: row.get("epoch")?,
        unfenced: row.get("unfenced")?,
        cuts: json(row, "cuts")?,
        published_answers: row.get("published_answers")?,
        published_errors: row.get("published_errors")?,
        refused_ms: row.get("refused_ms")?,
    })
}

pub(super) fn sealed(row: &Row<'_>) -> Read<SealedRow> {
    Ok(SealedRow {
        index: row.get("idx")?,
        epoch: row.get("epoch")?,
        sealed: Sealed {
            span: row.get("span")?,
            answers: row.get("answers")?,
            errors: row.get("errors")?,
            ended: row.get("ended")?,
            answers_bytes: count(row, "answers_bytes")?,
            errors_bytes: count(row, "errors_bytes")?,
            usage: usage(row)?,
        },
    })
}

fn json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Read<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|e| unreadable(format!("{column}: {e}")))
}

/// A value that this release never writes: damage, or a hand in the file.
fn unreadable(what: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, what.into())
}

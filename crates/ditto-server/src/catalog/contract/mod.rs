//! The promises of [`super::Catalog`] as functions, for every implementation to run.
//!
//! Each takes an empty catalog and the clock it was opened with. The list at the end of this file
//! runs all of them on each implementation; what they share is above it.

use std::collections::HashSet;
use std::time::Duration;

use super::sqlite::SqliteCatalog;
use super::{
    Asked, BatchOptions, BatchRow, Bounds, Cancelled, Catalog, Completion, Created, Cut, Demand,
    DryBatch, ENDED_KEYS_KNOWN, FileQuery, FileRow, FileState, Finish, Gap, Holder, Keep, KeyRing,
    KeyRow, LaneMark, Leased, LiveKey, Named, NewBatch, NewFile, NewKey, NewUpload, Once, Order,
    PENDING_UPLOADS, PartRow, Publication, PutDown, ReadyFile, ReadyPart, Refusal, Rotated, Route,
    SealOutcome, Sealed, SealedWhole, SegmentKey, Stored, Until, UploadRow, Usage, Validated,
};
use crate::clock::ManualClock;
use crate::error::ErrorKind;
use crate::manifest::Piece;
use crate::model::batch::{BatchState, Ending};
use crate::model::litter::{Claim, Due};
use crate::model::plan::Entry;
use crate::model::upload::{PART_BYTES, PARTS, UploadState};

mod batches;
mod creates;
mod ends;
mod files;
mod goes;
mod keys;
mod leases;
mod seals;
mod space;
mod uploads;
mod validation;

const LEASE: Duration = Duration::from_secs(30);
const DAY: Duration = Duration::from_secs(24 * 3600);
const TENANT: &str = "tenant";
const ME: &str = "inc_me";
const OTHER: &str = "inc_other";

fn description() -> ReadyFile {
    ReadyFile {
        purpose: "batch".to_owned(),
        filename: "requests.jsonl".to_owned(),
        bytes: 100,
        lines: Some(7),
        expires_after: None,
        piece: None,
        within: None,
        once: None,
    }
}

async fn pending(catalog: &dyn Catalog, id: &str) {
    let file = NewFile {
        id: id.to_owned(),
        tenant: TENANT.to_owned(),
    };
    catalog.create_file(file).await.unwrap();
}

async fn file(catalog: &dyn Catalog, id: &str) -> FileRow {
    pending(catalog, id).await;
    catalog.ready_file(id, description()).await.unwrap()
}

fn query(limit: u32, after: Option<&str>) -> FileQuery {
    FileQuery {
        purpose: None,
        limit,
        order: Order::Desc,
        after: after.map(str::to_owned),
    }
}

async fn file_ids(catalog: &dyn Catalog, query: FileQuery) -> Vec<String> {
    let page = catalog.files(TENANT, query).await.unwrap().unwrap();
    page.rows.into_iter().map(|row| row.id).collect()
}

fn new_batch(id: &str, tenant: &str) -> NewBatch {
    NewBatch {
        id: id.to_owned(),
        tenant: tenant.to_owned(),
        input_file_id: "file-input".to_owned(),
        endpoint: "/v1/chat/completions".to_owned(),
        completion_window: "24h".to_owned(),
        expires_after: None,
        metadata: None,
        options: BatchOptions::default(),
        retry: None,
        lines: None,
        once: None,
        bounds: Bounds::default(),
        validator: None,
    }
}

/// A batch that was not there before.
async fn create(catalog: &dyn Catalog, new: NewBatch) -> BatchRow {
    match catalog.create_batch(new).await.unwrap() {
        Created::New(row) => *row,
        other => panic!("not made: {other:?}"),
    }
}

fn found(total: u64, segments: u32) -> Validated {
    Validated {
        total,
        segments,
        only: None,
        model: None,
        bare_suffix: None,
    }
}

/// A batch of this many segments of ten lines, ready to be leased.
async fn running(catalog: &dyn Catalog, new: NewBatch, segments: u32) -> i64 {
    let key = create(catalog, new).await.key;
    catalog.register("inc_validator", LEASE).await.unwrap();
    let held = catalog
        .lease_validation("inc_validator")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(held.key, key);
    let found = found(u64::from(segments) * 10, segments);
    assert!(
        catalog
            .validated("inc_validator", key, found)
            .await
            .unwrap()
    );
    catalog.deregister("inc_validator").await.unwrap();
    key
}

async fn row(catalog: &dyn Catalog, key: i64) -> BatchRow {
    catalog.leased_batch(key).await.unwrap().unwrap()
}

async fn cancel(catalog: &dyn Catalog, key: i64) -> Cancelled {
    let row = row(catalog, key).await;
    catalog.cancel_batch(&row.tenant, &row.id).await.unwrap()
}

async fn lease(catalog: &dyn Catalog, incarnation: &str, segments: u32) -> Vec<Leased> {
    catalog
        .lease(
            incarnation,
            Demand {
                segments,
                runs: segments,
                ..Demand::default()
            },
        )
        .await
        .unwrap()
}

fn cut(epoch: u32, length: u64) -> Cut {
    Cut { epoch, length }
}

fn sealed(answers: u32, errors: u32) -> Sealed {
    Sealed {
        span: 1,
        answers,
        errors,
        ended: 0,
        answers_bytes: u64::from(answers) * 100,
        errors_bytes: u64::from(errors) * 50,
        usage: Usage {
            input: 3,
            cached: 1,
            output: 2,
            reasoning: 1,
            total: 5,
        },
    }
}

async fn seal(catalog: &dyn Catalog, leased: &Leased, sealed: Sealed) -> SealOutcome {
    catalog
        .seal(ME, leased.key, leased.epoch, sealed)
        .await
        .unwrap()
}

fn publication(leased: &Leased, answers: u32, errors: u32) -> Publication {
    Publication {
        key: leased.key,
        epoch: leased.epoch,
        answers,
        errors,
    }
}

async fn counts(catalog: &dyn Catalog, key: i64) -> (u64, u64) {
    let row = row(catalog, key).await;
    (row.completed, row.failed)
}

/// A batch of one segment with its last seal done, held by `ME` to be finished.
async fn finalizing(catalog: &dyn Catalog) -> i64 {
    catalog.register(ME, LEASE).await.unwrap();
    let key = running(catalog, new_batch("batch_1", TENANT), 1).await;
    let leased = lease(catalog, ME, 1).await;
    assert_eq!(
        seal(catalog, &leased[0], sealed(9, 1)).await,
        SealOutcome::Last
    );
    key
}

fn whole() -> Finish {
    Finish::Whole {
        output: Some(description()),
        errors: Some(description()),
    }
}

macro_rules! promises {
    ($($part:ident :: $name:ident,)*) => {
        mod sqlite_in_memory {
            $(#[tokio::test]
            async fn $name() {
                let clock = super::ManualClock::at(1_700_000_000_000);
                let catalog = super::SqliteCatalog::in_memory(std::sync::Arc::new(clock.clone()));
                super::$part::$name(&catalog.unwrap(), &clock).await;
            })*
        }

        mod sqlite_on_file {
            $(#[tokio::test]
            async fn $name() {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("catalog.db");
                let clock = super::ManualClock::at(1_700_000_000_000);
                let catalog = super::SqliteCatalog::open(&path, std::sync::Arc::new(clock.clone()));
                super::$part::$name(&catalog.unwrap(), &clock).await;
            })*
        }
    };
}

promises! {
    files::a_pending_file_is_unseen_until_it_is_ready,
    files::an_abandoned_upload_cannot_become_a_file,
    files::abandoning_a_ready_file_changes_nothing,
    files::another_tenant_sees_and_deletes_nothing,
    files::an_expired_file_is_gone_before_it_is_swept,
    files::a_deleted_file_is_a_cursor_and_no_file,
    files::a_cursor_that_never_was_is_refused,
    files::pages_of_files_hold_each_once_while_others_arrive,
    files::a_slow_upload_is_not_missed_by_a_reader_that_is_past_its_beginning,
    files::files_are_listed_by_purpose_in_both_orders,
    files::a_deleted_input_is_swept_when_its_batches_have_ended,
    files::a_batch_reads_the_input_that_was_there_when_it_was_made,
    files::a_batch_reads_its_input_on_after_that_has_expired,
    files::an_upload_that_nobody_finished_is_swept_after_a_day_and_stays_gone,
    batches::a_new_batch_is_validating_and_has_no_counts,
    batches::pages_of_batches_are_newest_first_and_hold_each_once_while_others_arrive,
    batches::a_cancel_before_validation_ended_is_over_at_once,
    batches::a_cancel_while_running_is_an_ending_that_the_owner_hears_of,
    batches::a_cancel_while_finalizing_changes_nothing,
    batches::a_cancel_after_the_end_is_refused_unless_it_was_a_cancel,
    batches::a_window_that_is_over_ends_a_batch_once,
    batches::a_cancel_that_came_first_is_not_undone_by_the_window,
    creates::the_same_key_and_body_are_the_same_batch_as_it_is_now,
    creates::a_key_with_another_body_makes_nothing_and_names_what_it_made,
    creates::a_key_is_free_again_after_a_day,
    creates::two_tenants_with_one_key_have_a_batch_each,
    creates::creates_at_once_under_one_key_make_one_batch,
    creates::repeats_at_once_make_one_batch,
    creates::a_key_decides_alone_also_for_a_repeat,
    creates::a_repeat_within_ten_minutes_is_the_newest_batch_of_the_same_body,
    creates::a_repeat_after_ten_minutes_makes_a_batch,
    creates::a_repeat_of_another_body_or_tenant_makes_a_batch,
    creates::creates_that_are_no_repeats_make_a_batch_each,
    creates::creates_are_forgotten_when_no_repeat_can_mean_them_and_a_few_at_a_time,
    creates::a_file_is_remembered_by_its_key_for_a_day_and_by_its_own_route,
    creates::a_key_that_has_made_a_file_meanwhile_makes_no_other,
    validation::the_oldest_batch_is_validated_first_and_by_one_worker,
    validation::a_try_that_failed_is_made_again_after_all_others,
    validation::a_validator_that_died_is_replaced_and_its_outcome_refused,
    validation::what_validation_found_is_kept_with_the_batch,
    validation::a_refused_batch_has_failed_with_its_errors,
    validation::a_batch_without_a_request_is_finalizing_right_away,
    leases::what_nobody_holds_is_told_with_what_is_recorded_of_it,
    leases::a_plan_is_leased_in_order_and_each_entry_once,
    leases::a_released_segment_comes_back_first_with_its_cut_and_nothing_to_fence,
    leases::a_crash_leaves_an_epoch_to_be_fenced_once,
    leases::a_crash_before_the_fence_names_the_same_epoch_again,
    leases::leases_of_a_live_worker_are_nobody_elses,
    leases::voided_leases_come_back_at_once_and_cannot_be_renewed,
    leases::a_deregistered_worker_has_nothing_left,
    leases::a_lease_that_ran_out_but_was_taken_by_nobody_is_renewed_under_its_epoch,
    leases::a_frozen_worker_keeps_what_nobody_took_and_hears_what_is_lost,
    leases::a_lease_that_nobody_works_on_comes_back_with_its_part_to_be_fenced,
    leases::a_worker_whose_lease_is_over_leases_nothing,
    leases::a_parked_segment_comes_back_when_it_is_due,
    leases::an_ending_brings_parked_segments_back_at_once,
    leases::at_most_256_segments_of_a_batch_are_open_and_what_waits_is_counted_apart,
    leases::how_long_lines_were_refused_is_told_again_whenever_they_are_put_down,
    leases::what_is_put_down_after_its_ending_comes_back_at_once,
    leases::what_waits_for_a_lane_comes_back_when_it_is_not_shut,
    leases::a_batch_that_ran_dry_gets_its_next_segments_whosever_turn_it_is,
    leases::what_comes_back_leaves_a_quarter_of_a_lease_to_what_begins,
    leases::one_lease_brings_at_most_64_segments,
    leases::tenants_share_a_lease_whatever_the_number_of_their_batches,
    leases::more_tenants_than_one_lease_looks_at_are_all_served,
    leases::a_small_batch_does_not_wait_behind_a_large_one_of_the_same_tenant,
    leases::an_earlier_deadline_goes_first,
    leases::runs_are_granted_however_many_segments_are_wanted,
    leases::untouched_segments_of_an_ending_batch_come_last_and_in_runs,
    leases::an_ended_batch_is_finalizing_when_every_run_is_sealed,
    seals::published_counts_never_fall,
    seals::a_seal_counts_what_was_not_published_yet,
    seals::a_seal_is_fenced_by_owner_and_epoch_and_happens_once,
    seals::the_only_segment_is_sealed_and_its_batch_ends_at_once,
    seals::what_is_not_the_whole_batch_is_sealed_like_any_other,
    seals::a_plan_of_one_entry_is_told_as_it_was_written,
    seals::sealed_segments_are_read_in_the_order_of_the_plan,
    ends::the_last_seal_takes_two_ids_that_outlive_the_sweeper,
    ends::a_file_without_lines_is_not_named,
    ends::a_batch_is_finished_once_and_by_who_holds_it,
    ends::a_batch_that_is_not_whole_fails_and_keeps_both_files,
    ends::segments_that_are_missing_come_back_with_what_was_found_of_them,
    ends::a_batchs_blobs_may_go_when_both_of_its_files_are_gone,
    goes::a_deleted_file_keeps_its_bytes_for_who_is_reading,
    goes::an_expired_file_keeps_its_bytes_as_long,
    goes::a_file_is_held_from_its_id_to_its_last_byte,
    goes::an_input_in_use_is_held_whatever_its_row_says,
    goes::an_id_that_a_batch_has_reserved_is_held_however_long_it_takes,
    goes::a_blob_below_the_newest_epoch_of_its_segment_is_litter,
    goes::a_journal_part_is_held_until_its_segment_is_sealed,
    goes::what_a_batch_has_is_held_until_both_results_are_gone,
    goes::a_batchs_blobs_outlast_the_readers_of_its_results,
    goes::a_file_that_is_gone_is_a_cursor_for_its_time_and_then_forgotten,
    goes::a_file_that_is_gone_is_a_cursor_for_30_days_however_short_rows_are_kept,
    goes::a_batch_is_forgotten_long_after_its_end_and_never_before_its_results,
    goes::a_batch_that_a_repeated_create_would_name_is_not_forgotten,
    space::a_file_counts_from_ready_to_deleted,
    space::a_file_that_expires_counts_until_it_is_swept,
    space::a_file_over_what_its_tenant_may_have_does_not_become_ready,
    space::an_open_batch_reserves_300_bytes_a_line_until_it_ends,
    space::every_end_gives_back_what_was_set_aside,
    space::creates_are_refused_when_what_is_set_aside_reaches_the_limit,
    space::creating_and_cancelling_in_a_loop_ends_at_the_limit,
    space::what_is_promised_to_all_tenants_has_its_own_bound,
    space::a_create_that_comes_again_is_answered_when_there_is_no_room_any_more,
    uploads::parts_in_the_order_of_the_client_are_a_file,
    uploads::a_part_is_none_before_its_bytes_are_there,
    uploads::a_part_that_was_given_up_cannot_get_ready_and_a_ready_one_stays,
    uploads::another_tenant_has_no_part_in_an_upload,
    uploads::a_completion_that_does_not_fit_changes_nothing,
    uploads::a_completion_without_a_pending_file_changes_nothing,
    uploads::an_upload_that_has_ended_takes_nothing_more,
    uploads::parts_count_from_ready_until_their_upload_ends,
    uploads::a_part_over_what_its_tenant_may_have_does_not_get_ready,
    uploads::an_upload_takes_no_more_bytes_than_it_can_need,
    uploads::an_upload_takes_no_more_parts_than_it_may,
    uploads::a_loop_that_only_creates_uploads_ends,
    uploads::a_file_of_parts_takes_them_with_it,
    uploads::parts_of_an_upload_that_became_no_file_may_go,
    uploads::an_upload_is_forgotten_a_day_after_its_end_and_not_before_its_parts,
    uploads::the_same_key_is_the_same_upload_as_it_is_now,
    uploads::a_part_and_a_completion_are_remembered_by_their_keys,
    space::a_tenant_has_as_many_open_batches_as_it_may,
    space::a_tenant_has_as_many_lines_enqueued_as_it_may,
    keys::a_key_is_taken_from_its_making_until_it_is_revoked,
    keys::a_rotated_key_is_taken_until_its_grace_is_over,
    keys::an_end_is_never_put_off,
    keys::a_key_that_has_ended_is_not_rotated,
    keys::a_rotation_that_fails_ends_nothing,
    keys::the_ring_is_told_again_when_it_has_changed,
    keys::that_there_were_keys_outlasts_all_of_them,
    keys::a_key_says_when_it_was_used_last,
}

//! Batches that end otherwise than they should.

use std::time::Duration;

use ditto_llm::BatchClient as _;

use crate::rig::{Rig, ids, lines};

#[tokio::test]
async fn a_batch_expires_with_a_share_of_its_answers() {
    let rig = Rig::faulty("expires");
    let batch = rig.finish(&lines(100)).await;
    assert_eq!(batch.status.as_str(), "expired");
    assert_eq!(rig.output(&batch).await.len(), 63);
    let errors = rig.errors(&batch).await;
    assert_eq!(errors.len(), 37);
    assert_eq!(errors[0]["error"]["code"], "batch_expired");
    assert_eq!(rig.bill().billed, 63);

    // The next one is well.
    assert_eq!(rig.finish(&lines(2)).await.status.as_str(), "completed");
}

#[tokio::test]
async fn every_batch_expires_before_its_first_line() {
    let rig = Rig::faulty("expires:0:always");
    for _ in 0..2 {
        let batch = rig.finish(&lines(3)).await;
        assert_eq!(
            (batch.status.as_str(), batch.output_file_id),
            ("expired", None)
        );
    }
    assert_eq!(rig.bill().billed, 0);
}

#[tokio::test]
async fn a_batch_fails_without_a_line_or_in_the_middle() {
    let rig = Rig::faulty("fails:internal_error");
    let batch = rig.finish(&lines(4)).await;
    assert_eq!(batch.status.as_str(), "failed");
    assert!(format!("{:?}", batch.errors).contains("internal_error"));
    assert_eq!((rig.bill().billed, batch.output_file_id), (0, None));

    let rig = Rig::faulty("fails-midway");
    let batch = rig.finish(&lines(4)).await;
    assert_eq!(batch.status.as_str(), "failed");
    assert_eq!(ids(&rig.output(&batch).await), ["r0", "r1"]);
    assert_eq!((rig.bill().billed, batch.error_file_id), (2, None));
}

#[tokio::test]
async fn a_stuck_batch_never_ends() {
    for stage in ["validating", "finalizing"] {
        let rig = Rig::slow_faulty(&format!("stuck:{stage}"));
        let batch = rig.create(&lines(4)).await;
        rig.advance_hours(24 * 30);
        assert_eq!(rig.look(&batch.id).await.status.as_str(), stage);
    }
    let rig = Rig::slow_faulty("stuck");
    let batch = rig.create(&lines(4)).await;
    rig.advance_hours(24 * 30);
    assert_eq!(rig.look(&batch.id).await.status.as_str(), "in_progress");
    let batches = rig.files.batches();
    batches.cancel(&batch.id).await.unwrap();
    rig.advance_hours(1);
    assert_eq!(rig.look(&batch.id).await.status.as_str(), "cancelled");
}

#[tokio::test]
async fn a_cancelled_batch_completes_all_the_same() {
    let rig = Rig::slow_faulty("cancel-completes");
    let batch = rig.create(&lines(4)).await;
    rig.advance_hours(2);
    let told = rig.files.batches().cancel(&batch.id).await.unwrap().batch;
    assert_eq!(told.status.as_str(), "cancelling");
    rig.advance_hours(1);
    let batch = rig.look(&batch.id).await;
    assert_eq!(batch.status.as_str(), "completed");
    assert_eq!(rig.output(&batch).await.len(), 4);
    assert_eq!(rig.bill().billed, 4);
}

#[tokio::test]
async fn a_cancellation_takes_long_or_is_refused() {
    let rig = Rig::slow_faulty("cancel-slow:90m");
    let batch = rig.create(&lines(4)).await;
    rig.files.batches().cancel(&batch.id).await.unwrap();
    rig.sim.advance(Duration::from_secs(89 * 60));
    assert_eq!(rig.look(&batch.id).await.status.as_str(), "cancelling");
    rig.sim.advance(Duration::from_secs(60));
    assert_eq!(rig.look(&batch.id).await.status.as_str(), "cancelled");

    rig.fault("cancel-refused");
    let batch = rig.create(&lines(4)).await;
    let seen = rig
        .post(&format!("/v1/batches/{}/cancel", batch.id), "")
        .await;
    assert_eq!(seen.status, 409);
    assert_eq!(rig.look(&batch.id).await.status.as_str(), "validating");
}

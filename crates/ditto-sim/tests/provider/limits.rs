//! Limits that a provider holds a client to.

use ditto_llm::wire::Batch;

use crate::rig::{Rig, line, lines};

fn code(batch: &Batch) -> String {
    format!("{} {:?}", batch.status.as_str(), batch.errors)
}

/// The tokens of one such batch: ten lines of a text.
async fn tokens_of(lines: &str) -> u64 {
    let rig = Rig::plain();
    rig.finish(lines).await;
    rig.bill().prompt_tokens
}

#[tokio::test]
async fn so_many_batches_are_open_at_once() {
    let rig = Rig::slow_faulty("max-open:2");
    let file = rig.upload(&lines(1)).await;
    let statuses = [
        rig.post_batch(&file.id).await.status,
        rig.post_batch(&file.id).await.status,
        rig.post_batch(&file.id).await.status,
    ];
    assert_eq!(statuses, [200, 200, 429]);
    rig.advance_hours(12);
    assert_eq!(rig.post_batch(&file.id).await.status, 200);
}

#[tokio::test]
async fn tokens_beyond_the_limit_are_refused_at_once_until_others_end() {
    let each = tokens_of(&lines(10)).await;
    let limit = each * 2 + 1;
    let rig = Rig::slow_faulty(&format!("tokens-refused:{limit}"));
    let file = rig.upload(&lines(10)).await;
    for status in [200, 200, 400] {
        let seen = rig.post_batch(&file.id).await;
        assert_eq!(seen.status, status);
        assert_eq!(seen.body.contains("token_limit_exceeded"), status == 400);
    }
    rig.advance_hours(12);
    assert_eq!(rig.post_batch(&file.id).await.status, 200);
}

#[tokio::test]
async fn tokens_beyond_the_limit_fail_the_batch_after_its_creation() {
    let each = tokens_of(&lines(10)).await;
    let rig = Rig::slow_faulty(&format!("tokens-failed:{}", each + 1));
    let first = rig.create(&lines(10)).await;
    let second = rig.create(&lines(10)).await;
    rig.advance_hours(1);
    assert_eq!(rig.look(&first.id).await.status.as_str(), "in_progress");
    let told = code(&rig.look(&second.id).await);
    assert!(
        told.starts_with("failed") && told.contains("token_limit_exceeded"),
        "{told}"
    );

    rig.advance_hours(11);
    let third = rig.create(&lines(10)).await;
    rig.advance_hours(12);
    assert_eq!(rig.look(&third.id).await.status.as_str(), "completed");
    assert_eq!(rig.bill().billed, 20);
}

#[tokio::test]
async fn too_many_or_too_long_lines_fail_the_batch() {
    let rig = Rig::faulty("max-lines:3,max-line-bytes:300");
    assert!(code(&rig.finish(&lines(3)).await).starts_with("completed"));
    let told = code(&rig.finish(&lines(4)).await);
    assert!(told.contains("too_many_tasks"), "{told}");
    let long = lines(1) + &line("long", &"x".repeat(300));
    let told = code(&rig.finish(&long).await);
    assert!(
        told.starts_with("failed") && told.contains("300 are allowed"),
        "{told}"
    );
}

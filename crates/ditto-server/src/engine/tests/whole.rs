//! Every line of a batch comes back once.

use ditto_llm::wire::BatchStatus;

use super::rig::{Rig, line_for, lines, number};

#[tokio::test(flavor = "multi_thread")]
async fn all_lines_of_a_large_batch_come_back_in_input_order() {
    let rig = Rig::start().await;
    let id = rig.submit(&lines(3_000)).await;
    let left = rig.ended(&id).await;

    left.is(BatchStatus::Completed);
    left.is_conserved(3_000);
    let names: Vec<_> = left
        .output
        .iter()
        .map(|l| l["custom_id"].as_str().unwrap())
        .collect();
    assert!(
        names
            .iter()
            .zip(1..)
            .all(|(name, n)| *name == format!("c-{n}"))
    );
    assert_eq!(left.batch.error_file_id, None);
    let stats = rig.sim.stats();
    assert_eq!((stats.requests, stats.asked_more_than_once), (3_000, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_usage_of_a_batch_is_the_sum_of_its_answers() {
    let rig = Rig::start().await;
    let id = rig.submit(&lines(100)).await;
    let left = rig.ended(&id).await;

    let sum = |key: &str| -> u64 {
        let usage = left
            .output
            .iter()
            .map(|line| &line["response"]["body"]["usage"][key]);
        usage.map(|tokens| tokens.as_u64().unwrap()).sum()
    };
    let usage = left.batch.usage.as_ref().unwrap();
    assert_eq!(usage.input_tokens, sum("prompt_tokens"));
    assert_eq!(usage.output_tokens, sum("completion_tokens"));
    assert_eq!(usage.total_tokens, sum("total_tokens"));
    assert!(usage.total_tokens > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn blank_lines_a_mark_and_carriage_returns_keep_their_numbers() {
    let rig = Rig::start().await;
    let mut file = "\u{feff}".to_owned();
    let mut expected = Vec::new();
    for n in 1..=120usize {
        match n % 5 {
            0 => file.push_str(" \t\r\n"),
            1 => file.push('\n'),
            _ => {
                file.push_str(line_for("m", n, "say").trim_end());
                file.push_str("\r\n");
                expected.push(n as u64);
            }
        }
    }
    file.push_str(line_for("m", 121, "the last has no line feed").trim_end());
    expected.push(121);
    let id = rig.submit(file.as_bytes()).await;
    let left = rig.ended(&id).await;

    left.is_conserved(expected.len());
    assert_eq!(left.output.iter().map(number).collect::<Vec<_>>(), expected);
    assert!(
        left.output
            .iter()
            .all(|l| l["custom_id"] == format!("c-{}", number(l)))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_model_of_a_file_has_its_lane() {
    let rig = Rig::start().await;
    let models = ["a", "b", "c"];
    let file: String = (1..=60)
        .map(|n| line_for(models[n % 3], n, "say"))
        .collect();
    let id = rig
        .submit_with(file.as_bytes(), |r| r.lenient = Some(true))
        .await;
    let left = rig.ended(&id).await;

    left.is_conserved(60);
    let lanes: Vec<_> = rig
        .service()
        .lanes()
        .into_iter()
        .map(|l| (l.model, l.successes))
        .collect();
    assert_eq!(
        lanes,
        [
            ("a".to_owned(), 20),
            ("b".to_owned(), 20),
            ("c".to_owned(), 20)
        ]
    );
    let asked = |n: usize| &left.output[n - 1]["response"]["body"]["model"];
    assert!((1..=60).all(|n| asked(n) == models[n % 3]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_one_line_is_a_batch() {
    let rig = Rig::start().await;
    let id = rig.submit(&lines(1)).await;
    rig.ended(&id).await.is_conserved(1);
}

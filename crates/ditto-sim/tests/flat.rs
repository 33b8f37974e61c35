//! Memory does not grow with the files. Alone in its process, since it measures the process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::{BufWriter, Write};

use ditto_llm::{
    BatchClient as _, BatchClientExt as _, BatchCreateRequest, FileClient as _, FileUpload,
    OpenAICompatible, WaitPolicy,
};
use ditto_sim::{Sim, SimConfig};

const LINES: usize = 3_000;
const LINE_BYTES: usize = 8_000;
/// Of each of the two files; all that may be held is far less.
const FILE_BYTES: u64 = (LINES * LINE_BYTES) as u64;
const ROOM: u64 = FILE_BYTES / 2;

/// The most memory that this process has had.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kilobytes.parse::<u64>().unwrap() * 1024
}

fn write_input(file: &std::fs::File) {
    let mut file = BufWriter::new(file);
    let text = "x".repeat(LINE_BYTES);
    for n in 0..LINES {
        let body =
            format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{n} {text}"}}]}}"#);
        writeln!(
            file,
            r#"{{"custom_id":"r{n}","method":"POST","url":"/v1/chat/completions","body":{body}}}"#
        )
        .unwrap();
    }
    file.flush().unwrap();
}

#[tokio::test]
async fn large_files_go_through_in_little_memory() {
    let sim = Sim::start(SimConfig {
        answer_bytes: Some(LINE_BYTES as u64),
        ..SimConfig::default()
    })
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.jsonl");
    write_input(&std::fs::File::create(&input).unwrap());
    let files = OpenAICompatible::new("sk").with_base_url(sim.base_url());
    let before = peak();

    let file = files.upload(FileUpload::from_path(&input)).await.unwrap();
    let batches = files.batches();
    let created = batches.create(BatchCreateRequest {
        input_file_id: file.id,
        endpoint: "/v1/chat/completions".into(),
        completion_window: "24h".into(),
        metadata: None,
        provider_options: None,
    });
    let id = created.await.unwrap().batch.id;
    let mut policy = WaitPolicy::default();
    policy.first_pause = std::time::Duration::from_millis(5);
    let batch = batches.wait(&id, policy).await.unwrap();
    let output = folder.path().join("out.jsonl");
    let output_id = batch.output_file_id.unwrap();
    let done = files.download_to(&output_id, &output).await.unwrap();

    assert!(done.bytes >= FILE_BYTES, "{} bytes of output", done.bytes);
    assert_eq!(sim.stats().batches.billed, LINES as u64);
    let grown = peak() - before;
    assert!(grown < ROOM, "memory grew by {grown} bytes");
}

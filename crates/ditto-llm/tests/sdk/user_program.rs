//! The program that this SDK was asked for, compiled letter by letter and run.

use std::process::Command;

use serde_json::json;

use crate::server::{Reply, Server};

#[expect(clippy::print_stdout, reason = "the program is its author's")]
mod program {
    include!("../fixtures/user_program.txt");

    pub(super) fn run() -> ditto_llm::Result<()> {
        main()
    }
}

/// Set in the process that is to be the program.
const CHILD: &str = "DITTO_TEST_RUN_USER_PROGRAM";

/// Not a test by itself: the other one starts it in a process with an environment of its own.
#[test]
fn the_users_program_in_its_own_process() {
    if std::env::var_os(CHILD).is_some() {
        program::run().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_program_compiles_letter_by_letter_and_works() {
    let server = Server::answering(|seen| match seen.target.as_str() {
        "/v1/files" => Reply::ok(json!({"id": "file-77", "object": "file"}).to_string()),
        _ => Reply::ok(json!({"id": "batch_77", "status": "validating"}).to_string()),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("requests.jsonl"),
        "{\"custom_id\":\"a\"}\n",
    )
    .unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args([
            "--exact",
            "--nocapture",
            "user_program::the_users_program_in_its_own_process",
        ])
        .current_dir(folder.path())
        .env(CHILD, "1")
        .env("OPENAI_COMPAT_API_KEY", "sk-1")
        .env("OPENAI_COMPAT_BASE_URL", server.url());

    let output = tokio::task::spawn_blocking(move || child.output())
        .await
        .unwrap()
        .unwrap();

    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        printed.contains("batch_id=batch_77 status=Validating"),
        "{printed}"
    );
    let seen = server.seen();
    assert!(seen[0].text().contains("{\"custom_id\":\"a\"}\n"));
    assert_eq!(seen[1].json()["input_file_id"], "file-77");
}

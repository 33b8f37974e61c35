//! Uploads a file of requests and creates a batch over it.
//!
//! Run with `cargo run -p ditto-llm --example batches -- requests.jsonl`, and a key in
//! `OPENAI_COMPAT_API_KEY` or `OPENAI_API_KEY`.

#![allow(clippy::print_stdout)]

use ditto_llm::{BatchClient, BatchCreateRequest, OpenAICompatible, OpenAICompatibleBatches};

#[tokio::main]
async fn main() -> ditto_llm::Result<()> {
    let api_key = std::env::var("OPENAI_COMPAT_API_KEY")
        .or_else(|_| std::env::var("OPENAI_API_KEY"))
        .map_err(|_| {
            ditto_llm::DittoError::InvalidResponse(
                "missing OPENAI_COMPAT_API_KEY (or fallback OPENAI_API_KEY)".into(),
            )
        })?;

    let base_url = std::env::var("OPENAI_COMPAT_BASE_URL")
        .or_else(|_| std::env::var("OPENAI_BASE_URL"))
        .unwrap_or_else(|_| "https://api.openai.com/v1".to_string());

    let input = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "requests.jsonl".to_string());
    let bytes = std::fs::read(&input)?;

    let uploader = OpenAICompatible::new(api_key.clone()).with_base_url(base_url.clone());
    let input_file_id = uploader
        .upload_file_with_purpose("requests.jsonl", bytes, "batch", Some("application/jsonl"))
        .await?;

    let batches = OpenAICompatibleBatches::new(api_key).with_base_url(base_url);
    let resp = batches
        .create(BatchCreateRequest {
            input_file_id,
            endpoint: "/v1/chat/completions".to_string(),
            completion_window: "24h".to_string(),
            metadata: None,
            provider_options: None,
        })
        .await?;

    println!("batch_id={} status={:?}", resp.batch.id, resp.batch.status);
    Ok(())
}

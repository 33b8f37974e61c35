use ditto_llm::{
    BatchClient as _, FileClient as _, OpenAI, OpenAIBatches, OpenAICompatible,
    OpenAICompatibleBatches,
};
use serde_json::json;

use crate::server::Server;

/// An environment of pairs, so that no test touches the process's own.
fn set<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
    |name| {
        pairs
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.to_string())
    }
}

/// The header that a compatible client sends in this environment.
async fn sent_key(pairs: &[(&str, &str)]) -> String {
    let server = Server::json(json!({"id": "f"})).await;
    let client = OpenAICompatible::from_env_with(set(pairs))
        .unwrap()
        .with_base_url(server.url());
    client.retrieve("f").await.unwrap();
    server.seen()[0]
        .header("authorization")
        .unwrap()
        .to_string()
}

#[tokio::test]
async fn compatible_clients_take_their_own_key_first_then_openais() {
    let both = [
        ("OPENAI_API_KEY", "second"),
        ("OPENAI_COMPAT_API_KEY", "first"),
    ];
    assert_eq!(sent_key(&both).await, "Bearer first");
    assert_eq!(sent_key(&both[..1]).await, "Bearer second");
    assert_eq!(
        sent_key(&[("OPENAI_COMPAT_API_KEY", " "), both[0]]).await,
        "Bearer second"
    );
}

#[tokio::test]
async fn compatible_clients_take_their_own_address_first_then_openais() {
    let (own, other) = (
        Server::json(json!({"id": "x"})).await,
        Server::json(json!({})).await,
    );
    let (own_url, other_url) = (own.url(), other.url());
    let pairs = [
        ("OPENAI_API_KEY", "k"),
        ("OPENAI_BASE_URL", other_url.as_str()),
        ("OPENAI_COMPAT_BASE_URL", own_url.as_str()),
    ];

    let client = OpenAICompatibleBatches::from_env_with(set(&pairs)).unwrap();
    client.retrieve("x").await.unwrap();

    assert_eq!((own.seen().len(), other.seen().len()), (1, 0));
}

#[tokio::test]
async fn openai_clients_read_openais_variables_only() {
    let compat = [
        ("OPENAI_COMPAT_API_KEY", "k"),
        ("OPENAI_COMPAT_BASE_URL", "http://x"),
    ];

    let error = OpenAIBatches::from_env_with(set(&compat)).unwrap_err();

    assert_eq!(
        error.to_string(),
        "no API key: set OPENAI_API_KEY in the environment"
    );
}

#[tokio::test]
async fn openai_clients_send_organization_and_project() {
    let server = Server::json(json!({"id": "f"})).await;
    let url = server.url();
    let pairs = [
        ("OPENAI_API_KEY", "k"),
        ("OPENAI_BASE_URL", url.as_str()),
        ("OPENAI_ORG_ID", "org-1"),
        ("OPENAI_PROJECT_ID", "proj-1"),
    ];

    OpenAI::from_env_with(set(&pairs))
        .unwrap()
        .retrieve("f")
        .await
        .unwrap();

    let seen = &server.seen()[0];
    assert_eq!(seen.header("openai-organization"), Some("org-1"));
    assert_eq!(seen.header("openai-project"), Some("proj-1"));
}

#[test]
fn a_missing_key_names_the_variables() {
    let error = OpenAICompatible::from_env_with(|_| None).unwrap_err();

    assert_eq!(
        error.to_string(),
        "no API key: set OPENAI_COMPAT_API_KEY or OPENAI_API_KEY in the environment"
    );
}

#[test]
fn without_an_address_it_is_openais() {
    let client = OpenAICompatible::from_env_with(set(&[("OPENAI_API_KEY", "k")])).unwrap();

    assert!(
        format!("{client:?}").contains("https://api.openai.com/v1"),
        "{client:?}"
    );
}

#[test]
fn an_address_for_compatible_clients_is_none_for_openais() {
    let pairs = [
        ("OPENAI_API_KEY", "k"),
        ("OPENAI_COMPAT_BASE_URL", "http://elsewhere"),
    ];
    let client = OpenAI::from_env_with(set(&pairs)).unwrap();

    assert!(
        format!("{client:?}").contains("https://api.openai.com/v1"),
        "{client:?}"
    );
}

//! The HTTP face: OpenAI's `/v1/files`, `/v1/uploads` and `/v1/batches`, spelled as OpenAI spells them.
//!
//! A request passes four doors before it reaches its handler: it gets an id ([`exchange`]), its
//! `Host` and `Origin` are looked at ([`guard`]), its key becomes a tenant who may ask so often
//! ([`auth`]), and its route is found (here). Every refusal on the way is a [`error::Failure`].

mod auth;
mod batches;
mod coding;
mod connection;
mod error;
mod exchange;
mod extension;
mod file_form;
mod files;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod guard;
mod held;
mod incoming;
mod json;
mod key_life;
mod listen;
mod models;
mod multipart;
mod once;
mod openapi;
mod ops;
mod paced;
mod params;
mod peer;
mod range;
mod results;
mod socket;
mod threads;
mod tls;
mod unique;
mod uploads;
mod waiting;

use axum::Router;
use axum::http::{Method, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use self::error::Failure;
use crate::service::Service;

pub(crate) use self::guard::check_listener;
pub use self::listen::CONNECTIONS;
pub(crate) use self::listen::serve;
pub(crate) use self::threads::Threads;
pub(crate) use self::tls::Tls;

/// Every route, behind every door.
pub(crate) fn router(service: Service) -> Router {
    let document = openapi::handler(&service.config, service.keys.asked_for());
    Router::new()
        .route("/v1/files", get(files::list).post(files::upload))
        .route("/v1/files/{id}", get(files::retrieve).delete(files::delete))
        .route("/v1/files/{id}/content", get(files::content))
        .route("/v1/uploads", post(uploads::create))
        .route("/v1/uploads/{id}/parts", post(uploads::add_part))
        .route("/v1/uploads/{id}/complete", post(uploads::complete))
        .route("/v1/uploads/{id}/cancel", post(uploads::cancel))
        .route("/v1/batches", get(batches::list).post(batches::create))
        .route("/v1/batches/{id}", get(batches::retrieve))
        .route("/v1/batches/{id}/cancel", post(batches::cancel))
        .route("/v1/batches/{id}/retry", post(batches::retry))
        .route("/v1/batches/{id}/results", get(results::results))
        .route("/v1/models", get(models::list))
        .route("/healthz", get(ops::health))
        .route("/readyz", get(ops::ready))
        .route("/openapi.json", get(document))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(service.clone(), auth::tenant_of_key))
        .layer(from_fn_with_state(service.clone(), guard::refuse_web_pages))
        .layer(from_fn_with_state(
            service.config.clone(),
            exchange::envelope,
        ))
        .with_state(service)
}

async fn unknown_route(method: Method, uri: Uri) -> Failure {
    let path = uri.path();
    let mut message = format!("Invalid URL ({method} {path})");
    if path.starts_with("/v1/v1/") {
        message.push_str(". The path has /v1 twice: let the client's base URL end in one /v1.");
    } else if !path.starts_with("/v1/") {
        message.push_str(". The API is below /v1: let the client's base URL end in /v1.");
    }
    Failure::missing(message).with_code("unknown_url")
}

async fn wrong_method(method: Method, uri: Uri) -> Failure {
    Failure::new(
        error::Problem::WrongMethod,
        format!("Not allowed to {method} on {}", uri.path()),
    )
    .with_code("method_not_allowed")
}

//! What the clients of all providers have in common: settings, files, batches.

/// Settings of a client, and how it shows itself.
macro_rules! client_settings {
    ($name:ident, $profile:expr) => {
        impl $name {
            /// A client with an API key. An empty key sends no `Authorization` header.
            pub fn new(api_key: impl Into<secrecy::SecretString>) -> Self {
                Self {
                    transport: $crate::http::Transport::new($profile, api_key.into()),
                }
            }

            /// A client with key and base URL from the environment; see the type for the names.
            ///
            /// # Errors
            /// [`DittoError::InvalidConfig`](crate::DittoError::InvalidConfig) if there is no key.
            pub fn from_env() -> $crate::Result<Self> {
                Self::from_env_with($crate::env::process)
            }

            /// As [`from_env`](Self::from_env), with variables from elsewhere.
            ///
            /// # Errors
            /// As there.
            pub fn from_env_with(lookup: impl Fn(&str) -> Option<String>) -> $crate::Result<Self> {
                let settings = $crate::env::read($profile, lookup)?;
                let client = Self::new(settings.api_key);
                let client = settings
                    .headers
                    .iter()
                    .fold(client, |client, (name, value)| {
                        client.with_header(name, value)
                    });
                Ok(match settings.base_url {
                    Some(url) => client.with_base_url(url),
                    None => client,
                })
            }

            fn with(self, change: impl FnOnce(&mut $crate::config::Config)) -> Self {
                Self {
                    transport: self.transport.with(change),
                }
            }

            /// Where the API lives, such as `http://localhost:8000/v1`. The `/v1` may be left
            /// out; what cannot be a base URL is told by the first call.
            #[must_use]
            pub fn with_base_url(self, base_url: impl Into<String>) -> Self {
                self.with(|config| config.set_base_url(base_url.into()))
            }

            /// Uses an HTTP client of yours, for proxies, certificates or HTTP/1.1 only. Build it
            /// without redirects (`redirect::Policy::none()`): where they are safe we follow them
            /// ourselves.
            #[must_use]
            pub fn with_http_client(self, client: reqwest::Client) -> Self {
                self.with(|config| config.set_client(client))
            }

            /// Sends a header with every call; never to another host. Its value is kept out of
            /// logs. `authorization` replaces the one made from the key.
            #[must_use]
            pub fn with_header(self, name: &str, value: &str) -> Self {
                self.with(|config| config.add_header(name, value))
            }

            /// Sends a query parameter with every call, such as Azure's `api-version`. With that
            /// one no `/v1` is added to the base URL.
            #[must_use]
            pub fn with_query_param(
                self,
                name: impl Into<String>,
                value: impl Into<String>,
            ) -> Self {
                self.with(|config| config.add_query_param(name.into(), value.into()))
            }

            /// How often calls are repeated, and after what time.
            #[must_use]
            pub fn with_retry(self, retry: $crate::retry::RetryPolicy) -> Self {
                self.with(|config| config.retry = retry)
            }

            /// How long calls may take.
            #[must_use]
            pub fn with_timeouts(self, timeouts: $crate::Timeouts) -> Self {
                self.with(|config| config.set_timeouts(timeouts))
            }

            /// Writes the values of provider options into the audit events too, not only their
            /// keys. What is named like a secret is masked.
            #[must_use]
            pub fn with_option_values_in_audit(self) -> Self {
                self.with(|config| config.audit_values = true)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($name))
                    .field(&self.transport)
                    .finish()
            }
        }
    };
}

/// The files of a provider, over its transport.
macro_rules! file_client {
    ($name:ident) => {
        impl $name {
            /// Uploads bytes and returns the id of the file.
            ///
            /// # Errors
            /// What [`FileClient::upload`](crate::FileClient::upload) returns.
            pub async fn upload_file_with_purpose(
                &self,
                filename: impl Into<String>,
                bytes: impl Into<bytes::Bytes>,
                purpose: impl Into<String>,
                content_type: Option<&str>,
            ) -> $crate::Result<String> {
                let file = $crate::FileUpload::from_bytes(filename, bytes)
                    .purpose(purpose)
                    .content_type(content_type);
                Ok($crate::files::upload(&self.transport, &file).await?.id)
            }
        }

        #[async_trait::async_trait]
        impl $crate::FileClient for $name {
            fn provider(&self) -> &str {
                self.transport.provider()
            }

            async fn upload(&self, file: $crate::FileUpload) -> $crate::Result<$crate::FileObject> {
                $crate::files::upload(&self.transport, &file).await
            }

            async fn list(
                &self,
                query: $crate::ListFiles,
            ) -> $crate::Result<$crate::Page<$crate::FileObject>> {
                $crate::files::list(&self.transport, query).await
            }

            async fn retrieve(&self, file_id: &str) -> $crate::Result<$crate::FileObject> {
                $crate::files::retrieve(&self.transport, file_id).await
            }

            async fn delete(&self, file_id: &str) -> $crate::Result<$crate::DeletedFile> {
                $crate::files::delete(&self.transport, file_id).await
            }

            async fn content(&self, file_id: &str) -> $crate::Result<$crate::Content> {
                $crate::content::open(&self.transport, file_id).await
            }

            async fn download_to(
                &self,
                file_id: &str,
                path: &std::path::Path,
            ) -> $crate::Result<$crate::Download> {
                $crate::download::to_path(&self.transport, file_id, path).await
            }
        }
    };
}

/// The batches of a provider, over its transport.
#[cfg(feature = "batches")]
macro_rules! batch_client {
    ($name:ident, $files:ident) => {
        impl $name {
            /// The files of the same provider, with the same settings and connections.
            pub fn files(&self) -> $files {
                $files {
                    transport: self.transport.clone(),
                }
            }
        }

        impl $files {
            /// The batches of the same provider, with the same settings and connections.
            pub fn batches(&self) -> $name {
                $name {
                    transport: self.transport.clone(),
                }
            }
        }

        #[async_trait::async_trait]
        impl $crate::BatchClient for $name {
            fn provider(&self) -> &str {
                self.transport.provider()
            }

            async fn create_with(
                &self,
                request: $crate::BatchCreateRequest,
                options: $crate::CreateOptions,
            ) -> $crate::Result<$crate::BatchResponse> {
                $crate::batches::create(&self.transport, request, options).await
            }

            async fn retrieve(&self, batch_id: &str) -> $crate::Result<$crate::BatchResponse> {
                $crate::batches::retrieve(&self.transport, batch_id).await
            }

            async fn cancel(&self, batch_id: &str) -> $crate::Result<$crate::BatchResponse> {
                $crate::batches::cancel(&self.transport, batch_id).await
            }

            async fn list(
                &self,
                limit: Option<u32>,
                after: Option<String>,
            ) -> $crate::Result<$crate::BatchListResponse> {
                $crate::batches::list(&self.transport, limit, after).await
            }
        }
    };
}

#[cfg(feature = "batches")]
pub(crate) use batch_client;
pub(crate) use client_settings;
pub(crate) use file_client;

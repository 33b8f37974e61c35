//! TLS, by a certificate and a key in two files.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::config::TlsFiles;
use crate::error::{Error, ErrorKind, Result};

/// A client that takes longer for its handshake is holding the connection, not using it.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Certificates are renewed by others, weeks before they expire. What they left is taken this soon.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// What is spoken inside.
const PROTOCOL: &[u8] = b"http/1.1";

/// The certificate in use.
pub(crate) struct Tls {
    files: TlsFiles,
    in_use: Mutex<InUse>,
}

struct InUse {
    acceptor: TlsAcceptor,
    /// Of the files that it was read from.
    stamps: Stamps,
    /// Of files that could not be used, and were complained of.
    refused: Option<Stamps>,
}

/// When each file was changed, and its length.
type Stamps = [(SystemTime, u64); 2];

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl TlsFiles {
    /// Whether a server could use these files.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] with a sentence that says which is not as it should be,
    /// [`ErrorKind::Missing`] if one is not there.
    pub fn check(&self) -> Result<()> {
        read(self).map(drop)
    }
}

impl Tls {
    pub(crate) fn open(files: &TlsFiles) -> Result<Self> {
        // Before the files are read: what changes meanwhile is seen at the first look.
        let stamps = stamps(files)?;
        Ok(Self {
            files: files.clone(),
            in_use: Mutex::new(InUse {
                acceptor: read(files)?,
                stamps,
                refused: None,
            }),
        })
    }

    /// What a client says inside; an error if it does not come to that in time.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = self.lock().acceptor.clone();
        timeout(HANDSHAKE, acceptor.accept(stream)).await?
    }

    /// Takes renewed files as they come, until `stop`.
    pub(crate) async fn watch(&self, stop: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = looks.tick() => self.look(),
            }
        }
    }

    /// Reads the files again if they have changed. If they do not fit, as in the middle of a renewal,
    /// those before stay in use.
    fn look(&self) {
        let Ok(now) = stamps(&self.files) else {
            // Renamed away for the moment, or for good: then the next start says so.
            return;
        };
        let mut in_use = self.lock();
        if in_use.stamps == now {
            return;
        }
        match read(&self.files) {
            Ok(acceptor) => {
                *in_use = InUse {
                    acceptor,
                    stamps: now,
                    refused: None,
                };
                tracing::info!(target: "ditto_server::http", "the renewed certificate is in use");
            }
            Err(error) if in_use.refused != Some(now) => {
                in_use.refused = Some(now);
                tracing::error!(target: "ditto_server::http", %error, "the renewed certificate cannot be used; the one before is, and the files are looked at again");
            }
            Err(_) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, InUse> {
        // It is replaced in one step.
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamps(files: &TlsFiles) -> Result<Stamps> {
    let stamp = |path: &Path| {
        let found = fs::metadata(path).map_err(|e| unread(path, &e.to_string(), e.kind()))?;
        let changed = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        Ok::<_, Error>((changed, found.len()))
    };
    Ok([stamp(&files.cert)?, stamp(&files.key)?])
}

fn read(files: &TlsFiles) -> Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| unreadable(&files.cert, &e))?;
    if chain.is_empty() {
        return Err(unreadable(&files.cert, &pem::Error::NoItemsFound));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| unreadable(&files.key, &e))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::internal(format!("TLS has no version of its protocol: {e}")))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| {
            let (cert, key) = (files.cert.display(), files.key.display());
            Error::invalid(format!(
                "the certificate {cert} and the key {key} cannot be used together: {e}"
            ))
        })?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn unreadable(path: &Path, error: &pem::Error) -> Error {
    match error {
        pem::Error::Io(e) => unread(path, &e.to_string(), e.kind()),
        pem::Error::NoItemsFound => Error::invalid(format!(
            "there is nothing for TLS in {}: give a PEM file with a certificate chain, and one with its private key",
            path.display()
        )),
        other => unread(path, &format!("{other:?}"), io::ErrorKind::InvalidData),
    }
}

/// Without anything of what stands in it.
fn unread(path: &Path, why: &str, kind: io::ErrorKind) -> Error {
    let kind = match kind {
        io::ErrorKind::NotFound => ErrorKind::Missing,
        _ => ErrorKind::Invalid,
    };
    Error::new(
        kind,
        format!("cannot read {} for TLS: {why}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/tls")
            .join(name)
    }

    fn copied(folder: &Path, cert: &str, key: &str) -> TlsFiles {
        let files = TlsFiles {
            cert: folder.join("cert.pem"),
            key: folder.join("key.pem"),
        };
        fs::copy(fixture(cert), &files.cert).unwrap();
        fs::copy(fixture(key), &files.key).unwrap();
        files
    }

    /// Copies, so that the time of change is another one however coarse the file system is.
    fn renew(path: &Path, name: &str) {
        fs::copy(fixture(name), path).unwrap();
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(fastrand::u64(1..1_000_000_000));
        fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(later)
            .unwrap();
    }

    #[test]
    fn a_renewed_pair_is_taken_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let files = copied(folder.path(), "first-cert.pem", "first-key.pem");
        let tls = Tls::open(&files).unwrap();
        let in_use = || Arc::as_ptr(tls.lock().acceptor.config());
        let first = in_use();
        tls.look();
        assert_eq!(in_use(), first, "nothing has changed");
        renew(&files.cert, "second-cert.pem");
        tls.look();
        assert_eq!(in_use(), first, "only half of it is new");
        renew(&files.key, "second-key.pem");
        tls.look();
        assert_ne!(in_use(), first);
    }

    #[test]
    fn what_cannot_be_used_is_said_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let good = copied(folder.path(), "first-cert.pem", "first-key.pem");
        assert!(good.check().is_ok());
        let mixed = copied(folder.path(), "first-cert.pem", "second-key.pem");
        let error = mixed.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains("together"), "{error}");
        let swapped = TlsFiles {
            cert: mixed.key.clone(),
            key: mixed.cert,
        };
        let error = swapped.check().unwrap_err();
        assert!(error.message().contains("nothing for TLS"), "{error}");
        let gone = TlsFiles {
            cert: folder.path().join("none.pem"),
            key: mixed.key,
        };
        assert_eq!(gone.check().unwrap_err().kind(), ErrorKind::Missing);
    }
}

//! How a body is coded on its way: not at all.

use axum::http::{HeaderMap, HeaderValue, header};

use super::error::{Answer, Failure, Problem};

/// Refuses a body that its client has compressed: nobody here unpacks it, and its bytes are not what the
/// client means.
pub(super) fn expect_plain(headers: &HeaderMap) -> Answer<()> {
    let content = headers.get_all(header::CONTENT_ENCODING).iter();
    let content = content.filter(|coding| !is(coding, "identity"));
    // Chunks are undone before a request comes here.
    let transfer = headers.get_all(header::TRANSFER_ENCODING).iter();
    let mut coded = content.chain(transfer.filter(|coding| !is(coding, "chunked")));
    let Some(coding) = coded.next() else {
        return Ok(());
    };
    let coding = String::from_utf8_lossy(coding.as_bytes());
    Err(Failure::new(
        Problem::WrongMediaType,
        format!("Unsupported encoding of the body: '{coding}'. Send it as it is, not compressed."),
    )
    .with_code("unsupported_content_encoding")
    .with_header(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    ))
}

fn is(coding: &HeaderValue, name: &str) -> bool {
    coding
        .as_bytes()
        .trim_ascii()
        .eq_ignore_ascii_case(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_comes_as_it_is_or_in_chunks() {
        let (content, transfer) = (header::CONTENT_ENCODING, header::TRANSFER_ENCODING);
        let table = [
            (&content, "identity", true),
            (&content, "Identity ", true),
            (&content, "gzip", false),
            (&content, "identity, gzip", false),
            (&content, "", false),
            (&transfer, "chunked", true),
            (&transfer, "Chunked", true),
            (&transfer, "gzip, chunked", false),
        ];
        for (name, coding, taken) in table {
            let headers = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static(coding))]);
            assert_eq!(expect_plain(&headers).is_ok(), taken, "{name}: {coding}");
        }
        assert!(expect_plain(&HeaderMap::new()).is_ok());
    }
}

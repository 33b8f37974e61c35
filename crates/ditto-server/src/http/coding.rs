//! How a body, or a part of one, is coded on its way: not at all.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::error::{Answer, Failure, Problem};

/// Of mail; of a form nobody should send it, and some do.
const CONTENT_TRANSFER_ENCODING: HeaderName = HeaderName::from_static("content-transfer-encoding");
/// Its values under which bytes stay what they are.
const AS_THEY_ARE: [&str; 3] = ["7bit", "8bit", "binary"];

/// Refuses a body that its client has compressed: nobody here unpacks it, and its bytes are not what the
/// client means.
pub(super) fn expect_plain(headers: &HeaderMap) -> Answer<()> {
    let content = coding(headers, header::CONTENT_ENCODING, &["identity"]);
    // Chunks are undone before a request comes here.
    let transfer = || coding(headers, header::TRANSFER_ENCODING, &["chunked"]);
    match content.or_else(transfer) {
        None => Ok(()),
        Some(coding) => Err(refused(format!(
            "Unsupported encoding of the body: '{coding}'. Send it as it is, not compressed."
        ))
        .with_header(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        )),
    }
}

/// The same for a part of a form, which has headers of its own.
pub(super) fn expect_plain_part(name: &str, headers: &HeaderMap) -> Answer<()> {
    let content = coding(headers, header::CONTENT_ENCODING, &["identity"]);
    let transfer = || coding(headers, CONTENT_TRANSFER_ENCODING, &AS_THEY_ARE);
    match content.or_else(transfer) {
        None => Ok(()),
        Some(coding) => Err(refused(format!(
            "Unsupported encoding of the part '{name}': '{coding}'. Send it as it is, neither compressed \
             nor written as text."
        ))
        .with_param(name.to_owned())),
    }
}

/// What this header says that is none of these.
fn coding(headers: &HeaderMap, name: HeaderName, plain: &[&str]) -> Option<String> {
    let mut given = headers.get_all(name).into_iter();
    let coding = given.find(|given| !plain.iter().any(|plain| is(given, plain)))?;
    Some(String::from_utf8_lossy(coding.as_bytes()).into_owned())
}

fn refused(message: String) -> Failure {
    Failure::new(Problem::WrongMediaType, message).with_code("unsupported_content_encoding")
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

    #[test]
    fn a_part_of_a_form_comes_as_it_is() {
        let (content, transfer) = (header::CONTENT_ENCODING, CONTENT_TRANSFER_ENCODING);
        let table = [
            (&content, "identity", true),
            (&content, "gzip", false),
            (&transfer, "binary", true),
            (&transfer, "8BIT ", true),
            (&transfer, "7bit", true),
            (&transfer, "base64", false),
            (&transfer, "Quoted-Printable", false),
            (&transfer, "", false),
        ];
        for (name, coding, taken) in table {
            let headers = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static(coding))]);
            let part = expect_plain_part("file", &headers);
            assert_eq!(part.is_ok(), taken, "{name}: {coding}");
        }
        assert!(expect_plain_part("file", &HeaderMap::new()).is_ok());
    }
}

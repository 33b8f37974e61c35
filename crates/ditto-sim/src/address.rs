//! Where a path of the API begins. Pure.

/// The first words of all paths of the API.
const WORDS: [&str; 8] = [
    "batches",
    "chat",
    "completions",
    "embeddings",
    "files",
    "models",
    "moderations",
    "responses",
];

/// The path behind whatever a provider has before its API: `/v1`, `/api/paas/v4`, `/v1/openai`, nothing.
pub(crate) fn below_prefix(path: &str) -> Option<&str> {
    let mut rest = path.strip_prefix('/')?;
    loop {
        let (first, behind) = match rest.split_once('/') {
            Some((first, behind)) => (first, Some(behind)),
            None => (rest, None),
        };
        if WORDS.contains(&first) {
            return Some(rest);
        }
        rest = behind?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_stands_before_the_api_is_left_out() {
        for (path, expected) in [
            ("/v1/files/f/content", Some("files/f/content")),
            ("/api/paas/v4/chat/completions", Some("chat/completions")),
            ("/v1/openai/batches", Some("batches")),
            ("/embeddings", Some("embeddings")),
            ("/v1/completions/files", Some("completions/files")),
            ("/sim/stats", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(below_prefix(path), expected, "{path}");
        }
    }
}

//! What stands in a URL: ids, limits and cursors.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::error::{Answer, Failure};

/// Bytes of an id in a path or a query. Ours have 30; nothing longer is looked for.
const MAX_ID: usize = 256;

/// The id in a path. It is no more than what is looked for, with the tenant's name, in the catalog: what
/// it names on the disk is told by the row that was found.
#[derive(Debug)]
pub(super) struct Id(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let id: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        match id {
            Ok(Path(id)) if id.len() > MAX_ID => Err(too_long("The id in the URL")),
            Ok(Path(id)) => Ok(Self(id)),
            Err(_) => Err(Failure::invalid("The id in the URL is not valid UTF-8.")),
        }
    }
}

/// The query of a URL, refused in the envelope.
#[derive(Debug)]
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let query: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        match query {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => Err(unread(&rejection.body_text())),
        }
    }
}

/// The refusal of a query. Its values are texts, whatever they are: nothing can be wrong with them here
/// but that a name stands twice, which the reader puts between backticks.
fn unread(why: &str) -> Failure {
    match why.split('`').nth(1) {
        Some(name) => Failure::invalid(format!("The query has more than one '{name}'."))
            .with_param(name.to_owned()),
        None => Failure::invalid(format!("Invalid query: {why}.")),
    }
}

/// How many objects a page may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageSize {
    pub(super) default: u32,
    pub(super) max: u32,
}

impl PageSize {
    /// The value of `limit`.
    pub(super) fn of(self, limit: Option<&str>) -> Answer<u32> {
        let Some(limit) = limit else {
            return Ok(self.default);
        };
        let given = integer("limit", limit)?;
        let number = in_bounds("limit", &given, 1, i64::from(self.max))?;
        Ok(u32::try_from(number).expect("within bounds that are u32"))
    }
}

/// A whole number, as a client has given it.
#[derive(Debug)]
pub(super) struct Whole {
    /// One that is too large to be held is as large as can be.
    pub(super) number: i64,
    /// By which its client knows it again.
    pub(super) spelled: String,
}

/// Digits with a sign or without.
pub(super) fn whole(text: &str) -> Option<Whole> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let too_large = match text.starts_with('-') {
        true => i64::MIN,
        false => i64::MAX,
    };
    is_number.then(|| Whole {
        number: text.parse().unwrap_or(too_large),
        spelled: text.to_owned(),
    })
}

/// A text in a query, such as a cursor. An empty one is none: some clients always send it.
pub(super) fn given(name: &'static str, text: Option<String>) -> Answer<Option<String>> {
    match text.filter(|text| !text.is_empty()) {
        Some(text) if text.len() > MAX_ID => Err(too_long(&format!("'{name}'")).with_param(name)),
        text => Ok(text),
    }
}

fn too_long(what: &str) -> Failure {
    Failure::invalid(format!("{what} is longer than {MAX_ID} bytes."))
        .with_code("string_above_max_length")
}

/// A number in a query.
pub(super) fn integer(name: &str, text: &str) -> Answer<Whole> {
    whole(text).ok_or_else(|| {
        Failure::invalid(format!(
            "Invalid type for '{name}': expected an integer, but got '{text}' instead."
        ))
        .with_param(name.to_owned())
        .with_code("invalid_type")
    })
}

/// OpenAI's words for a number that is too small or too large.
pub(super) fn in_bounds(name: &str, given: &Whole, min: i64, max: i64) -> Answer<i64> {
    let Whole {
        number,
        ref spelled,
    } = *given;
    let (code, what, sign, bound) = if number < min {
        ("integer_below_min_value", "below minimum", ">=", min)
    } else if number > max {
        ("integer_above_max_value", "above maximum", "<=", max)
    } else {
        return Ok(number);
    };
    Err(Failure::invalid(format!(
        "Invalid '{name}': integer {what} value. Expected a value {sign} {bound}, but got {spelled} instead."
    ))
    .with_param(name.to_owned())
    .with_code(code))
}

/// OpenAI's words for a value that is none of those it knows.
pub(super) fn unknown_value(name: &str, value: &str, known: &[&str]) -> Failure {
    let known: Vec<String> = known.iter().map(|value| format!("'{value}'")).collect();
    let spoken = match known.as_slice() {
        [rest @ .., last] if rest.len() > 1 => format!("{}, and {last}", rest.join(", ")),
        few => few.join(" and "),
    };
    Failure::invalid(format!(
        "Invalid value: '{value}'. Supported values are: {spoken}."
    ))
    .with_param(name.to_owned())
    .with_code("invalid_value")
}

/// OpenAI's words for what is not there.
pub(super) fn missing(name: &str) -> Failure {
    Failure::invalid(format!("Missing required parameter: '{name}'."))
        .with_param(name.to_owned())
        .with_code("missing_required_parameter")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_digits_however_many() {
        let table = [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("007", Some(7)),
            ("99999999999999999999", Some(i64::MAX)),
            ("-99999999999999999999", Some(i64::MIN)),
            ("", None),
            ("-", None),
            ("+5", None),
            (" 5", None),
            ("1.0", None),
            ("1e3", None),
            ("\u{665}", None),
        ];
        for (text, expected) in table {
            let number = whole(text).map(|whole| whole.number);
            assert_eq!(number, expected, "{text}");
        }
    }
}

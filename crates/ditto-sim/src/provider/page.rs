//! Pages of a list: which objects a page holds, and how it is told.

use serde_json::{Value, json};

/// What a query asks of a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) after: Option<String>,
    pub(crate) cursor: Option<String>,
    pub(crate) limit: Option<usize>,
    pub(crate) purpose: Option<String>,
    pub(crate) oldest_first: bool,
}

impl Wanted {
    pub(crate) fn read(query: &str) -> Self {
        let mut wanted = Self::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "after" => wanted.after = Some(value.into()),
                "cursor" => wanted.cursor = Some(value.into()),
                "limit" => wanted.limit = value.parse().ok(),
                "purpose" => wanted.purpose = Some(value.into()),
                "order" => wanted.oldest_first = value == "asc",
                _ => {}
            }
        }
        wanted
    }

    /// The id that the page comes after, told `by` an id or by how many were listed.
    pub(crate) fn place<'a>(&'a self, by: &str, ids: &'a [String]) -> Option<&'a str> {
        match by {
            "cursor" => self.cursor.as_deref(),
            "offset" => {
                let listed: usize = self.after.as_deref()?.parse().ok()?;
                Some(ids.get(listed.checked_sub(1)?)?)
            }
            _ => self.after.as_deref(),
        }
    }
}

/// The ids of one page, and whether more follow.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) ids: Vec<String>,
    pub(crate) has_more: bool,
}

/// The page of `ids`, which are in the order of the list; nothing if `after` is none of them.
pub(crate) fn page(ids: &[String], after: Option<&str>, limit: usize) -> Option<Page> {
    let start = match after {
        None => 0,
        Some(after) => ids.iter().position(|id| id == after)? + 1,
    };
    let end = (start + limit.max(1)).min(ids.len());
    Some(Page {
        ids: ids[start..end].to_vec(),
        has_more: end < ids.len(),
    })
}

pub(crate) fn list(data: Vec<Value>, has_more: bool) -> Value {
    let id = |object: Option<&Value>| object.map(|object| object["id"].clone());
    let (first, last) = (id(data.first()), id(data.last()));
    json!({
        "object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more,
    })
}

/// One that says by a cursor alone that more follow.
pub(crate) fn list_with_cursor(data: Vec<Value>, has_more: bool) -> Value {
    let next = data.last().map(|object| object["id"].clone());
    json!({"object": "list", "data": data, "paging": {"next_cursor": next.filter(|_| has_more)}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_one_another() {
        let ids: Vec<String> = ["c", "b", "a"].map(String::from).to_vec();
        let first = page(&ids, None, 2).unwrap();
        assert_eq!((first.ids.join(""), first.has_more), ("cb".into(), true));
        let second = page(&ids, Some("b"), 2).unwrap();
        assert_eq!((second.ids.join(""), second.has_more), ("a".into(), false));
        assert_eq!(page(&ids, Some("x"), 2), None);
        assert_eq!(page(&[], None, 2).unwrap().ids.len(), 0);
    }
}

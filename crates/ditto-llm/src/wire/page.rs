//! One page of a list.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::lenient;

/// One page of a list, newest first. A bare JSON list is read as the only page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "schema",
    schemars(rename = "PageOf{T}", description = "One page of a list.")
)]
pub struct Page<T> {
    /// Always `list`.
    #[cfg_attr(feature = "schema", schemars(extend("const" = "list")))]
    pub object: String,
    /// The objects of this page.
    pub data: Vec<T>,
    /// Id of the first object; none on an empty page.
    pub first_id: Option<String>,
    /// Id of the last object, the cursor for the next page.
    pub last_id: Option<String>,
    /// Whether there is another page.
    pub has_more: bool,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self {
            object: object_list(),
            data: Vec::new(),
            first_id: None,
            last_id: None,
            has_more: false,
        }
    }
}

fn object_list() -> String {
    "list".to_owned()
}

#[derive(Deserialize)]
struct Listed<T> {
    #[serde(default = "object_list", deserialize_with = "lenient::plain_text")]
    object: String,
    #[serde(default = "none")]
    data: Option<Vec<T>>,
    #[serde(default, deserialize_with = "lenient::text")]
    first_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::text")]
    last_id: Option<String>,
    #[serde(default)]
    has_more: Option<bool>,
}

fn none<T>() -> Option<Vec<T>> {
    None
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Page<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PageVisitor(PhantomData))
    }
}

struct PageVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for PageVisitor<T> {
    type Value = Page<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list object or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Page<T>, A::Error> {
        let listed = Listed::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Page {
            object: listed.object,
            data: listed.data.unwrap_or_default(),
            first_id: listed.first_id,
            last_id: listed.last_id,
            has_more: listed.has_more.unwrap_or(false),
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Page<T>, A::Error> {
        let data = Vec::deserialize(SeqAccessDeserializer::new(list))?;
        Ok(Page {
            data,
            ..Page::default()
        })
    }
}

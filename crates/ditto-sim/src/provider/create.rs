//! What a client asks for when it creates a batch.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::ask::Endpoint;
use crate::envelope::Complaint;
use crate::provider::batch::{Order, window};

const ENDPOINTS: &str = "'/v1/chat/completions', '/v1/completions', '/v1/embeddings', \
                         '/v1/responses' and '/v1/moderations'";

impl Order {
    pub(crate) fn read(body: &[u8]) -> Result<Self, Complaint> {
        let Ok(Value::Object(asked)) = serde_json::from_slice(body) else {
            return Err(Complaint::invalid(
                "We could not parse the JSON body of your request.",
            ));
        };
        let endpoint = text(&asked, "endpoint")?;
        let asks = Endpoint::at(&endpoint).ok_or_else(|| {
            let message =
                format!("Invalid value: '{endpoint}'. Supported values are: {ENDPOINTS}.");
            Complaint::invalid(message)
                .with_param("endpoint")
                .with_code("invalid_value")
        })?;
        let completion_window = text(&asked, "completion_window")?;
        if window(&completion_window).is_none() {
            let message = format!(
                "Invalid value: '{completion_window}'. Supported values of completion_window are \
                 '24h' and other numbers of seconds, minutes, hours or days."
            );
            return Err(Complaint::invalid(message)
                .with_param("completion_window")
                .with_code("invalid_value"));
        }
        Ok(Self {
            input_file_id: text(&asked, "input_file_id")?,
            endpoint,
            asks,
            window: completion_window,
            metadata: metadata(asked.get("metadata"))?,
        })
    }
}

fn text(asked: &Map<String, Value>, name: &'static str) -> Result<String, Complaint> {
    let text = asked.get(name).and_then(Value::as_str);
    text.map(String::from).ok_or_else(|| {
        Complaint::invalid(format!("Missing required parameter: '{name}'."))
            .with_param(name)
            .with_code("missing_required_parameter")
    })
}

fn metadata(given: Option<&Value>) -> Result<Option<BTreeMap<String, String>>, Complaint> {
    const MAX: usize = 16;
    let bad = |what: String| {
        Complaint::invalid(format!("Invalid type for 'metadata': {what}."))
            .with_param("metadata")
            .with_code("invalid_type")
    };
    let map = match given {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(map)) => map,
        Some(_) => return Err(bad("expected an object".into())),
    };
    if map.len() > MAX {
        return Err(bad(format!("expected at most {MAX} pairs")));
    }
    let pair = |(key, value): (&String, &Value)| match value.as_str() {
        Some(value) if key.len() <= 64 && value.len() <= 512 => Ok((key.clone(), value.into())),
        _ => Err(bad(format!(
            "`{key}` must be a string of at most 512 characters"
        ))),
    };
    map.iter().map(pair).collect::<Result<_, _>>().map(Some)
}

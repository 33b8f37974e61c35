//! A batch told otherwise than it is. Pure, on the JSON of the batch.

use std::time::Duration;

use serde_json::{Value, json};

use crate::provider::fault::ProviderFault as Fault;
use crate::provider::mischief::Plight;

const FILE_IDS: [&str; 2] = ["output_file_id", "error_file_id"];

/// Tells it as its plight says; `ended` is how long ago it ended.
pub(crate) fn disguise(told: &mut Value, plight: &Plight, ended: Option<Duration>) {
    file_ids(told, plight, ended);
    counts(told, plight);
    usage(told, plight);
    status(told, plight);
    if plight.has(Fault::MetadataNone) {
        told["metadata"] = Value::Null;
    }
    if plight.has(Fault::TimesIso) {
        times(told);
    }
}

fn file_ids(told: &mut Value, plight: &Plight, ended: Option<Duration>) {
    let late = plight.measure(Fault::IdsLate).map(|late| late.span());
    if late.is_some_and(|late| ended.is_none_or(|ended| ended < late)) {
        for name in FILE_IDS {
            told[name] = Value::Null;
        }
    }
    if plight.has(Fault::OutputNull) {
        told["output_file_id"] = Value::Null;
    }
    if plight.has(Fault::IdsEmpty) {
        for name in FILE_IDS {
            if told[name].is_null() {
                told[name] = json!("");
            }
        }
    }
}

fn counts(told: &mut Value, plight: &Plight) {
    let total = told["request_counts"]["total"].clone();
    if plight.has(Fault::CountsNone) {
        told["request_counts"] = Value::Null;
    } else if plight.has(Fault::CountsZero) {
        told["request_counts"] = json!({"total": 0, "completed": 0, "failed": 0});
    } else if plight.has(Fault::CountsRosy) {
        told["request_counts"] = json!({"total": total, "completed": total, "failed": 0});
    }
}

fn usage(told: &mut Value, plight: &Plight) {
    if plight.has(Fault::UsageNone) {
        told["usage"] = Value::Null;
    } else if plight.has(Fault::UsageDoubled) && told["usage"].is_object() {
        for name in ["input_tokens", "output_tokens", "total_tokens"] {
            let tokens = told["usage"][name].as_u64().unwrap_or_default();
            told["usage"][name] = json!(tokens * 2);
        }
    }
}

fn status(told: &mut Value, plight: &Plight) {
    let instead = match told["status"].as_str() {
        Some("in_progress") => plight.measure(Fault::StatusUnknown),
        Some("completed") => plight.measure(Fault::EndUnknown),
        _ => None,
    };
    if let Some(word) = instead {
        told["status"] = json!(word.word());
    }
    if plight.has(Fault::StatusUpper) {
        let upper = told["status"].as_str().unwrap_or_default().to_uppercase();
        told["status"] = json!(upper);
    }
}

fn times(told: &mut Value) {
    let Some(fields) = told.as_object_mut() else {
        return;
    };
    for (name, value) in fields {
        if let (true, Some(time)) = (name.ends_with("_at"), value.as_u64()) {
            *value = json!(iso(time));
        }
    }
}

/// Seconds since 1970 as `2026-01-31T08:05:09Z`.
fn iso(unix: u64) -> String {
    let (days, second) = (unix / 86_400, unix % 86_400);
    // Days are counted from the 1st of March of the year 0, so that leap days end a year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_times_are_right_on_leap_days_and_at_turns_of_the_year() {
        assert_eq!(iso(0), "1970-01-01T00:00:00Z");
        assert_eq!(iso(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(iso(1_709_251_199), "2024-02-29T23:59:59Z");
        assert_eq!(iso(1_735_689_600), "2025-01-01T00:00:00Z");
    }
}

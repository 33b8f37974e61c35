//! An answer changed as a fault says. Pure, on its bytes.

use memchr::memmem;

use crate::provider::fault::ProviderFault as Fault;

/// Characters at which naive readers end a line, though JSON allows them within one.
const SEPARATORS: &str = "\u{2028}\u{2029}\u{85}";
const TEXT: &str = r#""content":""#;
const TEXT_END: &str = r#"","refusal":null"#;
const STOP: &str = r#""finish_reason":"stop""#;

/// Whether the fault changes what a chat answer says, and leaves it a sound answer.
pub(crate) fn chat(body: &mut Vec<u8>, fault: Fault) {
    match fault {
        Fault::LineTruncated => replace(body, STOP, r#""finish_reason":"length""#),
        Fault::LineSilent => without_text(body),
        Fault::LineRefused => {
            without_text(body);
            replace(
                body,
                r#""refusal":null"#,
                r#""refusal":"I cannot help with that.""#,
            );
        }
        _ => {}
    }
}

pub(crate) fn with_separators(body: &mut Vec<u8>) {
    replace(body, TEXT, &format!("{TEXT}{SEPARATORS}"));
    replace(
        body,
        r#""simulated":true"#,
        &format!(r#""simulated":true,"note":"{SEPARATORS}""#),
    );
}

fn without_text(body: &mut Vec<u8>) {
    let Some(start) = memmem::find(body, TEXT.as_bytes()) else {
        return;
    };
    let start = start + TEXT.len();
    if let Some(length) = memmem::find(&body[start..], TEXT_END.as_bytes()) {
        body.drain(start..start + length);
    }
}

fn replace(body: &mut Vec<u8>, old: &str, new: &str) {
    if let Some(at) = memmem::find(body, old.as_bytes()) {
        body.splice(at..at + old.len(), new.bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str =
        r#"{"message":{"content":"hi","refusal":null},"finish_reason":"stop","simulated":true}"#;

    fn spoilt(fault: Fault) -> String {
        let mut body = ANSWER.as_bytes().to_vec();
        chat(&mut body, fault);
        String::from_utf8(body).unwrap()
    }

    #[test]
    fn a_chat_answer_says_what_its_fault_says() {
        assert!(spoilt(Fault::LineTruncated).contains(r#""finish_reason":"length""#));
        assert!(spoilt(Fault::LineSilent).contains(r#""content":"","refusal":null"#));
        assert!(spoilt(Fault::LineRefused).contains(r#""content":"","refusal":"I cannot"#));
        assert_eq!(spoilt(Fault::LineLost), ANSWER);
    }

    #[test]
    fn separators_leave_it_json() {
        let mut body = ANSWER.as_bytes().to_vec();
        with_separators(&mut body);
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(json["message"]["content"], format!("{SEPARATORS}hi"));
    }
}

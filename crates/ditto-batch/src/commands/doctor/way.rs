//! The way to an endpoint: proxies that would catch it, whether it answers, takes the key, and what
//! time it has.

use ditto_server::Probed;
use serde_json::Value;

use super::finding::Finding;
use crate::exit;

/// Clocks of two machines may differ by this much, and an answer takes a moment.
const SKEW_SECONDS: i64 = 30;

/// An endpoint that was asked for its models.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    /// `upstream gpu`, `server`.
    pub(super) check: &'a str,
    pub(super) url: &'a str,
    pub(super) with_key: bool,
    /// The models that it is meant to serve.
    pub(super) models: &'a [String],
}

/// Whether it can be worked with.
pub(super) fn judge(asked: &Asked<'_>, probed: &Probed) -> Finding {
    let Asked { check, url, .. } = *asked;
    match probed {
        Probed::Answered {
            status: 200..=299,
            body,
            ..
        } => judge_models(asked, body.as_ref()),
        Probed::Answered {
            status, location, ..
        } => judge_status(asked, *status, location.as_deref()),
        Probed::Unreachable { reason } => Finding::bad(
            check,
            exit::AWAY,
            format!("{url} does not answer: {reason}"),
            "start it, or look at host, port and firewall; nothing is lost meanwhile",
        ),
        _ => Finding::warn(
            check,
            format!("{url} answers in a way that is not known"),
            "look at the address",
        ),
    }
}

fn judge_models(asked: &Asked<'_>, body: Option<&Value>) -> Finding {
    let Asked {
        check, url, models, ..
    } = *asked;
    let list = body
        .and_then(|body| body.get("data"))
        .and_then(Value::as_array);
    let Some(list) = list else {
        return Finding::warn(
            check,
            format!("{url} answers, but its /v1/models is no list of models"),
            "look at the address: something else may answer there",
        );
    };
    let has = |model: &&String| list.iter().any(|entry| entry["id"] == ***model);
    let missing: Vec<_> = models.iter().filter(|model| !has(model)).collect();
    if missing.is_empty() {
        return Finding::ok(check, format!("{url} answers; models: {}", list.len()));
    }
    let missing: Vec<_> = missing.iter().map(|model| model.as_str()).collect();
    Finding::warn(
        check,
        format!("{url} answers, but does not list {}", missing.join(", ")),
        "look at the spelling of the models, or load them there",
    )
}

fn judge_status(asked: &Asked<'_>, status: u16, location: Option<&str>) -> Finding {
    let Asked {
        check,
        url,
        with_key,
        ..
    } = *asked;
    let bad = |exit, said: String, hint: &str| Finding::bad(check, exit, said, hint);
    match status {
        401 if with_key => bad(
            exit::NOT_ALLOWED,
            format!("{url} does not know the key (401)"),
            "look at the key, and that it is the one of this address",
        ),
        401 => bad(
            exit::NOT_ALLOWED,
            format!("{url} asks for a key, and none was given (401)"),
            "name where it stands: --upstream-key-env or --upstream-key-file; for a server --api-key-env",
        ),
        403 => bad(
            exit::NOT_ALLOWED,
            format!("{url} knows who asks and does not let them (403)"),
            "the key lacks a right, or the address is not allowed: ask whoever runs it",
        ),
        300..=399 => bad(
            exit::AWAY,
            format!(
                "{url} redirects to {} ({status}), which is not followed",
                location.unwrap_or("nowhere")
            ),
            "give the address that it redirects to",
        ),
        407 => bad(
            exit::AWAY,
            format!("a proxy before {url} wants to be signed in to (407)"),
            "see the line about proxies",
        ),
        404 | 405 | 501 => Finding::warn(
            check,
            format!("{url} answers, but has no /v1/models ({status})"),
            "if it is an endpoint that lists none, all is well; else look at the address",
        ),
        500.. => bad(
            exit::AWAY,
            format!("{url} is in trouble ({status})"),
            "wait for it; a lane pauses meanwhile, and no line is charged",
        ),
        402 | 429 => Finding::warn(
            check,
            format!("{url} answers, but wants no more at the moment ({status})"),
            "look at the quota and the bill",
        ),
        _ => Finding::warn(
            check,
            format!("{url} answers with status {status}"),
            "look at the address",
        ),
    }
}

/// How far the clock of an endpoint is from ours; nothing if it does not tell.
pub(super) fn judge_skew(check: &str, probed: &Probed, now: i64) -> Option<Finding> {
    let Probed::Answered {
        date: Some(date), ..
    } = probed
    else {
        return None;
    };
    let skew = now.saturating_sub(*date);
    if skew.abs() <= SKEW_SECONDS {
        return None;
    }
    let side = if skew > 0 { "ahead of" } else { "behind" };
    Some(Finding::warn(
        "clock",
        format!("this machine is {} s {side} {check}", skew.abs()),
        "let NTP set both: `Retry-After` dates and signed requests go wrong otherwise",
    ))
}

/// What the server says of itself beside its models.
pub(super) fn judge_ready(probed: &Probed) -> Option<Finding> {
    let Probed::Answered {
        status,
        body: Some(body),
        ..
    } = probed
    else {
        return None;
    };
    let check = "server ready";
    let stuck = body["stuck"].as_array().map_or(0, Vec::len);
    match (status, body["status"].as_str()) {
        (200, Some("ready")) if stuck == 0 => Some(Finding::ok(check, "it takes work")),
        (200, Some("ready")) => Some(Finding::warn(
            check,
            format!(
                "it takes work, but: {}",
                body["stuck"][0].as_str().unwrap_or_default()
            ),
            "put back what is gone; /readyz lists every batch that stands still",
        )),
        (503, _) => Some(Finding::bad(
            check,
            exit::LOCAL_IO,
            body["error"]["message"]
                .as_str()
                .unwrap_or("it takes no work")
                .to_owned(),
            "mend what it says; work goes on by itself then",
        )),
        // Not one of ours.
        _ => None,
    }
}

/// The variable whose proxy would carry requests to this address, if one would.
pub(super) fn proxy_of<'a>(url: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Option<&'a str> {
    let names: &[&str] = if url.starts_with("https://") {
        &["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
    } else {
        &["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]
    };
    let set = |name: &&&str| lookup(name).is_some_and(|value| !value.trim().is_empty());
    let name = names.iter().find(set)?;
    let except = lookup("NO_PROXY")
        .or_else(|| lookup("no_proxy"))
        .unwrap_or_default();
    let host = host_of(url);
    let spared = except.split(',').map(str::trim).any(|rule| {
        let domain = rule.trim_start_matches('.');
        rule == "*"
            || (!domain.is_empty() && (host == domain || host.ends_with(&format!(".{domain}"))))
    });
    (!spared).then_some(*name)
}

/// A proxy is meant for what is far away; what is near it mostly cannot reach.
pub(super) fn judge_proxy(check: &str, url: &str, variable: &str) -> Finding {
    let host = host_of(url);
    let said = format!("{variable} is set: requests to {host} ({check}) go through that proxy");
    if is_near(host) {
        return Finding::warn("proxy", said, format!("to go straight: NO_PROXY={host}"));
    }
    Finding::ok("proxy", said)
}

fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    match host.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or(six),
        None => host.split(':').next().unwrap_or(host),
    }
}

/// This machine, a private address, or a name without a domain.
fn is_near(host: &str) -> bool {
    match host.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(four)) => {
            four.is_loopback() || four.is_private() || four.is_link_local()
        }
        Ok(std::net::IpAddr::V6(six)) => six.is_loopback() || six.is_unique_local(),
        Err(_) => !host.contains('.'),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::finding::Verdict::{Bad, Ok as Fine, Warn};
    use super::*;

    fn answered(status: u16, body: Value) -> Probed {
        Probed::Answered {
            status,
            date: None,
            location: Some("http://elsewhere".to_owned()),
            body: Some(body),
        }
    }

    fn asked(with_key: bool, models: &[String]) -> Asked<'_> {
        Asked {
            check: "upstream a",
            url: "http://a/v1",
            with_key,
            models,
        }
    }

    #[test]
    fn every_answer_has_its_verdict_and_exit_code() {
        let table = [
            (401, true, Bad, exit::NOT_ALLOWED, "does not know the key"),
            (401, false, Bad, exit::NOT_ALLOWED, "none was given"),
            (403, true, Bad, exit::NOT_ALLOWED, "does not let them"),
            (302, true, Bad, exit::AWAY, "redirects to http://elsewhere"),
            (407, true, Bad, exit::AWAY, "proxy"),
            (500, true, Bad, exit::AWAY, "in trouble"),
            (404, true, Warn, exit::DONE, "no /v1/models"),
            (429, true, Warn, exit::DONE, "no more at the moment"),
            (418, true, Warn, exit::DONE, "418"),
            (200, true, Warn, exit::DONE, "no list of models"),
        ];
        for (status, with_key, verdict, exit, word) in table {
            let finding = judge(&asked(with_key, &[]), &answered(status, json!({})));
            assert_eq!((finding.verdict, finding.exit), (verdict, exit), "{status}");
            assert!(finding.said.contains(word), "{}", finding.said);
        }
        let away = Probed::Unreachable {
            reason: "connection refused".to_owned(),
        };
        let finding = judge(&asked(true, &[]), &away);
        assert_eq!((finding.verdict, finding.exit), (Bad, exit::AWAY));
    }

    #[test]
    fn a_model_that_is_not_listed_is_named() {
        let list = answered(200, json!({"data": [{"id": "m"}, {"id": "n"}]}));
        let models = ["m".to_owned(), "o".to_owned()];
        let finding = judge(&asked(true, &models), &list);
        assert_eq!(finding.verdict, Warn);
        assert!(
            finding.said.ends_with("does not list o"),
            "{}",
            finding.said
        );
        assert_eq!(judge(&asked(true, &models[..1]), &list).verdict, Fine);
    }

    #[test]
    fn clocks_that_differ_are_warned_of() {
        let dated = |date| Probed::Answered {
            status: 200,
            date,
            location: None,
            body: None,
        };
        let table = [
            (Some(1000), 1030, None),
            (Some(1030), 1000, None),
            (Some(1000), 1031, Some("31 s ahead of a")),
            (Some(1031), 1000, Some("31 s behind a")),
            (None, 1000, None),
        ];
        for (date, now, said) in table {
            let finding = judge_skew("a", &dated(date), now);
            assert_eq!(finding.is_some(), said.is_some(), "{date:?} {now}");
            if let (Some(finding), Some(said)) = (finding, said) {
                assert!(finding.said.contains(said), "{}", finding.said);
            }
        }
    }

    #[test]
    fn a_server_says_itself_whether_it_is_ready() {
        let ready = |status, body| judge_ready(&answered(status, body)).map(|f| f.verdict);
        assert_eq!(ready(200, json!({"status": "ready"})), Some(Fine));
        assert_eq!(
            ready(200, json!({"status": "ready", "stuck": ["b"]})),
            Some(Warn)
        );
        assert_eq!(
            ready(503, json!({"error": {"message": "disk full"}})),
            Some(Bad)
        );
        assert_eq!(ready(404, json!({})), None);
    }

    #[test]
    fn a_proxy_of_the_environment_is_seen_unless_the_host_is_spared() {
        let proxied = |url: &str, vars: &[(&str, &str)]| {
            let lookup = |name: &str| {
                let found = vars.iter().find(|(var, _)| *var == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            proxy_of(url, &lookup)
        };
        let both = [("http_proxy", "http://p"), ("https_proxy", "http://p")];
        let spare = |rules| [("HTTP_PROXY", "http://p"), ("NO_PROXY", rules)];
        assert_eq!(
            proxied("http://10.0.0.5:8000/v1", &both),
            Some("http_proxy")
        );
        assert_eq!(
            proxied("https://api.example.com/v1", &both),
            Some("https_proxy")
        );
        assert_eq!(proxied("https://api.example.com/v1", &both[..1]), None);
        assert_eq!(
            proxied("http://a.example.com", &spare("x, .example.com")),
            None
        );
        assert_eq!(proxied("http://example.com", &spare("example.com")), None);
        assert_eq!(
            proxied("http://badexample.com", &spare("example.com")),
            Some("HTTP_PROXY")
        );
        assert_eq!(proxied("http://[::1]:1/v1", &spare("::1")), None);
        assert_eq!(proxied("http://h", &spare("*")), None);
        assert_eq!(
            proxied("http://h", &[("ALL_PROXY", "p")]),
            Some("ALL_PROXY")
        );
    }

    #[test]
    fn what_is_near_is_mostly_not_meant_to_go_through_a_proxy() {
        let verdict = |url| judge_proxy("upstream", url, "HTTP_PROXY").verdict;
        let near = [
            "http://127.0.0.1:1",
            "http://[::1]/v1",
            "http://192.168.1.4",
            "http://gpu:8000",
            "http://u:p@localhost",
        ];
        assert!(near.iter().all(|url| verdict(url) == Warn));
        assert_eq!(verdict("https://api.example.com/v1"), Fine);
    }
}

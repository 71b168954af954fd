//! The access log under CGI: SPEC E15, and of F9 what concerns a request's name.

use std::io::Write;

use crate::script::{Answer, Cgi, Script, finish};
use crate::support::log::field;

const LOG: &str = "access_log = true\n";

/// Most bytes of somebody else's text in one field.
const LONGEST: usize = 8 * 1024;

/// The one line of the access log.
#[track_caller]
fn line(answer: &Answer) -> &str {
    let lines: Vec<_> = answer.log.lines().filter(|line| line.contains(" access: ")).collect();
    assert_eq!(lines.len(), 1, "{}", answer.log);
    lines[0]
}

/// Asserts status, outcome and who has asked for what; gives the line.
#[track_caller]
fn logged<'a>(answer: &'a Answer, path: &str, status: &str, outcome: &str) -> &'a str {
    assert!(
        answer.output.starts_with(format!("Status: {status} ").as_bytes()),
        "{answer:?}"
    );
    let line = line(answer);
    let value = |name| field(line, name).unwrap_or_default();
    assert_eq!(
        ["peer", "remote", "path", "status", "outcome"].map(value),
        ["cgi", "192.0.2.1", path, status, outcome],
        "{}",
        answer.log
    );
    line
}

#[test]
fn e15_line_tells_who_asked_for_what_and_how_it_ended() {
    let script = Script::new(LOG);
    let answer = script.get("/key?e15-token");
    let line = logged(&answer, "/cgi-bin/app.fcgi/key", "200", "Complete");
    let value = |name| field(line, name).unwrap();
    assert_eq!([value("method"), value("bytes")], ["GET", "8"], "{line}");
    let ms = |name| value(name).parse::<f64>().unwrap();
    assert!(ms("app_ms") <= ms("ms"), "{line}");
    assert_eq!(field(line, "queue_ms"), None);
    assert!(!line.contains("e15-token"), "{line}");
    logged(&script.get("/fail"), "/cgi-bin/app.fcgi/fail", "500", "Failed");
}

#[test]
fn e15_client_behind_trusted_proxies_is_the_one_that_is_told() {
    let script = Script::new(&format!("{LOG}trusted_proxies = \"192.0.2.1\""));
    let answer = script
        .cgi("GET", "/pid")
        .variable("HTTP_X_FORWARDED_FOR", "203.0.113.7")
        .run();
    assert_eq!(field(line(&answer), "remote"), Some("203.0.113.7"), "{}", answer.log);
}

#[test]
fn e15_refused_requests_have_their_line() {
    let refused = |options: &str, request: fn(Cgi) -> Cgi, path: &str, status: &str| {
        let script = Script::new(&format!("{LOG}{options}"));
        let answer = request(script.cgi("POST", "/echo")).run();
        let line = logged(&answer, path, status, "Refused");
        assert_eq!(field(line, "method"), Some("POST"), "{line}");
        // Why, with the same number, method and path.
        let name = format!("{} POST {path}", field(line, "request").unwrap());
        let reason = answer.log.lines().find(|line| line.contains("refused with"));
        assert!(reason.is_some_and(|reason| reason.contains(&name)), "{}", answer.log);
    };
    let whole = "/cgi-bin/app.fcgi/echo";
    refused("", |cgi| cgi.variable("CONTENT_LENGTH", "-1"), whole, "400");
    refused("mount = \"/blog\"", |cgi| cgi, whole, "404");
    refused("body_max = 4", |cgi| cgi.body("12345"), whole, "413");
    refused("params_pairs = 3", |cgi| cgi, whole, "431");
}

#[test]
fn e15_body_that_stops_has_its_line() {
    let script = Script::new(&format!("{LOG}body_timeout = \"200ms\""));
    let cgi = script
        .cgi("POST", "/echo")
        .variable("HTTP_TRANSFER_ENCODING", "chunked");
    let (mut child, _) = cgi.spawn();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"some of it").unwrap();
    let answer = finish(child);
    logged(&answer, "/cgi-bin/app.fcgi/echo", "408", "Refused");
    drop(stdin);
}

#[test]
fn e15_application_that_cannot_be_imported_has_its_line() {
    let script = Script::named("app.fcgi", LOG, "raise ValueError('on purpose')\n");
    let answer = script.get("/page");
    answer.failed();
    let line = logged(&answer, "/cgi-bin/app.fcgi/page", "500", "Failed");
    assert_eq!(field(line, "app_ms"), Some("0.0"), "{line}");
    let name = format!("{} GET /cgi-bin/app.fcgi/page", field(line, "request").unwrap());
    let reason = answer.log.lines().find(|line| line.contains("can't be loaded"));
    assert!(reason.is_some_and(|reason| reason.contains(&name)), "{}", answer.log);
}

#[test]
fn f9_name_of_a_request_is_cut() {
    let path = "/".to_owned() + &"p".repeat(20_000);
    let answer = Script::new(LOG)
        .cgi("GET", &path)
        .variable("CONTENT_LENGTH", "-1")
        .variable("REMOTE_ADDR", "7".repeat(20_000))
        .run();
    let cut = |value: &str| value.find("...(+") == Some(LONGEST) && value.ends_with("_bytes)");
    let line = line(&answer);
    assert!(
        ["path", "remote"].iter().all(|name| cut(field(line, name).unwrap())),
        "{line}"
    );
    let reason = answer
        .log
        .lines()
        .find(|line| line.contains("refused with 400"))
        .unwrap();
    assert!(
        reason.contains("ppp...(+") && reason.contains("_bytes)") && reason.len() < LONGEST + 300,
        "{} bytes",
        reason.len()
    );
}

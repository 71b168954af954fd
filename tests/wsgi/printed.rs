//! What an application writes to the log: whole lines, each with who has written it, whatever is written and by how many.

use serde_json::Value;

use crate::support::fcgi_client::Request;
use crate::support::log::field;
use crate::support::process::{Builder, Gateway};
use crate::support::wait::{SOON, until};

fn app() -> Builder {
    Gateway::app("speaks")
}

/// The number of a request, by its line in the access log.
fn request(gateway: &Gateway, path: &str) -> String {
    let line = gateway.log.wait_for_line(&[" access: ", &format!("path={path} ")]);
    field(&line, "request").unwrap().to_owned()
}

#[test]
fn each_line_has_its_worker_and_request() {
    let gateway = app().flag("--access-log").start();
    gateway.get("/prints?one").ok();
    let request = request(&gateway, "/prints");
    let worker = request.split('-').next().unwrap();
    for text in ["out one", "err one"] {
        let line = gateway.log.wait_for_line(&[&format!(" app: {text} ")]);
        assert_eq!(
            (field(&line, "request"), field(&line, "worker")),
            (Some(request.as_str()), Some(worker)),
            "{line}"
        );
    }
    let line = gateway.log.wait_for_line(&[" app: errors one "]);
    assert_eq!(field(&line, "request"), Some(request.as_str()));
}

#[test]
fn line_of_64_kib_and_a_megabyte_without_an_end_are_cut_and_counted() {
    let gateway = app().option("--log-format", "json").start();
    gateway.get("/long_line?65536").ok();
    gateway.get("/no_newline").ok();
    let cut = |letter: &str, more: usize| format!("\"{}...(+{more}_bytes)\"", letter.repeat(8192));
    for (letter, all) in [("x", 65_536), ("y", 65_536), ("n", 1_000_000)] {
        let wanted = cut(letter, all - 8192);
        let has = || gateway.log.text().contains(&wanted);
        until(&format!("{all} times {letter}"), SOON, has);
    }
    for line in gateway.log.lines() {
        serde_json::from_str::<Value>(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}

#[test]
fn bytes_that_are_no_text_and_control_characters_are_escaped() {
    for format in ["text", "json"] {
        let gateway = app().option("--log-format", format).start();
        gateway.get("/invalid").ok();
        gateway
            .log
            .wait_for_line(&["bytes \u{fffd}\u{fffd}", "u{1b}[31m", "u{0} end"]);
        gateway
            .log
            .wait_for_line(&["surrogate \u{fffd}", "u{1b}[31m", "u{7} end"]);
        let text = gateway.log.text();
        assert!(!text.contains(['\x1b', '\0', '\x07']), "{text:?}");
    }
}

#[test]
fn lines_of_two_threads_are_not_mixed() {
    let gateway = app().start();
    std::thread::scope(|scope| {
        for word in ["left", "right"] {
            let gateway = &gateway;
            scope.spawn(move || gateway.get(&format!("/together?{word}")).ok());
        }
    });
    for word in ["left", "right"] {
        let line = format!(" app: {word} {word} ");
        until("all lines are there, whole", SOON, || {
            gateway.log.count(|known| known.contains(&line)) == 200
        });
    }
    let mixed = gateway
        .log
        .count(|line| line.contains("left") && line.contains("right"));
    assert_eq!(mixed, 0, "{}", gateway.log.text());
}

#[test]
fn traceback_that_is_printed_line_by_line_is_one_event() {
    let gateway = app().start();
    gateway.get("/fails").ok();
    let is_whole = |event: &String| {
        event.contains(" app: Traceback (most recent call last):")
            && event.contains("\n    File ")
            && event.ends_with("\n  ValueError: on purpose")
    };
    until("three tracebacks", SOON, || {
        gateway.log.events().iter().filter(|event| is_whole(event)).count() == 3
    });
    assert_eq!(
        gateway
            .log
            .events()
            .iter()
            .filter(|event| event.contains("ValueError"))
            .count(),
        3
    );
}

#[test]
fn traceback_that_is_never_ended_is_logged_after_a_while() {
    let gateway = app().start();
    gateway.get("/unended").ok();
    until("what there is of it", SOON, || {
        let events = gateway.log.events();
        events
            .iter()
            .any(|event| event.ends_with("\n    File \"hangs\", line 1"))
    });
}

#[test]
fn what_comes_after_the_end_of_a_request_is_logged_too() {
    let gateway = app().start();
    gateway.get("/later").ok();
    let errors = gateway.log.wait_for_line(&[" app: later in errors "]);
    assert!(field(&errors, "request").is_some(), "{errors}");
    // Of a thread that has no request.
    let printed = gateway.log.wait_for_line(&[" app: later worker="]);
    assert_eq!(field(&printed, "request"), None, "{printed}");
}

#[test]
fn flood_is_cut_at_its_rate_and_the_rest_is_counted() {
    let gateway = app().option("--print-rate", "100").start();
    gateway.get("/flood?5000").ok();
    let told = || {
        let lines = gateway.log.lines();
        let told = lines
            .iter()
            .filter(|line| line.contains("what=\"lines of the application\""));
        let number = |line: &String| -> usize {
            let (_, rest) = line.split_once("and ").unwrap();
            rest.split(' ').next().unwrap().parse().unwrap()
        };
        told.map(number).sum::<usize>()
    };
    let passed = || gateway.log.count(|line| line.contains(" app: flood "));
    until("it is said how many were left out", SOON, || told() + passed() == 5000);
    assert!((100..2500).contains(&passed()), "{}", passed());
    let unlimited = app().option("--print-rate", "0").start();
    unlimited.get("/flood?5000").ok();
    until("all are there", SOON, || {
        unlimited.log.count(|line| line.contains(" app: flood ")) == 5000
    });
}

#[test]
fn standard_streams_are_what_an_application_expects() {
    let gateway = app().start();
    let response = gateway.send(&Request::get("/streams"));
    assert_eq!(response.ok().text(), "ok");
    for text in ["a-b!", "begun", "one", "two", "of a child", "of a fork"] {
        gateway.log.wait_for_line(&[&format!(" app: {text} ")]);
    }
}

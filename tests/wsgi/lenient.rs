//! What is served although it is against PEP 3333, once with a warning, and refused with `--validate`: SPEC C0.

use std::collections::BTreeSet;
use std::thread;

use crate::support::fcgi_client::Request;
use crate::support::process::Gateway;
use crate::support::wait::{SOON, until};

/// Applications, the status that they get, and a part of what the log says of them.
const KINDS: [(&str, &str, &str); 13] = [
    ("/status_alone", "404 ", "the status has no reason"),
    ("/status_over_599", "999 Own", "the status is above 599"),
    ("/headers_in_tuple", "200 OK", "the headers are in a tuple"),
    ("/header_in_list", "200 OK", "a header is a list"),
    ("/spaced_length", "200 OK", "Content-Length has spaces"),
    ("/connection_close", "200 OK", "the header Connection"),
    ("/connection_keep_alive", "200 OK", "the header Connection"),
    ("/started_again", "200 OK", "start_response was called anew"),
    ("/bytearray_block", "200 OK", "a bytearray or a memoryview"),
    ("/bytearray_yielded", "200 OK", "a bytearray or a memoryview"),
    ("/memoryview_block", "200 OK", "a bytearray or a memoryview"),
    ("/bytes_alone", "200 OK", "returned bytes alone"),
    ("/written_head", "200 ", "the status has no reason"),
];

fn warnings(gateway: &Gateway, said: &str) -> usize {
    let is_warning = |line: &str| line.contains("WARN") && !line.contains("the application runs as root");
    gateway.log.count(|line| is_warning(line) && line.contains(said))
}

#[test]
fn c0_what_is_clear_and_harmless_is_served_with_one_warning() {
    for (target, status, said) in KINDS {
        let gateway = Gateway::app("lenient").start();
        for _ in 0..3 {
            let response = gateway.get(target);
            assert_eq!((response.status().as_str(), response.text().as_str()), (status, "body"));
            assert_eq!(response.end, Some((0, 0)), "{target}");
            assert_eq!(response.header("Connection"), None, "{target}");
            assert!(
                matches!(response.header("Content-Length").as_deref(), None | Some("4")),
                "{response}"
            );
        }
        let line = gateway.log.wait_for_line(&["WARN", said]);
        assert!(line.contains(target) && line.contains("request="), "{line}");
        gateway.get("/hello").ok();
        assert_eq!(warnings(&gateway, said), 1, "{}", gateway.log.text());
        assert_eq!(warnings(&gateway, ""), 1, "{}", gateway.log.text());
    }
}

#[test]
fn c0_everything_else_of_the_response_is_as_it_was_given() {
    let gateway = Gateway::app("lenient").start();
    for target in ["/headers_in_tuple", "/header_in_list", "/connection_close"] {
        let response = gateway.get(target).ok();
        assert_eq!(
            String::from_utf8_lossy(&response.stdout),
            "Status: 200 OK\r\nContent-Type: text/plain\r\nX-Second: 2\r\nContent-Length: 4\r\n\r\nbody"
        );
    }
}

#[test]
fn c0_kinds_are_warned_of_apart() {
    let gateway = Gateway::app("lenient").start();
    let kinds: BTreeSet<&str> = KINDS.iter().map(|(_, _, said)| *said).collect();
    for (target, _, _) in KINDS {
        gateway.get(target);
    }
    for said in kinds {
        gateway.log.wait_for_line(&["WARN", said]);
        assert_eq!(warnings(&gateway, said), 1, "{}", gateway.log.text());
    }
}

#[test]
fn c0_several_workers_warn_once() {
    let gateway = Gateway::app("lenient").workers(2).threads(1).start();
    let mut seen = BTreeSet::new();
    until("both workers have served", SOON, || {
        thread::scope(|scope| {
            let sent: Vec<_> = (0..2)
                .map(|_| scope.spawn(|| gateway.get("/which_worker").text()))
                .collect();
            seen.extend(sent.into_iter().map(|sent| sent.join().unwrap()));
        });
        seen.len() == 2
    });
    gateway.log.wait_for_line(&["WARN", "the status has no reason"]);
    assert_eq!(warnings(&gateway, "the status has no reason"), 1);
}

#[test]
fn c0_with_validate_all_of_it_is_refused() {
    let gateway = Gateway::app("lenient").flag("--validate").start();
    for (target, _, _) in KINDS {
        gateway
            .send(&Request::get(&format!("{target}?refused")))
            .error_page(500);
        gateway.log.wait_for_line(&["ERROR", target]);
    }
    assert_eq!(warnings(&gateway, "served all the same"), 0);
}

/// `wsgiref.validate` finds some of it by itself; the rest is refused with the words of the warning.
#[test]
fn c0_refusal_says_what_to_change() {
    let gateway = Gateway::app("lenient").flag("--validate").start();
    for (target, said) in [
        ("/status_alone", "the status has no reason"),
        ("/status_over_599", "the status is above 599"),
        ("/spaced_length", "Content-Length has spaces"),
        ("/connection_close", "the header Connection"),
        ("/started_again", "a second time without exc_info"),
    ] {
        gateway.get(target).error_page(500);
        gateway.log.wait_for_line(&["ERROR", target, said]);
    }
}

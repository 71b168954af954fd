//! wsgiref.validate around every well-behaved application: it checks gateway and application against each other.

use crate::support::fcgi_client::{Request, Response};
use crate::support::process::Gateway;

/// Applications of a file that keep all the rules, with the requests to send.
struct Suite {
    file: &'static str,
    get: &'static [&'static str],
    post: &'static [&'static str],
}

const SUITES: &[Suite] = &[
    Suite {
        file: "environ",
        get: &["/dump", "/url", "/process_environment", "/hello"],
        post: &["/dump"],
    },
    Suite {
        file: "start_response",
        get: &[
            "/write_callable",
            "/write_then_iterable",
            "/write_only",
            "/two_cookies",
            "/redirect_ok",
            "/created",
            "/big_head?3000",
            "/no_content",
            "/sized",
            "/generator",
            "/two_items",
            "/empty_list",
            "/one_empty_item",
            "/mutated",
        ],
        post: &["/hello"],
    },
    Suite {
        file: "iteration",
        get: &[
            "/as_tuple",
            "/as_iterator",
            "/as_list_subclass",
            "/as_class",
            "/late_start",
            "/closing?v",
            "/closing_raises?v",
            "/exact_in_pieces",
            "/zero_length",
            "/list_blocks",
            "/method",
            "/declared",
        ],
        post: &["/hello"],
    },
    Suite {
        file: "input",
        get: &["/hello"],
        post: &["/sized_reads", "/echo", "/echo_stream", "/ignored"],
    },
    Suite {
        file: "errors_stream",
        get: &["/lines?v", "/unicode?v", "/crowd?v"],
        post: &[],
    },
    Suite {
        file: "files",
        get: &["/iterated?v", "/wrapped?v2"],
        post: &[],
    },
];

fn requests(suite: &Suite) -> Vec<Request> {
    let gets = suite
        .get
        .iter()
        .flat_map(|target| [Request::get(target), Request::new("HEAD", target)]);
    let posts = suite
        .post
        .iter()
        .map(|target| Request::post(target, "one\ntwo\nthree\nfour\n").param("CONTENT_TYPE", "text/plain"));
    gets.chain(posts).collect()
}

/// What must be the same with and without the validator around it.
fn essence(response: &Response) -> (String, String, Option<(u32, u8)>) {
    (response.status(), response.text(), response.end)
}

#[test]
fn well_behaved_applications_answer_the_same_bare_and_under_the_validator() {
    for suite in SUITES {
        let bare = Gateway::app(suite.file).start();
        let checked = Gateway::app(suite.file).flag("--validate").start();
        for request in requests(suite) {
            let expected = bare.send(&request);
            let response = checked.send(&request);
            let path = String::from_utf8_lossy(&request.params[2].1).into_owned();
            if matches!(path.as_str(), "/process_environment" | "/dump") {
                assert_eq!(response.code(), 200);
                continue; // They show what differs: the process, and the wrappers of input and errors.
            }
            assert_eq!(
                essence(&response),
                essence(&expected),
                "{} {path}\n{}",
                suite.file,
                checked.log.text()
            );
        }
        checked.signal(rustix::process::Signal::TERM);
        checked.wait_exit(crate::support::wait::SOON);
        // Only __del__ can notice a missing close(), and it can only print.
        let complaint = checked
            .log
            .find(|line| line.contains("garbage collected without being closed") || line.contains("AssertionError"));
        assert_eq!(complaint, None, "{}", suite.file);
    }
}

#[test]
fn validator_finds_what_an_application_does_wrong() {
    let gateway = Gateway::app("iteration").flag("--validate").start();
    gateway.get("/wrong_first_item?str").error_page(500);
    gateway.log.wait_for_line(&["AssertionError"]);
}

#[test]
fn environ_of_every_front_server_passes_the_validator() {
    let gateway = Gateway::app("environ").flag("--validate").start();
    let base = || {
        Request::get("/hello")
            .param("HTTP_CONTENT_TYPE", "")
            .param("HTTP_CONTENT_LENGTH", "")
    };
    for request in [
        base().param("CONTENT_TYPE", "").param("CONTENT_LENGTH", ""),
        base().param("SCRIPT_NAME", "/hello").without("PATH_INFO"),
        base().param("SCRIPT_NAME", "/hello").param("PATH_INFO", ""),
        base().param("SERVER_NAME", "").param("SERVER_PORT", ""),
        base().without("QUERY_STRING"),
        base().without("SERVER_PROTOCOL"),
        base().param("SERVER_PROTOCOL", "HTTP/2.0"),
    ] {
        assert_eq!(gateway.send(&request).ok().text(), "hello");
    }
}

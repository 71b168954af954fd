//! What the log says of peers that do what they should not: the last column of SPEC E, and "logged once" of A7.

use crate::support::fcgi_client::{
    BEGIN_REQUEST, END_REQUEST, GET_VALUES_RESULT, Request, STDOUT, begin_request, record,
};
use crate::support::log::field;
use crate::support::process::{Gateway, Shared};
use crate::support::wait::SOON;

static APPS: Shared = Shared::new(|| Gateway::app("failures").option("--mount", "/app"));

#[test]
fn a7_records_that_make_no_sense_are_logged_once() {
    let gateway = Gateway::app("failures").start();
    for _ in 0..3 {
        let mut connection = gateway.connect();
        for kind in [END_REQUEST, STDOUT, GET_VALUES_RESULT] {
            connection.send(&record(kind, 1, &[0; 8]));
        }
        connection.exchange(&Request::get("/hello")).ok();
    }
    gateway.signal(rustix::process::Signal::TERM);
    gateway.wait_exit(SOON);
    gateway.log.wait_for_end();
    let lines = gateway.log.events();
    let about: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("a record that makes no sense"))
        .collect();
    assert_eq!(about.len(), 1, "{about:#?}");
    assert!(
        about[0].contains("INFO") && about[0].contains("not logged again"),
        "{about:?}"
    );
}

#[test]
fn a12_begin_on_an_active_id_is_logged_with_its_header() {
    let mut connection = APPS.connect();
    connection.send(&[begin_request(258, 1, 1), begin_request(258, 1, 1)].concat());
    connection.expect_close();
    // E12: the first eight bytes in hexadecimal.
    let line = APPS.log.wait_for_line(&["BEGIN_REQUEST for id 258, which is in use"]);
    let header = format!("01{BEGIN_REQUEST:02x}010200080000");
    assert!(line.contains("WARN") && line.contains(&header), "{line}");
}

#[test]
fn e10_log_names_request_and_role() {
    for role in [2, 9] {
        let path = format!("/app/e10-log-{role}");
        APPS.send(&Request::get(&path).role(role)).error_page(500);
        let line = APPS.log.wait_for_line(&[&path, "only responders are served"]);
        assert!(
            line.contains("ERROR") && line.contains(&format!("GET {path}")),
            "{line}"
        );
        assert_eq!(field(&line, "role"), Some(role.to_string().as_str()), "{line}");
    }
}

#[test]
fn e11_second_request_on_a_busy_connection_is_logged() {
    let mut connection = APPS.connect();
    let first = Request::get("/app/hello").keep_conn();
    connection.send(&[first.begin_bytes(), begin_request(777, 1, 1)].concat());
    assert_eq!(connection.expect_record().id, 777);
    connection.send(&[first.params_bytes(), first.stdin_bytes()].concat());
    connection.read_response(1).ok();
    let line = APPS
        .log
        .wait_for_line(&["a second request on a busy connection was refused"]);
    assert!(line.contains("WARN"), "{line}");
    assert_eq!(field(&line, "id"), Some("777"), "{line}");
}

#[test]
fn e14_path_outside_the_mount_is_logged() {
    APPS.get("/e14-log?token").error_page(404);
    let line = APPS.log.wait_for_line(&["refused with 404", "GET /e14-log"]);
    assert!(line.contains("INFO") && line.contains("--mount"), "{line}");
    assert!(!line.contains("token"), "{line}");
}

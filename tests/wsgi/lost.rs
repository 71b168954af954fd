//! An application that closes descriptors which are not its own: its worker is given up and replaced, with one line.

use std::time::Duration;

use crate::support::fcgi_client::Request;
use crate::support::process::Gateway;
use crate::support::wait::{SOON, until};

#[test]
fn worker_whose_descriptors_were_closed_is_replaced_and_the_log_says_why() {
    for kind in ["eventpoll", "listener"] {
        let gateway = Gateway::app("descriptors").threads(2).start();
        let first = gateway.get("/pid").ok().text();
        // What becomes of this request depends on what was closed. Its connection stays open: nobody runs a request whose
        // peer has gone.
        let mut closing = gateway.connect();
        closing.send(&Request::get(&format!("/closes?{kind}")).bytes());
        until(&format!("another worker serves after {kind}"), SOON, || {
            let mut connection = gateway.connect();
            connection.set_read_timeout(Duration::from_secs(1));
            let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                connection.exchange(&Request::get("/pid"))
            }));
            asked.is_ok_and(|response| response.code() == 200 && response.text() != first)
        });
        gateway
            .log
            .wait_for_line(&["ERROR", "application has closed", "os.closerange()"]);
        assert!(gateway.log.lines().len() < 30, "{kind}: {}", gateway.log.text());
    }
}

#[test]
fn request_that_dies_with_such_a_worker_is_named_although_its_handler_has_returned() {
    for (kind, keeps) in [
        ("closerange", false),
        ("closerange", true),
        ("dup2", false),
        ("dup2", true),
    ] {
        let gateway = Gateway::app("descriptors").threads(1).start();
        let path = format!("/everything?{kind}");
        let mut closing = gateway.connect();
        let request = match keeps {
            true => Request::get(&path).keep_conn(),
            false => Request::get(&path),
        };
        closing.send(&request.bytes());
        gateway.log.wait_for_line(&[
            "ERROR",
            "a request died with its worker, which exited with code 71",
            "GET /everything",
        ]);
        gateway.get("/pid").ok();
    }
}

//! What threads of the application, the watchdog and several clients do to one another's requests.

use crate::support::fcgi_client::Request;
use crate::support::process::Gateway;

#[test]
fn large_upload_read_in_odd_pieces_takes_little_memory() {
    const SIZE: usize = 96 << 20;
    let gateway = Gateway::app("sharing").start();
    let mut connection = gateway.connect();
    let request = Request::post("/upload_in_odd_pieces", vec![b'u'; SIZE]);
    let text = connection.exchange(&request).ok().text();
    let (total, peak) = text.split_once(' ').unwrap();
    assert_eq!(total, SIZE.to_string());
    let peak: usize = peak.parse().unwrap();
    assert!(peak < 64 * 1024, "{peak} KiB for an upload of {} KiB", SIZE / 1024);
}

#[test]
fn second_writer_of_a_response_never_mixes_with_the_first() {
    let gateway = Gateway::app("sharing").threads(2).start();
    let mut connection = gateway.connect();
    connection.send(&Request::get("/write_from_another_thread").bytes());
    let response = connection.read_to_end();
    // Whole records of what one writer sent, and then nothing or a break: the other one got an error.
    let body = response.body();
    assert!(body.iter().all(|&byte| byte == b'w'), "{} bytes", body.len());
    assert_eq!(gateway.get("/hello").ok().text(), "hello");
}

#[test]
fn write_of_another_thread_never_mixes_with_the_page_of_a_request_that_fails() {
    let gateway = Gateway::app("sharing").threads(2).start();
    let response = gateway.get("/write_while_this_fails").error_page(500);
    assert_eq!(response.text(), "500 Internal Server Error\n");
    gateway.log.wait_for_line(&["the other thread: the request has ended"]);
}

#[test]
fn kept_connections_of_busy_clients_are_never_closed() {
    let gateway = Gateway::app("processes").threads(1).start();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut kept = gateway.connect();
                for _ in 0..100 {
                    kept.exchange(&Request::get("/concurrency").keep_conn()).ok();
                }
            });
        }
    });
}

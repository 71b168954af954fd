//! Clients that are slow or vanish.

use std::fs;

use crate::bodies::{MIB, expect_pattern};
use crate::front::{Front, STREAM, site};
use crate::support::http::{Client, Request, fetch};
use crate::support::installed;
use crate::support::nginx::{Nginx, upstream};
use crate::support::wait::{SOON, until};

scenarios! {
    client_gone_while_it_uploads_fails_the_read
    client_gone_while_nginx_collects_its_upload_never_reaches_the_application
    client_gone_while_it_downloads_closes_the_iterable
}

fn read_mark(mark: &std::path::Path) -> String {
    fs::read_to_string(mark).unwrap_or_default()
}

/// C45, C56.
fn client_gone_while_it_uploads_fails_the_read(front: &Front) {
    let mark = front.file("upload");
    let mut client = Client::connect(front.address);
    client.send_head(
        &Request::post(format!("/reads?mark={}", mark.display()))
            .host(STREAM)
            .pattern(MIB),
    );
    client.send(&[b'x'; 200_000]);
    until("the application reads", SOON, || mark.with_extension("called").exists());
    drop(client);
    until("the application is told", SOON, || read_mark(&mark) == "OSError");
    front.get("/").ok();
}

fn client_gone_while_nginx_collects_its_upload_never_reaches_the_application(front: &Front) {
    let mark = front.file("collected");
    let mut client = Client::connect(front.address);
    client.send_head(&Request::post(format!("/reads?mark={}", mark.display())).pattern(MIB));
    client.send(&[b'x'; 200_000]);
    drop(client);
    front.get("/").ok();
    assert!(!mark.with_extension("called").exists());
}

/// C23.
fn client_gone_while_it_downloads_closes_the_iterable(front: &Front) {
    for host in ["localhost", STREAM] {
        let mark = front.file(&format!("download-{host}"));
        let mut client = Client::connect(front.address);
        client.send_head(&Request::get(format!("/endless?mark={}", mark.display())).host(host));
        assert_eq!(client.read_head().status, 200);
        assert!(!client.chunk().unwrap().unwrap().is_empty());
        drop(client);
        until("close() was called", SOON, || read_mark(&mark) == "closed");
        front.get("/").ok();
    }
}

/// With one thread, which must be free as soon as nginx has the response, and not be taken before it has the body.
#[test]
fn slow_clients_do_not_stop_others() {
    if !installed::nginx() {
        return;
    }
    let gateway = site().threads(1).start();
    let pass = format!("include wsgi_fpm_params; fastcgi_pass {};", upstream(&gateway.address));
    let nginx = Nginx::configure()
        .server(0, "", &format!("client_max_body_size 0; location / {{ {pass} }}"))
        .server(
            0,
            STREAM,
            &format!("location / {{ {pass} fastcgi_request_buffering off; }}"),
        )
        .start();
    let mut reader = Client::connect(nginx.address());
    reader.send_head(&Request::get(format!("/sized?n={}&block=65536", 8 * MIB)));
    let mut download = reader.read_head();
    let mut writers = ["localhost", STREAM].map(|host| {
        let mut writer = Client::connect(nginx.address());
        writer.send_head(&Request::post("/digest").host(host).pattern(60_000));
        writer.send(&crate::support::http::pattern(0, 1000));
        writer
    });
    for round in 1..10 {
        // A chunk at a time of the one, 1 KiB of the others.
        download.body.extend(reader.chunk().unwrap().unwrap());
        for writer in &mut writers {
            writer.send(&crate::support::http::pattern(round * 1000, 1000));
        }
        fetch(nginx.address(), &Request::get("/")).ok();
    }
    while let Some(chunk) = reader.chunk().unwrap() {
        download.complete = chunk.is_empty();
        download.body.extend(chunk);
        if download.complete {
            break;
        }
    }
    expect_pattern(&download.ok(), 8 * MIB);
    for mut writer in writers {
        writer.send(&crate::support::http::pattern(10_000, 50_000));
        assert_eq!(writer.read_response(false).ok().json()["length"], 60_000);
    }
}

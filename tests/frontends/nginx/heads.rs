//! Heads of responses and nginx's buffers for them, headers that are meant for nginx, and parts that it cuts out.

use std::fs;

use super::{Host, PLAIN, STREAM, behind_nginx, both_behind_nginx};
use crate::harness::backends::site;
use crate::support::http::{Client, Request, fetch, pattern};
use crate::support::wait::{SOON, until};

/// nginx's buffer is a page of 4,096 bytes, and the record's header lies in it too.
#[test]
fn head_below_the_limit_of_nginx_passes() {
    for (_gateway, nginx) in both_behind_nginx(&[PLAIN]) {
        for &address in &nginx.addresses {
            let response = fetch(address, &Request::get("/big_head?n=3800")).ok();
            assert_eq!(response.header("X-Fill-0").map(str::len), Some(3800));
        }
    }
}

/// C35.
#[test]
fn head_above_the_limit_of_nginx_is_a_502_and_a_warning() {
    for (gateway, nginx) in both_behind_nginx(&[PLAIN]) {
        for &address in &nginx.addresses {
            let mark = nginx.process.log.mark();
            fetch(address, &Request::get("/big_head?n=6000")).expect(502);
            let says = |line: &String| line.contains("upstream sent too big header");
            until("nginx says so", SOON, || nginx.process.log.since(mark).iter().any(says));
            fetch(address, &Request::get("/")).ok();
        }
        gateway.log.wait_for_line(&["WARN", "/big_head", "fastcgi_buffer_size"]);
    }
}

#[test]
fn head_of_60_kib_passes_where_nginx_has_room() {
    const LARGE_HEADS: Host = Host {
        location: "fastcgi_buffer_size 68k; fastcgi_buffers 16 16k;",
        ..PLAIN
    };
    for (_gateway, nginx) in both_behind_nginx(&[LARGE_HEADS]) {
        for &address in &nginx.addresses {
            let response = fetch(address, &Request::get("/big_head?n=61440")).ok();
            assert_eq!(response.text(), "large head");
            let fill = response.headers.iter().filter(|(name, _)| name.starts_with("X-Fill-"));
            assert_eq!(fill.map(|(_, value)| value.len()).sum::<usize>(), 61_440);
        }
    }
}

/// F5.
#[test]
fn internal_redirect_sends_a_file_of_nginx() {
    for (_gateway, nginx) in both_behind_nginx(&[PLAIN]) {
        for &address in &nginx.addresses {
            let response = fetch(address, &Request::get("/accel?file=secret.txt")).ok();
            assert_eq!(response.text(), "from an internal location\n");
            assert_eq!(response.header("X-Accel-Redirect"), None);
            fetch(address, &Request::get("/internal/secret.txt")).expect(404);
        }
    }
}

/// F5.
#[test]
fn internal_redirect_can_be_kept_from_the_application() {
    let Some((_gateway, nginx)) = behind_nginx(site().flag("--strip-sendfile-headers"), &[PLAIN]) else {
        return;
    };
    let response = fetch(nginx.address(), &Request::get("/accel?file=secret.txt")).ok();
    assert_eq!(response.text(), "", "what the application itself has answered");
}

/// docs/nginx.md, for files of applications that know no Range.
#[test]
fn range_is_cut_out_by_nginx_where_it_is_told_to() {
    const RANGES: Host = Host {
        name: "ranges",
        location: "fastcgi_force_ranges on;",
        ..PLAIN
    };
    for (_gateway, nginx) in both_behind_nginx(&[RANGES, STREAM]) {
        for &address in &nginx.addresses {
            let request = |host: Host| {
                Request::get("/sized?n=100000")
                    .host(host.name)
                    .header("Range", "bytes=70000-70009")
            };
            let part = fetch(address, &request(RANGES)).expect(206);
            assert_eq!(part.header("Content-Range"), Some("bytes 70000-70009/100000"));
            assert_eq!(part.body, pattern(70_000, 10));
            assert_eq!(fetch(address, &request(STREAM)).ok().body.len(), 100_000);
        }
    }
}

/// C22, without any setting of nginx: X-Accel-Buffering.
#[test]
fn block_arrives_at_once_if_the_application_asks_for_it() {
    for (gateway, nginx) in both_behind_nginx(&[PLAIN]) {
        for &address in &nginx.addresses {
            let gate = gateway.directory.path().join(format!("gate-{}", address.port()));
            let mut client = Client::connect(address);
            client.send_head(&Request::get(format!(
                "/gated?first=first&unbuffered=1&gate={}",
                gate.display()
            )));
            assert_eq!(client.read_head().status, 200);
            assert_eq!(client.chunk().unwrap().as_deref(), Some(&b"first"[..]));
            fs::write(&gate, "").unwrap();
            assert_eq!(client.chunk().unwrap().as_deref(), Some(&b"second"[..]));
        }
    }
}

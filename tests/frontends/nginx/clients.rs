//! Clients that are slow or vanish while nginx collects what they send, or has collected what they read.

use super::{PLAIN, STREAM, behind_nginx, both_behind_nginx};
use crate::harness::backends::site;
use crate::harness::data::{MIB, expect_pattern};
use crate::support::http::{Client, Request, fetch, pattern};

#[test]
fn client_gone_while_nginx_collects_its_upload_never_reaches_the_application() {
    for (gateway, nginx) in both_behind_nginx(&[PLAIN]) {
        for &address in &nginx.addresses {
            let mark = gateway.directory.path().join(format!("mark-{}", address.port()));
            let mut client = Client::connect(address);
            client.send_head(&Request::post(format!("/reads?mark={}", mark.display())).pattern(MIB));
            client.send(&[b'x'; 200_000]);
            drop(client);
            fetch(address, &Request::get("/")).ok();
            assert!(!mark.with_extension("called").exists());
        }
    }
}

/// With one thread, which must be free as soon as nginx has the response, and not be taken before it has the body.
#[test]
fn slow_clients_do_not_stop_others() {
    let Some((_gateway, nginx)) = behind_nginx(site().threads(1), &[PLAIN, STREAM]) else {
        return;
    };
    let address = nginx.addresses[1];
    let mut reader = Client::connect(address);
    reader.send_head(&Request::get(format!("/sized?n={}&block=65536", 8 * MIB)));
    let mut download = reader.read_head();
    let mut writers = ["localhost", STREAM.name].map(|host| {
        let mut writer = Client::connect(address);
        writer.send_head(&Request::post("/digest").host(host).pattern(60_000));
        writer.send(&pattern(0, 1000));
        writer
    });
    for round in 1..10 {
        // A chunk at a time of the one, 1 KiB of the others.
        download.body.extend(reader.chunk().unwrap().unwrap());
        for writer in &mut writers {
            writer.send(&pattern(round * 1000, 1000));
        }
        fetch(address, &Request::get("/")).ok();
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
        writer.send(&pattern(10_000, 50_000));
        assert_eq!(writer.read_response(false).ok().json()["length"], 60_000);
    }
}

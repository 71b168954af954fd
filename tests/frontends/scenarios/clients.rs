//! Clients that are slow or vanish.

use std::fs;
use std::path::Path;

use crate::harness::backends::{SINGLE, alone};
use crate::harness::data::MIB;
use crate::harness::front::Front;
use crate::harness::quirk::Quirk;
use crate::support::http::{Request, pattern};
use crate::support::wait::{SOON, until};

scenarios! {
    client_gone_while_it_uploads_fails_the_read
    client_gone_while_it_downloads_closes_the_iterable
    client_gone_while_the_application_computes_is_known_to_it
    slow_clients_do_not_stop_others
}

fn read_mark(mark: &Path) -> String {
    fs::read_to_string(mark).unwrap_or_default()
}

/// C45, C56.
fn client_gone_while_it_uploads_fails_the_read(front: &Front) {
    let mark = front.file("upload");
    let mut client = front.streaming.connect();
    let request = Request::post(format!("/reads?mark={}", mark.display())).pattern(MIB);
    client.send_head(&front.streaming.request(&request));
    client.send(&[b'x'; 200_000]);
    if front.has(Quirk::CollectsUploads) {
        drop(client);
        front.streaming.get("/").ok();
        assert!(!mark.with_extension("called").exists());
        return;
    }
    until("the application reads", SOON, || mark.with_extension("called").exists());
    drop(client);
    if front.has(Quirk::KillsProcessOfGoneClient) {
        wait_for_death(&mark);
    } else {
        until("the application is told", SOON, || read_mark(&mark) == "OSError");
    }
    front.streaming.get("/").ok();
}

/// Waits until the process that made the mark is gone.
#[track_caller]
fn wait_for_death(mark: &Path) {
    let pid = fs::read_to_string(format!("{}.pid", mark.display())).unwrap();
    let process = Path::new("/proc").join(pid);
    until("the process is gone", SOON, || !process.exists());
}

/// C23.
fn client_gone_while_it_downloads_closes_the_iterable(front: &Front) {
    for place in [&front.plain, &front.streaming] {
        let mark = front.file(&format!("download-{}", place.host));
        let mut client = place.connect();
        client.send_head(&place.request(&Request::get(format!("/endless?mark={}", mark.display()))));
        assert_eq!(client.read_head().status, 200);
        assert!(!client.chunk().unwrap().unwrap().is_empty());
        drop(client);
        if front.has(Quirk::KillsProcessOfGoneClient) {
            wait_for_death(&mark);
        } else {
            until("close() was called", SOON, || read_mark(&mark) == "closed");
        }
        place.get("/").ok();
    }
}

fn client_gone_while_the_application_computes_is_known_to_it(front: &Front) {
    let mark = front.file("asks");
    let mut client = front.plain.connect();
    client.send_head(
        &front
            .plain
            .request(&Request::get(format!("/asks?mark={}", mark.display()))),
    );
    until("the application asks", SOON, || mark.with_extension("called").exists());
    drop(client);
    if front.has(Quirk::KillsProcessOfGoneClient) {
        return wait_for_death(&mark);
    }
    until("it has its answer", SOON, || !read_mark(&mark).is_empty());
    let tells = !front.has(Quirk::IsSilentAboutGoneClients);
    assert_eq!(read_mark(&mark), if tells { "gone" } else { "unknown" });
}

/// With one thread, which must be free as soon as the server has the response, and not be taken before it has the body.
fn slow_clients_do_not_stop_others(front: &Front) {
    let _alone = alone(&SINGLE);
    let place = &front.single;
    let mut writer = place.connect();
    writer.send_head(&place.request(&Request::post("/digest").pattern(60_000)));
    writer.send(&pattern(0, 1000));
    for round in 1..10 {
        writer.send(&pattern(round * 1000, 1000));
        place.get("/").ok();
    }
    writer.send(&pattern(10_000, 50_000));
    assert_eq!(writer.read_response(false).ok().json()["length"], 60_000);
}

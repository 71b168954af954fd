//! CGI's standard streams (SPEC D4 to D6).

use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::script::{Script, finish, wait_exit};
use crate::support::log::Log;
use crate::support::wait::{SOON, until};

#[test]
fn d4_body_is_content_length_bytes_of_what_stands_there() {
    let answer = Script::new("")
        .cgi("POST", "/echo")
        .variable("CONTENT_LENGTH", "4")
        .input("bodyNEXT")
        .run();
    assert_eq!(answer.ok(), "body");
}

#[test]
fn d4_peer_may_keep_standard_input_open() {
    let script = Script::new("");
    let cgi = script.cgi("POST", "/echo").variable("CONTENT_LENGTH", "4");
    let (mut child, _) = cgi.spawn();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"body").unwrap();
    assert_eq!(finish(child).ok(), "body");
    drop(stdin);
}

#[test]
fn d4_without_a_length_there_is_no_body() {
    assert_eq!(Script::new("").cgi("POST", "/echo").input("ignored").run().ok(), "");
}

#[test]
fn d4_chunked_body_goes_on_until_the_end() {
    let script = Script::new("body_max = \"100k\"");
    let chunked = |body: Vec<u8>| {
        script
            .cgi("POST", "/echo")
            .variable("HTTP_TRANSFER_ENCODING", "chunked")
            .input(body)
            .run()
    };
    let body = vec![b'x'; 100 * 1024];
    assert_eq!(chunked(body).ok().len(), 100 * 1024);
    let answer = chunked(vec![b'x'; 100 * 1024 + 1]);
    assert!(answer.output.starts_with(b"Status: 413 "), "{answer:?}");
}

/// C46: Django, for one, reads nothing without a length.
#[test]
fn chunked_body_has_a_length() {
    let answer = Script::new("")
        .cgi("POST", "/key?CONTENT_LENGTH")
        .variable("HTTP_TRANSFER_ENCODING", "chunked")
        .input("twelve bytes")
        .run();
    assert_eq!(answer.ok(), "'12'");
}

/// fcgiwrap passes pipes, and throws the response away if it can't write the whole body.
#[test]
fn body_in_a_pipe_is_read_to_its_end_after_an_early_response() {
    for (options, path, status) in EARLY {
        let body = vec![b'x'; 1_000_000];
        let script = Script::new(options);
        let mut cgi = script
            .cgi("POST", path)
            .variable("CONTENT_LENGTH", body.len().to_string());
        cgi.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = cgi.command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(&body).unwrap();
        // The web server may keep its end open: nobody waits for it (SPEC D4).
        let mut response = String::new();
        child.stdout.take().unwrap().read_to_string(&mut response).unwrap();
        assert!(response.starts_with(status), "{options}: {response}");
        wait_exit(&mut child);
        drop(input);
    }
}

/// Options, path and what begins the response, without a look at the body.
const EARLY: [(&str, &str, &str); 3] = [
    ("", "/key?REQUEST_METHOD", "Status: 200 "),
    ("body_max = 4", "/echo", "Status: 413 "),
    ("python = \"/nowhere\"", "/echo", "Status: 500 "),
];

/// mod_cgid passes one socket for both directions and sends the whole body before it reads: closing the socket with a part
/// of the body unread would take the response away from it.
#[test]
fn early_response_to_a_body_on_the_same_socket_arrives() {
    for (options, path, status) in EARLY {
        let body = vec![b'x'; 1_000_000];
        let script = Script::new(options);
        let mut cgi = script
            .cgi("POST", path)
            .variable("CONTENT_LENGTH", body.len().to_string());
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        cgi.command
            .stdin(OwnedFd::from(theirs.try_clone().unwrap()))
            .stdout(OwnedFd::from(theirs))
            .stderr(Stdio::null());
        let mut child = cgi.command.spawn().unwrap();
        drop(cgi);
        ours.write_all(&body).unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        let mut response = String::new();
        ours.read_to_string(&mut response).unwrap();
        assert!(response.starts_with(status), "{options}: {response}");
        wait_exit(&mut child);
    }
}

#[test]
fn d4_body_that_ends_early_fails_the_read() {
    let answer = Script::new("")
        .cgi("POST", "/echo")
        .variable("CONTENT_LENGTH", "10")
        .input("half")
        .run();
    answer.failed();
    assert!(answer.log.contains("ended after 4 of 10 bytes"), "{}", answer.log);
}

#[test]
fn body_over_its_limit_is_refused_at_once() {
    let answer = Script::new("body_max = 4")
        .cgi("POST", "/echo")
        .variable("CONTENT_LENGTH", "5")
        .run();
    assert!(answer.output.starts_with(b"Status: 413 "), "{answer:?}");
    assert_eq!(
        Script::new("body_max = 4").cgi("POST", "/echo").body("four").run().ok(),
        "four"
    );
}

#[test]
fn d5_prints_and_children_leave_the_response_intact() {
    let answer = Script::new("").cgi("POST", "/noisy").body("the body").run();
    assert_eq!(answer.ok(), "stdin=''");
    for said in [
        "printed",
        "written to descriptor 1",
        "said by a child",
        "through wsgi.errors",
    ] {
        assert!(answer.log.contains(said), "{said} not in {}", answer.log);
    }
}

#[test]
fn d6_large_response_passes_a_slow_reader() {
    let script = Script::new("");
    let (mut child, _) = script.cgi("GET", "/large").spawn();
    drop(child.stdin.take());
    let log = Log::collect(child.stderr.take().unwrap());
    let mut stdout = child.stdout.take().unwrap();
    let (mut total, mut chunk, mut pauses) = (0, vec![0; 100_000], 0);
    loop {
        if pauses < 5 {
            pauses += 1;
            thread::sleep(Duration::from_millis(20));
        }
        match stdout.read(&mut chunk).unwrap() {
            0 => break,
            length => total += length,
        }
    }
    assert_eq!(wait_exit(&mut child).code(), Some(0), "{}", log.text());
    assert!(total > 160 * 65536, "{total}");
}

#[test]
fn d6_reader_that_goes_away_is_no_error() {
    let script = Script::new("");
    let (mut child, _) = script.cgi("GET", "/large").spawn();
    drop(child.stdin.take());
    let log = Log::collect(child.stderr.take().unwrap());
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 1000]).unwrap();
    drop(stdout);
    assert_eq!(wait_exit(&mut child).code(), Some(0));
    log.wait_for_end();
    assert!(
        log.text().contains("disconnected") && !log.text().contains("ERROR"),
        "{}",
        log.text()
    );
}

#[test]
fn d6_each_block_leaves_before_the_next_is_made() {
    let script = Script::new("");
    let (mut child, _) = script.cgi("GET", "/two_blocks").spawn();
    drop(child.stdin.take());
    let mut stdout = child.stdout.take().unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"first") {
        let mut byte = [0];
        stdout.read_exact(&mut byte).unwrap();
        seen.extend(byte);
    }
    File::create(script.file("go")).unwrap();
    stdout.read_to_end(&mut seen).unwrap();
    assert!(seen.ends_with(b"firstsecond"));
    assert_eq!(wait_exit(&mut child).code(), Some(0));
}

/// What the web server reads until the end of the output, while close() of the response still runs.
#[track_caller]
fn read_before_close(script: &Script, path: &str, over_socket: bool) -> (Vec<u8>, Child) {
    let mut cgi = script.cgi("GET", path);
    cgi.command.stdin(Stdio::null()).stderr(Stdio::null());
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(SOON)).unwrap();
    let (mut pipe, writer) = std::io::pipe().unwrap();
    match over_socket {
        true => cgi.command.stdout(OwnedFd::from(theirs)),
        false => cgi.command.stdout(writer),
    };
    let child = cgi.command.spawn().unwrap();
    // The command has the other ends.
    drop(cgi);
    let mut output = Vec::new();
    match over_socket {
        true => ours.read_to_end(&mut output).unwrap(),
        false => pipe.read_to_end(&mut output).unwrap(),
    };
    assert_eq!(script.notes(), "", "close() has not run");
    (output, child)
}

#[test]
fn c24_output_ends_before_close_runs() {
    for over_socket in [false, true] {
        for path in ["/closing", "/closing_after_print"] {
            let script = Script::new("");
            let (output, mut child) = read_before_close(&script, path, over_socket);
            assert!(output.ends_with(b"\r\n\r\nwhole response"), "{path}");
            // What lighttpd and mod_cgid send when they have the whole response.
            kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
            File::create(script.file("go")).unwrap();
            assert_eq!(wait_exit(&mut child).code(), Some(0), "{path}");
            assert_eq!(script.notes(), "closed\n", "{path}");
        }
    }
}

#[test]
fn c24_output_of_a_response_that_breaks_off_ends_before_close_runs() {
    for over_socket in [false, true] {
        let script = Script::new("");
        let (output, mut child) = read_before_close(&script, "/closing_after_failure", over_socket);
        assert!(output.ends_with(b"\r\n\r\nbegun"));
        File::create(script.file("go")).unwrap();
        assert_eq!(wait_exit(&mut child).code(), Some(1));
        assert_eq!(script.notes(), "closed\n");
    }
}

#[test]
fn body_that_finds_no_room_is_refused_or_fails_the_read() {
    let script = Script::new("");
    let upload = |cgi: crate::script::Cgi| cgi.variable("TMPDIR", "/nowhere/at/all").run();
    let length_unknown = script
        .cgi("POST", "/echo")
        .variable("HTTP_TRANSFER_ENCODING", "chunked")
        .input(vec![b'x'; 300_000]);
    for answer in [
        upload(length_unknown),
        upload(script.cgi("POST", "/echo").body(vec![b'x'; 300_000])),
    ] {
        answer.failed();
        for said in [
            "a request's body can't be kept",
            "POST ",
            "/echo",
            "/nowhere/at/all",
            "TMPDIR",
        ] {
            assert!(answer.log.contains(said), "{said} in {}", answer.log);
        }
    }
}

#[test]
fn body_of_10_mib_passes_a_peer_that_writes_everything_first() {
    let body: Vec<u8> = (0..10 * 1024 * 1024).map(|n: u32| (n % 251) as u8).collect();
    let script = Script::new("");
    let (mut child, _) = script
        .cgi("POST", "/echo_stream")
        .variable("CONTENT_LENGTH", body.len().to_string())
        .spawn();
    let log = Log::collect(child.stderr.take().unwrap());
    child.stdin.take().unwrap().write_all(&body).unwrap();
    let mut output = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    assert_eq!(wait_exit(&mut child).code(), Some(0), "{}", log.text());
    assert!(output.ends_with(&body), "{} bytes", output.len());
}

#[test]
fn response_goes_into_a_socket_and_into_a_file() {
    let script = Script::new("");
    let mut cgi = script.cgi("GET", "/large");
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    cgi.command
        .stdin(Stdio::null())
        .stdout(OwnedFd::from(theirs))
        .stderr(Stdio::null());
    let mut child = cgi.command.spawn().unwrap();
    // The command holds the other end, too.
    drop(cgi);
    let mut output = Vec::new();
    ours.read_to_end(&mut output).unwrap();
    assert_eq!(wait_exit(&mut child).code(), Some(0));
    let mut cgi = script.cgi("GET", "/large");
    let file = script.file("output");
    cgi.command
        .stdin(Stdio::null())
        .stdout(File::create(&file).unwrap())
        .stderr(Stdio::null());
    let mut child = cgi.command.spawn().unwrap();
    assert_eq!(wait_exit(&mut child).code(), Some(0));
    let written = std::fs::read(&file).unwrap();
    assert_eq!(output.len(), written.len());
    assert!(output == written && output.len() > 160 * 65536);
}

#[test]
fn client_is_gone_for_the_application_once_nobody_reads_its_output() {
    let script = Script::new("");
    let (mut child, _) = script.cgi("GET", "/asks_until_gone").spawn();
    until("it has asked", SOON, || script.notes() == "False\n");
    drop(child.stdout.take());
    until("it knows", SOON, || script.notes() == "False\ngone\n");
    wait_exit(&mut child);
    let mut cgi = script.cgi("GET", "/asks_until_gone");
    let (ours, theirs) = UnixStream::pair().unwrap();
    cgi.command
        .stdin(Stdio::null())
        .stdout(OwnedFd::from(theirs))
        .stderr(Stdio::null());
    let mut child = cgi.command.spawn().unwrap();
    drop(cgi);
    until("the next one has asked", SOON, || {
        script.notes().ends_with("gone\nFalse\n")
    });
    drop(ours);
    until("it knows", SOON, || script.notes().ends_with("False\ngone\n"));
    wait_exit(&mut child);
}

#[test]
fn file_is_sent_as_it_is() {
    let script = Script::new("");
    assert_eq!(script.get("/file").ok(), std::fs::read_to_string(&script.path).unwrap());
}

//! What an import does to a CGI process.

use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::script::{APP, Script, finish, wait_exit};

/// The application of these tests, whose import begins with these lines.
fn script(options: &str, lines: &str) -> Script {
    Script::named("app.fcgi", options, &format!("{lines}\n{APP}"))
}

#[test]
fn streams_without_a_descriptor_are_no_reason_not_to_answer() {
    for lines in [
        "import sys\nclass Stream:\n    write = flush = lambda self, *text: 0\nsys.stdout = sys.stderr = Stream()",
        "import io, sys\nsys.stdout, sys.stderr = io.StringIO(), io.StringIO()",
        "import sys\nsys.stdout = sys.stderr = None",
        "import sys\nsys.stdout.close(); sys.stderr.close()",
        "import sys\ndetached = sys.stdout.detach(), sys.stderr.detach()",
    ] {
        // Python itself ends with 120 where it can't flush its streams.
        let answer = script("", lines).get("/pid");
        assert!(answer.head().starts_with("Status: 200 OK"), "{lines}: {answer:?}");
    }
}

#[test]
fn what_an_import_prints_is_there_even_if_the_process_is_killed() {
    let script = script(
        "",
        "print('printed at once')\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    );
    let mut cgi = script.cgi("GET", "/pid");
    cgi.command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let answer = finish(cgi.command.spawn().unwrap());
    assert!(answer.log.contains("printed at once"), "{answer:?}");
}

#[test]
fn reader_that_goes_away_ends_no_process_whose_sigpipe_ends_processes() {
    let lines = "import signal\nsignal.signal(signal.SIGPIPE, signal.SIG_DFL)";
    let script = script("", lines);
    let (mut child, _) = script.cgi("GET", "/large_with_close").spawn();
    drop(child.stdin.take());
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 1000]).unwrap();
    drop(stdout);
    assert_eq!(wait_exit(&mut child).code(), Some(0));
    assert_eq!(script.notes(), "closed\n");
}

#[test]
fn body_timeout_holds_however_many_signals_come() {
    let lines = "import signal\nsignal.signal(signal.SIGALRM, lambda *_: None)\n\
                 signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)";
    let script = script("body_timeout = \"700ms\"", lines);
    let begun = Instant::now();
    let answer = stalled(&script);
    assert!(begun.elapsed() >= Duration::from_millis(700));
    assert!(answer.head().starts_with("Status: 408"), "{answer:?}");
}

#[test]
fn exception_of_a_signal_handler_ends_the_wait_for_the_body() {
    let lines = "import signal\ndef raises(*_):\n    raise ValueError('it is time')\n\
                 signal.signal(signal.SIGALRM, raises)\nsignal.setitimer(signal.ITIMER_REAL, 0.5)";
    let answer = stalled(&script("", lines));
    answer.failed();
    assert!(answer.log.contains("it is time"), "{answer:?}");
}

/// The answer to a chunked body that stops after its first bytes.
#[track_caller]
fn stalled(script: &Script) -> crate::script::Answer {
    let cgi = script
        .cgi("POST", "/echo")
        .variable("HTTP_TRANSFER_ENCODING", "chunked");
    let (mut child, _) = cgi.spawn();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"begun").unwrap();
    let answer = finish(child);
    drop(stdin);
    answer
}

#[test]
fn package_wsgi_fpm_is_there_and_counts_nothing() {
    let lines = "from wsgi_fpm import RequestTimeout, metrics\nmetrics.counter('c').inc()\nmetrics.gauge('g', labels=['a']).labels(1).set(2)\n\
                 with metrics.histogram('h').time(): pass\nassert issubclass(RequestTimeout, BaseException)";
    let answer = script("", lines).get("/pid");
    assert!(answer.head().starts_with("Status: 200 OK"), "{answer:?}");
}

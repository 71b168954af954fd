//! Requests and responses on their way between a browser and the pool.

use super::*;

#[tokio::test]
async fn request_and_response_pass_through() {
    let setup = Setup::new(Status::Ready);
    let request = "POST /caf%E9 HTTP/1.1\r\nHost: localhost\r\nX-Name: caf\u{e9}\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody";
    let records = complete("Status: 201 Angelegt\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nhi");
    let (pool, answer) = setup.exchange(request, &records).await;
    assert_eq!(pool.param("PATH_INFO"), Some(&b"/caf\xe9"[..]));
    assert_eq!(pool.param("REQUEST_URI"), Some(&b"/caf%E9"[..]));
    assert_eq!(pool.param("HTTP_X_NAME"), Some("caf\u{e9}".as_bytes()));
    assert_eq!(pool.param("SERVER_PORT"), Some(setup.port.to_string().as_bytes()));
    assert_eq!(pool.param("CONTENT_LENGTH"), Some(&b"4"[..]));
    assert_eq!(pool.body, b"body");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let lines: Vec<_> = head.lines().collect();
    assert_eq!(
        lines[..4],
        [
            "HTTP/1.1 201 Angelegt",
            "set-cookie: a=1",
            "set-cookie: b=2",
            "content-length: 2"
        ]
    );
    assert!(head.contains("\r\ndate: "));
    assert_eq!(body, "hi");
}

#[tokio::test]
async fn chunked_request_is_streamed_without_a_length() {
    let setup = Setup::new(Status::Ready);
    let head =
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nfirst\r\n";
    let mut browser = setup.browser(head).await;
    let mut pool = PoolSide::accept(&setup.pool).await;
    pool.read_params().await;
    assert_eq!(pool.param("CONTENT_LENGTH"), None);
    assert_eq!(pool.param("HTTP_TRANSFER_ENCODING"), Some(&b"chunked"[..]));
    assert_eq!(pool.read_record().await, Some((kind::STDIN, b"first".to_vec())));
    // The response streams too, while the request is still under way.
    pool.socket
        .write_all(&output(&format!("{PLAIN}\r\nearly")))
        .await
        .unwrap();
    assert!(
        read_until(&mut browser, "early")
            .await
            .starts_with("HTTP/1.1 200 OK\r\n")
    );
    browser.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
    assert_eq!(pool.read_record().await, Some((kind::STDIN, b"second".to_vec())));
    assert_eq!(pool.read_record().await, Some((kind::STDIN, Vec::new())));
    pool.socket.write_all(&complete("late")).await.unwrap();
    assert_eq!(read_to_end(&mut browser).await, "4\r\nlate\r\n0\r\n\r\n");
}

#[tokio::test]
async fn truncated_response_is_a_broken_transfer() {
    let mut zero_record = output(&format!("{PLAIN}\r\npart"));
    zero_record.extend([0; 8]);
    let mut inside_a_record = output(&format!("{PLAIN}\r\npart"));
    inside_a_record.extend(&output("more")[..10]);
    let only_stdout_ended = [output(&format!("{PLAIN}\r\npart")), output("")].concat();
    for records in [
        output(&format!("{PLAIN}\r\npart")),
        zero_record,
        inside_a_record,
        only_stdout_ended,
    ] {
        let setup = Setup::new(Status::Ready);
        let (_, answer) = setup.exchange(GET, &records).await;
        assert!(
            answer.ends_with("\r\n\r\n4\r\npart\r\n"),
            "no last chunk may follow: {answer:?}"
        );
    }
}

#[tokio::test]
async fn response_without_a_usable_head_is_a_bad_gateway() {
    for (records, reason) in [
        (
            Vec::new(),
            "the pool closed the connection before the end of the response",
        ),
        (complete(""), "the response ended before its head was complete"),
        (complete("nonsense\r\n\r\n"), "the response has a malformed header line"),
        (
            complete(&"x".repeat(70_000)),
            "the head of the response is over 65536 bytes",
        ),
    ] {
        let setup = Setup::new(Status::Ready);
        let (_, answer) = setup.exchange(GET, &records).await;
        assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
        assert!(answer.contains(reason), "{answer}");
    }
}

#[tokio::test]
async fn response_that_is_no_fastcgi_is_said_in_our_words() {
    let cut = [[0u8; 8].as_slice(), &output("late")].concat();
    let head_and_cut = [output("Status: 200 OK\r\n"), cut.clone()].concat();
    for records in [cut, head_and_cut] {
        let setup = Setup::new(Status::Ready);
        let (_, answer) = setup.exchange(GET, &records).await;
        assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
        let said = "the response was broken off after it had begun: the application failed, or took too long";
        for text in [said, "GET /a%20b", "The log of wsgi-fpm says more."] {
            assert!(answer.contains(text), "{answer}");
        }
    }
}

#[tokio::test]
async fn host_that_is_not_this_machine_is_refused_without_the_pool() {
    let setup = Setup::new(Status::Ready);
    for head in [
        "GET / HTTP/1.1\r\nHost: evil.example:8000",
        "GET / HTTP/1.1\r\nHost: <b>evil.example</b>",
        "GET http://evil.example/ HTTP/1.1\r\nHost: localhost",
        "GET / HTTP/1.1\r\nX-WSGI-FPM-Status: x\r\nHost: evil.example",
        "GET / HTTP/1.1\r\nHost: \u{e9}",
    ] {
        let mut browser = setup.browser(&format!("{head}\r\nConnection: close\r\n\r\n")).await;
        let answer = read_to_end(&mut browser).await;
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
        assert!(answer.contains("--allow-host") && !answer.contains("<b>"), "{answer}");
    }
    // HTTP/1.0 need not name any, and no browser speaks it.
    for head in [
        "GET / HTTP/1.1\r\nHost: blog.test:81\r\nConnection: close",
        "GET / HTTP/1.0",
    ] {
        let (_, answer) = setup.exchange(&format!("{head}\r\n\r\n"), &complete(PLAIN_PAGE)).await;
        assert!(answer.contains(" 200 OK\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn many_small_records_keep_their_order() {
    let setup = Setup::new(Status::Ready);
    let numbers: Vec<String> = (0..20_000).map(|number| number.to_string()).collect();
    let mut records = output(&format!("{PLAIN}Content-Length: {}\r\n\r\n", numbers.concat().len()));
    for number in &numbers {
        encode::stdout(&mut records, 1, number.as_bytes());
        encode::stderr(&mut records, 1, b"a line for the log\n");
    }
    encode::end_stdout(&mut records, 1);
    encode::end_request(&mut records, 1, 0, ProtocolStatus::RequestComplete);
    let (_, answer) = setup.exchange(GET, &records).await;
    assert_eq!(answer.split_once("\r\n\r\n").unwrap().1, numbers.concat());
}

#[tokio::test]
async fn head_request_keeps_the_connection_and_sends_no_body() {
    let setup = Setup::new(Status::Ready);
    let mut browser = setup.browser("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let mut pool = PoolSide::accept(&setup.pool).await;
    pool.read_request().await;
    pool.socket
        .write_all(&complete(&format!("{PLAIN}Content-Length: 7\r\n\r\n")))
        .await
        .unwrap();
    let head = read_until(&mut browser, "\r\n\r\n").await;
    assert!(
        head.contains("content-length: 7\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    // Without a length of its own, the response gets none: it is not known to be empty.
    browser
        .write_all(b"HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut pool = PoolSide::accept(&setup.pool).await;
    pool.read_request().await;
    pool.socket.write_all(&complete(&format!("{PLAIN}\r\n"))).await.unwrap();
    let head = read_to_end(&mut browser).await;
    assert!(!head.contains("content-length"), "{head}");
}

#[tokio::test]
async fn early_response_reaches_a_browser_that_still_uploads() {
    let setup = Setup::new(Status::Ready);
    let size = 4 * 1024 * 1024;
    let request = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n");
    let mut browser = setup.browser(&request).await;
    let mut pool = PoolSide::accept(&setup.pool).await;
    pool.read_params().await;
    pool.socket
        .write_all(&complete("Status: 413 Too Large\r\nContent-Length: 3\r\n\r\nbig"))
        .await
        .unwrap();
    drop(pool);
    timeout(DEADLINE, browser.write_all(&vec![b'x'; size]))
        .await
        .unwrap()
        .unwrap();
    let answer = read_to_end(&mut browser).await;
    assert!(
        answer.starts_with("HTTP/1.1 413 Too Large\r\n") && answer.ends_with("\r\n\r\nbig"),
        "{answer}"
    );
}

#[tokio::test]
async fn browser_that_goes_away_closes_the_connection_to_the_pool() {
    let setup = Setup::new(Status::Ready);
    // Before the head, after it, and inside the request's body.
    let upload = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf";
    for (request, answer) in [
        (GET, None),
        (GET, Some(output(&format!("{PLAIN}\r\npart")))),
        (upload, None),
    ] {
        let mut browser = setup.browser(request).await;
        let mut pool = PoolSide::accept(&setup.pool).await;
        pool.read_params().await;
        if let Some(answer) = answer {
            pool.socket.write_all(&answer).await.unwrap();
            read_until(&mut browser, "part").await;
        }
        drop(browser);
        let mut rest = Vec::new();
        timeout(DEADLINE, pool.socket.read_to_end(&mut rest))
            .await
            .expect("connection stays open")
            .unwrap();
    }
}

#[tokio::test]
async fn bad_targets_are_refused_without_the_pool() {
    let setup = Setup::new(Status::Ready);
    for (target, status) in [
        ("GET /%zz", "400 Bad Request"),
        ("CONNECT localhost:80", "405 Method Not Allowed"),
    ] {
        let mut browser = setup
            .browser(&format!(
                "{target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            ))
            .await;
        let answer = read_to_end(&mut browser).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
    }
}

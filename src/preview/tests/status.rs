//! What a browser gets while the pool starts, when it can't, and when the preview ends.

use super::*;

#[tokio::test]
async fn request_waits_while_the_application_starts() {
    let setup = Setup::new(Status::Starting);
    let mut browser = setup.browser(GET).await;
    let accepted = timeout(Duration::from_millis(100), setup.pool.accept()).await;
    assert!(accepted.is_err(), "connected before the pool was ready");
    setup.status.send(Status::Ready).unwrap();
    let mut pool = PoolSide::accept(&setup.pool).await;
    pool.read_request().await;
    pool.socket
        .write_all(&complete(&format!("{PLAIN}\r\nhello")))
        .await
        .unwrap();
    assert!(read_to_end(&mut browser).await.contains("hello"));
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_service_unavailable() {
    let mut setup = Setup::new(Status::Starting);
    let mut browser = setup.browser(GET).await;
    let answer = read_unavailable(&mut browser).await;
    assert!(answer.contains("still starting"), "{answer}");
    // Ready, but nobody listens.
    setup.status.send(Status::Ready).unwrap();
    let path = setup.pool.local_addr().unwrap().as_pathname().unwrap().to_owned();
    std::fs::remove_file(path).unwrap();
    let mut browser = setup.browser(GET).await;
    let answer = read_unavailable(&mut browser).await;
    assert!(answer.contains("cannot connect to the pool"), "{answer}");
    setup.shutdown.take();
    setup.serving.await.unwrap().unwrap();
}

/// Without a deadline: the paused clock would run to it.
async fn read_unavailable(browser: &mut TcpStream) -> String {
    let mut answer = String::new();
    browser.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    answer
}

#[tokio::test]
async fn failure_is_shown_escaped_until_the_status_changes() {
    let failed = Status::Failed {
        reason: "blog.wsgi:app cannot be imported".to_owned(),
        detail: "  File \"<string>\"\nSyntaxError: a & b".to_owned(),
    };
    let setup = Setup::new(failed.clone());
    let mut browser = setup.browser(GET).await;
    let answer = read_to_end(&mut browser).await;
    assert!(answer.starts_with("HTTP/1.1 500 Internal Server Error\r\n"), "{answer}");
    assert!(
        answer.contains("  File &quot;&lt;string&gt;&quot;\nSyntaxError: a &amp; b"),
        "{answer}"
    );
    let token = pages::token(&failed);
    assert!(answer.contains(&token));

    let question =
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-WSGI-FPM-Status: {token}\r\nConnection: close\r\n\r\n");
    let mut script = setup.browser(&question).await;
    let early = timeout(Duration::from_millis(100), script.read_u8()).await;
    assert!(early.is_err(), "answered before the status changed");
    setup.status.send(Status::Starting).unwrap();
    assert!(read_to_end(&mut script).await.ends_with("\r\n\r\nstarting"));
}

#[tokio::test]
async fn shutdown_finishes_running_requests_and_closes_idle_connections() {
    let mut setup = Setup::new(Status::Ready);
    let mut idle = TcpStream::connect(("127.0.0.1", setup.port)).await.unwrap();
    let mut browser = setup.browser(GET).await;
    let mut pool = PoolSide::accept(&setup.pool).await;
    pool.read_request().await;
    setup.shutdown.take();
    assert_eq!(read_to_end(&mut idle).await, "");
    pool.socket
        .write_all(&complete(&format!("{PLAIN}\r\nhello")))
        .await
        .unwrap();
    assert!(read_to_end(&mut browser).await.contains("hello"));
    timeout(DEADLINE, setup.serving)
        .await
        .expect("serve goes on")
        .unwrap()
        .unwrap();
}

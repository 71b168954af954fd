//! Limits and timeouts of the web servers fit those of the application, whatever they are.

use super::{SERVERS, config, setting};

/// Seconds of "330s", "330" or "1500ms".
#[track_caller]
fn seconds(text: &str) -> f64 {
    let (number, factor) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 0.001),
        (_, Some(number)) => (number, 1.0),
        _ => (text, 1.0),
    };
    number.parse::<f64>().unwrap_or_else(|_| panic!("no time: {text:?}")) * factor
}

/// The web server's read timeout; none where it is without limit.
fn read_timeout(server: &str, text: &str) -> Option<f64> {
    let typed = match server {
        "nginx" => setting(text, "fastcgi_read_timeout"),
        "apache" => setting(text, "ProxyPass \"/\"").split(" timeout=").nth(1).unwrap(),
        "apache-fcgid" => {
            let busy = setting(text, "FcgidBusyTimeout");
            assert_eq!(busy, setting(text, "FcgidIOTimeout"));
            busy
        }
        "lighttpd" => match setting(text, "\"read-timeout\" =>") {
            "0" => return None,
            time => time,
        },
        "haproxy" => setting(text, "timeout server"),
        // Its timeouts bound whole transfers, so there must be none.
        "caddy" => {
            assert!(!text.contains("\n\t\t\t\t\tread_timeout") && !text.contains("\n\t\t\t\t\twrite_timeout"));
            return None;
        }
        _ => unreachable!(),
    };
    Some(seconds(typed.split(' ').next().unwrap()))
}

#[test]
fn web_servers_wait_longer_than_the_application_may_take() {
    let cases: [(&[&str], f64); 7] = [
        (&[], 310.0),
        (&["--request-timeout", "1500ms", "--queue-timeout", "1ms"], 1.501),
        (&["--request-timeout", "1ms"], 10.001),
        (&["--request-timeout", "20h", "--queue-timeout", "0"], 72000.0),
        (&["--request-timeout", "30s", "--queue-timeout", "10m"], 630.0),
        (&["--request-timeout", "0"], 1_000_000.0),
        (
            &["--request-timeout", "0", "--queue-timeout", "0", "--body-timeout", "0"],
            1_000_000.0,
        ),
    ];
    for (options, ours) in cases {
        for server in SERVERS.into_iter().filter(|server| *server != "systemd") {
            if let Some(theirs) = read_timeout(server, &config(server, options)) {
                assert!(theirs >= ours + 5.0, "{server} {options:?}: {theirs}");
            }
        }
    }
}

#[test]
fn web_servers_send_bodies_for_longer_than_they_may_pause() {
    for (typed, ours) in [("1m", 60.0), ("90ms", 0.09), ("2h", 7200.0), ("0", 1_000_000.0)] {
        let options = ["--body-timeout", typed, "--request-timeout", "1s"];
        let nginx = config("nginx", &options);
        assert!(
            seconds(setting(&nginx, "fastcgi_send_timeout")) >= ours + 5.0,
            "{nginx}"
        );
        // One timeout for both directions.
        let theirs = read_timeout("apache", &config("apache", &options));
        assert!(theirs.unwrap() >= ours + 5.0, "{theirs:?}");
        let lighttpd = config("lighttpd", &options);
        let theirs = seconds(setting(&lighttpd, "\"write-timeout\" =>"));
        assert!(theirs >= ours + 5.0 || (typed == "0" && theirs == 0.0), "{lighttpd}");
    }
}

#[test]
fn nginx_closes_kept_connections_first_or_keeps_none() {
    for (options, idle, requests) in [
        (["--idle-timeout", "75s"], 60.0, 1000),
        (["--idle-timeout", "0"], 60.0, 1000),
        (["--idle-timeout", "10s"], 8.0, 1000),
        (["--idle-timeout", "1h"], 2880.0, 1000),
        (["--connection-requests", "50"], 60.0, 49),
        (["--connection-requests", "0"], 60.0, 1000),
    ] {
        let text = config("nginx", &options);
        assert_eq!(seconds(setting(&text, "keepalive_timeout")), idle, "{options:?}");
        assert_eq!(
            setting(&text, "keepalive_requests"),
            requests.to_string(),
            "{options:?}"
        );
        assert_eq!(setting(&text, "fastcgi_keep_conn"), "on");
    }
    for options in [
        ["--idle-timeout", "1s"],
        ["--connection-requests", "1"],
        ["--connections", "4"],
    ] {
        let text = config("nginx", &options);
        assert!(
            !text.contains("    keepalive") && !text.contains("fastcgi_keep_conn"),
            "{text}"
        );
        assert!(!config("apache", &options).contains("enablereuse"));
        assert_eq!(setting(&config("haproxy", &options), "no option"), "keep-conn");
    }
}

#[test]
fn largest_bodies_agree() {
    for (typed, nginx, apache, lighttpd) in [
        ("0", "0", "0", "0"),
        ("1", "1", "1", "1"),
        ("1025", "1025", "1025", "2"),
        ("100m", "100m", "104857600", "102400"),
        ("8000g", "8000g", "8589934592000", "0"),
    ] {
        let text = |server| config(server, &["--body-max", typed]);
        assert_eq!(setting(&text("nginx"), "client_max_body_size"), nginx);
        assert_eq!(setting(&text("apache"), "LimitRequestBody"), apache);
        assert_eq!(setting(&text("lighttpd"), "server.max-request-size"), lighttpd);
        let unlimited = typed == "0";
        let fcgid = text("apache-fcgid");
        let largest: u64 = setting(&fcgid, "FcgidMaxRequestLen").parse().unwrap();
        assert!(if unlimited {
            largest > 1 << 60
        } else {
            largest.to_string() == apache
        });
        assert_eq!(text("caddy").contains("request_body"), !unlimited);
        assert_eq!(
            text("haproxy").contains(&format!("req.body_size gt {apache}")),
            !unlimited
        );
    }
}

#[test]
fn heads_of_responses_fit_into_buffers_of_nginx() {
    for (typed, kilobytes) in [("1", 1), ("64k", 64), ("65537", 65), ("256k", 256), ("10m", 10240)] {
        let text = config("nginx", &["--response-head", typed]);
        let first: u64 = setting(&text, "fastcgi_buffer_size")
            .trim_end_matches('k')
            .parse()
            .unwrap();
        assert!(first >= kilobytes + 4, "{typed}: {first}");
        // nginx's own rule, by which it would refuse the file: all buffers but one hold more than twice the first one.
        let (count, size) = setting(&text, "fastcgi_buffers").split_once(' ').unwrap();
        let count: u64 = count.parse().unwrap();
        assert!((count - 1) * 16 > 2 * first && size == "16k", "{text}");
    }
    // Larger than anything that there is.
    config("nginx", &["--response-head", "8000000000g"]);
}

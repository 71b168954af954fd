//! What is written for `--status-path` and `--ping-path`. Whether the servers obey is `tests/frontends/config/own_pages.rs`.

use super::{config, refused, setting};

const BOTH: [&str; 4] = ["--status-path", "/fpm-status", "--ping-path", "/fpm-ping"];
/// Of the comment that stands with each rule.
const WHY: &str = "whoever may ask sees which paths are asked for";

/// The rule of each server that connects to a pool, without the spaces that lines begin with.
const RULES: [(&str, &str); 5] = [
    (
        "nginx",
        "location ~ \"^(/fpm-status|/fpm-ping)$\" {\nallow 127.0.0.1;\nallow ::1;\ndeny all;\naccess_log off;\nfastcgi_pass mysite;\n}\n",
    ),
    (
        "apache",
        "<LocationMatch \"^(/fpm-status|/fpm-ping)$\">\nRequire ip 127.0.0.1 ::1\n</LocationMatch>\n",
    ),
    (
        "lighttpd",
        "$HTTP[\"url\"] =~ \"^(/fpm-status|/fpm-ping)$\" {\n$HTTP[\"remoteip\"] !~ \"^(127\\.0\\.0\\.1|::1)$\" {\n\
         url.access-deny = ( \"\" )\n# Where mod_fastcgi comes before mod_access, it would answer first.\nfastcgi.server = ()\n}\n}\n",
    ),
    (
        "caddy",
        "@from/elsewhere {\npath /fpm-status /fpm-ping\nnot remote_ip 127.0.0.1 ::1\n}\nrespond @from/elsewhere 403\n",
    ),
    (
        "haproxy",
        "http-request deny if { path,url_dec -m str /fpm-status /fpm-ping } !{ src 127.0.0.1 ::1 }\n",
    ),
];

fn lines(text: &str) -> String {
    text.lines().map(|line| line.trim_start().to_owned() + "\n").collect()
}

#[test]
fn own_pages_are_kept_from_others_with_and_without_https() {
    let tls = ["--tls-cert", "/etc/a.pem", "--tls-key", "/etc/a.key"];
    for (server, rule) in RULES {
        for more in [&[][..], &tls] {
            let text = lines(&config(server, &[&BOTH[..], more].concat()));
            assert_eq!(text.matches(rule).count(), 1, "{rule}\n{text}");
            assert_eq!(text.matches(WHY).count(), 1, "{text}");
        }
    }
}

#[test]
fn nothing_is_written_for_a_path_that_does_not_reach_the_pool() {
    for (server, _) in RULES {
        for (mount, path) in [
            ("/shop", "/fpm-status"),
            ("/shop", "/shopping"),
            ("/shop/cart", "/shop"),
        ] {
            let text = config(server, &["--mount", mount, "--status-path", path]);
            let typed = format!(" --status-path {path}");
            assert_eq!(text.replacen(&typed, "", 1), config(server, &["--mount", mount]));
        }
    }
}

#[test]
fn path_of_the_mount_itself_reaches_the_pool() {
    for (server, _) in RULES {
        let text = config(server, &["--mount", "/shop", "--status-path", "/shop"]);
        assert_eq!(text.matches(WHY).count(), 1, "{text}");
    }
}

#[test]
fn path_for_both_pages_is_written_once() {
    for (server, _) in RULES {
        let text = config(server, &["--status-path", "/own", "--ping-path", "/own"]);
        let rule = text.split_once(WHY).unwrap().1;
        assert_eq!(rule.matches("/own").count(), 1, "{text}");
    }
}

#[test]
fn path_that_caddy_would_take_for_a_pattern_is_refused() {
    for path in ["/own*", "/[own]"] {
        let message = refused(&["caddy", "app:app", "--status-path", path]);
        assert!(
            message.starts_with("--status-path") && message.contains("Caddy"),
            "{message}"
        );
    }
}

/// A process that Apache starts has no such pages, and does not start with their options.
#[test]
fn own_pages_are_left_out_where_apache_starts_the_processes() {
    let text = config("apache-fcgid", &BOTH);
    assert!(text.contains(": --status-path, --ping-path.\n"), "{text}");
    let command = setting(&text, "FcgidWrapper");
    assert!(!command.contains("/fpm-"), "{command}");
}

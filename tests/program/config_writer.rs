//! `wsgi-fpm config`: what it prints for each server, and what it refuses. Whether the servers understand it is
//! `tests/servers/config_writer.rs`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::options::from_help;
use crate::run::{output, program, refusal};

const SERVERS: [&str; 7] = [
    "nginx",
    "apache",
    "apache-fcgid",
    "lighttpd",
    "caddy",
    "haproxy",
    "systemd",
];
/// Set to 1, the files below tests/program/config are written anew; look at the difference before it is committed.
const BLESS: &str = "WSGI_FPM_BLESS";

/// What is printed for an application in a directory that every machine has.
#[track_caller]
fn config(server: &str, more: &[&str]) -> String {
    let arguments = [&["config", server, "mysite.wsgi:application", "--chdir", "/usr"], more].concat();
    let output = output(&arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && errors.is_empty(), "{arguments:?}: {errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.ends_with('\n') && !text.contains("\n\n\n"), "{text}");
    text
}

#[track_caller]
fn refused(arguments: &[&str]) -> String {
    refusal(&output(&[&["config"], arguments].concat()), 2)
}

/// The rest of the only line that begins with `setting`, spaces aside.
#[track_caller]
fn setting<'a>(text: &'a str, setting: &str) -> &'a str {
    let found: Vec<_> = text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix(setting))
        .collect();
    let [rest] = found[..] else {
        panic!("{} lines with {setting:?} in:\n{text}", found.len());
    };
    rest.trim().trim_end_matches([';', ',']).trim_start_matches(['=', ' '])
}

#[track_caller]
fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/program/config")
        .join(name);
    let version = env!("CARGO_PKG_VERSION");
    if std::env::var_os(BLESS).is_some_and(|value| value == "1") {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text,
        expected,
        "{} of {version} differs; {BLESS}=1 writes it anew",
        path.display()
    );
}

#[test]
fn whole_site_is_written_for_each_server() {
    for server in SERVERS {
        let mut options = vec![
            "--python",
            "/srv/blog/.venv",
            "--env",
            "DJANGO_SETTINGS_MODULE=mysite.settings",
            "--workers",
            "4",
            "--request-timeout",
            "1m",
            "--body-max",
            "50m",
            "--server-name",
            "blog.example.org",
            "--server-name",
            "www.blog.example.org",
            "--program",
            "/usr/local/bin/wsgi-fpm",
        ];
        if server != "haproxy" {
            options.extend([
                "--static",
                "/static=/srv/blog/static",
                "--static",
                "/media/=/srv/blog/media/",
            ]);
        }
        compare(server, &config(server, &options));
    }
}

#[test]
fn application_under_a_prefix_is_written_for_each_server() {
    for server in SERVERS {
        let mut options = vec!["--mount", "/shop", "--listen", "127.0.0.1:9000", "--port", "8080"];
        options.extend([
            "--user",
            "shop",
            "--group",
            "shops",
            "--program",
            "/usr/local/bin/wsgi-fpm",
        ]);
        compare(&format!("{server}-mounted"), &config(server, &options));
    }
}

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

#[test]
fn web_servers_connect_where_the_service_listens() {
    for (listen, nginx, apache) in [
        ("/srv/b.sock", "unix:/srv/b.sock", "\"unix:/srv/b.sock|fcgi://mysite/\""),
        ("127.0.0.1:9000", "127.0.0.1:9000", "\"fcgi://127.0.0.1:9000/\""),
        ("0.0.0.0:9000", "127.0.0.1:9000", "\"fcgi://127.0.0.1:9000/\""),
        ("[::]:9000", "[::1]:9000", "\"fcgi://[::1]:9000/\""),
        ("192.0.2.7:9000", "192.0.2.7:9000", "\"fcgi://192.0.2.7:9000/\""),
    ] {
        let options = ["--listen", "fd:3", "--listen", listen];
        let text = config("nginx", &options);
        assert!(text.contains(&format!("\n    server {nginx};\n")), "{text}");
        assert!(setting(&config("apache", &options), "ProxyPass").contains(apache));
        // A wait can only be judged where both have the same clock.
        let is_local = !listen.starts_with("192");
        for server in ["nginx", "caddy", "haproxy"] {
            assert_eq!(
                config(server, &options).contains(" REQUEST_START"),
                is_local,
                "{server} {listen}"
            );
        }
    }
    // Without --listen all of them have the same default.
    let unit = config("systemd", &["--name", "b.l-o_g"]);
    assert_eq!(setting(&unit, "RuntimeDirectory"), "wsgi-fpm-b.l-o_g");
    assert_eq!(setting(&unit, "--listen "), "/run/wsgi-fpm-b.l-o_g/wsgi.sock \\");
    let site = config("nginx", &["--name", "b.l-o_g"]);
    assert_eq!(setting(&site, "server unix:"), "/run/wsgi-fpm-b.l-o_g/wsgi.sock");
}

#[test]
fn unit_says_the_options_again_wherever_it_is_started() {
    let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
    std::fs::write(directory.path().join("my app.py"), "").unwrap();
    let mut command = program();
    command.current_dir(&directory).env("VIRTUAL_ENV", "/srv/active");
    command.args([
        "config",
        "systemd",
        "my app.py:app",
        "--validate",
        "--pythonpath",
        "lib",
        "--pythonpath=../x",
    ]);
    command.args([
        "--listen=run/a.sock",
        "--threads=2",
        "--env=A=-1 $HOME \"q\" %h \\",
        "--listen",
        ":9000",
    ]);
    command.args([
        "--env",
        "B=",
        "--stop-timeout",
        "1500ms",
        "--program",
        "/opt/50% $x/wsgi-fpm",
    ]);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let here = directory.path().display();
    let expected = format!(
        "ExecStart=\"/opt/50%% $x/wsgi-fpm\" serve \"my app.py:app\" \\\n    \
         --chdir {here} \\\n    \
         --python /srv/active \\\n    \
         --pythonpath {here}/lib \\\n    \
         --pythonpath {here}/../x \\\n    \
         --env \"A=-1 $$HOME \\\"q\\\" %%h \\\\\" \\\n    \
         --env B= \\\n    \
         --validate \\\n    \
         --threads 2 \\\n    \
         --stop-timeout 1500ms \\\n    \
         --listen {here}/run/a.sock \\\n    \
         --listen 127.0.0.1:9000 \\\n    \
         --listen-group www-data\n"
    );
    assert!(text.contains(&expected), "{text}\n{expected}");
    assert_eq!(setting(&text, "TimeoutStopSec"), "12");
    assert!(!text.contains("RuntimeDirectory"));
    assert_eq!(
        setting(&config("systemd", &["--stop-timeout", "0"]), "TimeoutStopSec"),
        "infinity"
    );
}

#[test]
fn unit_hides_no_directory_that_the_application_needs() {
    let unit = |more: &[&str]| config("systemd", &[&["--program", "/usr/local/bin/wsgi-fpm"], more].concat());
    let private = |text: &str| {
        (
            text.contains("\nPrivateTmp=yes\n"),
            setting(text, "ProtectHome").to_owned(),
        )
    };
    assert_eq!(private(&unit(&[])), (true, "yes".into()));
    assert_eq!(
        private(&unit(&["--python", "/home/me/venv"])),
        (true, "read-only".into())
    );
    assert_eq!(private(&unit(&["--pythonpath", "/tmp/lib"])), (false, "yes".into()));
    assert_eq!(private(&unit(&["--listen", "/tmp/a.sock"])), (false, "yes".into()));
    assert_eq!(private(&unit(&["--env", "A=/home"])), (true, "yes".into()));
}

#[test]
fn unit_makes_the_directories_of_its_sockets() {
    let unit = |more: &[&str]| config("systemd", more);
    let two = [
        "--listen",
        "/run/a/b/c.sock",
        "--listen",
        "/var/run/d e/f.sock",
        "--listen",
        "/srv/g.sock",
    ];
    assert_eq!(setting(&unit(&two), "RuntimeDirectory"), "a/b \"d e\"");
    for elsewhere in [["--listen", "/srv/g.sock"], ["--listen", ":9000"], ["--listen", "fd:3"]] {
        assert!(!unit(&elsewhere).contains("RuntimeDirectory"));
    }
    assert_eq!(setting(&unit(&["--listen", "fd:3"]), "Requires"), "mysite.socket");
    // Nobody but root makes files in /run itself.
    let message = refused(&["systemd", "app", "--listen", "/run/a.sock"]);
    assert!(
        message.contains("--listen /run/a.sock") && message.contains("/run/wsgi-fpm-app/wsgi.sock"),
        "{message}"
    );
    assert!(!unit(&["--listen", "/run/a.sock", "--user", "root"]).contains("RuntimeDirectory"));
}

#[test]
fn sockets_belong_to_the_group_of_the_web_server() {
    let group = |text: &str| setting(text, "SupplementaryGroups").to_owned();
    assert_eq!(group(&config("systemd", &[])), "www-data");
    let root = config("systemd", &["--listen-group", "root"]);
    assert_eq!(group(&root), "root");
    assert_eq!(setting(&root, "--listen-group"), "root \\");
    assert!(!config("systemd", &["--listen", ":9000"]).contains("SupplementaryGroups"));
    // The comments of the others say it, too, by their own groups.
    for (server, group) in [
        ("nginx", "www-data"),
        ("apache", "www-data"),
        ("caddy", "caddy"),
        ("haproxy", "haproxy"),
    ] {
        assert!(
            config(server, &[]).contains(&format!(" --listen-group {group}\n")),
            "{server}"
        );
    }
}

#[test]
fn wrong_command_lines_are_refused_as_by_serve() {
    assert!(refused(&["ngnix", "app"]).contains("'nginx'"));
    assert!(refused(&["nginx"]).contains("<APP>"));
    assert!(refused(&[]).contains("<SERVER>"));
    assert!(refused(&["nginx", "app", "--lisen", "/x"]).contains("'--listen'"));
    for options in [
        ["--body-max", "much"],
        ["--chdir", "/nowhere/at/all"],
        ["--mount", "app"],
        ["--listen", "9000"],
        ["--listen-group", "no such group"],
        ["--params-bytes", "0"],
    ] {
        let (config, serve) = (
            refused(&[&["nginx", "app:app"], &options[..]].concat()),
            refusal(
                &output(&[&["serve", "app:app", "--listen", "/x"], &options[..]].concat()),
                2,
            ),
        );
        assert_eq!(config, serve);
    }
    let message = refused(&["caddy", "no/such.py:app"]);
    assert!(message.contains("no/such.py does not exist"), "{message}");
    for (option, value) in [
        ("--static", "/static"),
        ("--static", "static=/srv"),
        ("--static", "/=/srv"),
        ("--static", "/static="),
        ("--server-name", "two words"),
        ("--server-name", "a;b"),
        ("--port", "0"),
        ("--port", "70000"),
        ("--user", "a b"),
        ("--user", "%n"),
        ("--group", ""),
    ] {
        let message = refused(&["nginx", "app", &format!("{option}={value}")]);
        assert!(message.contains(option), "{option} {value}: {message}");
    }
}

#[test]
fn values_that_a_server_can_not_hold_are_refused_by_name() {
    let cases: &[(&str, &str, &str)] = &[
        ("nginx", "--static=/s=/srv/a$b", "\"$\""),
        ("nginx", "--static=/s=/srv/a\nb", "\\n"),
        ("nginx", "--mount=/a\tb", "\\t"),
        ("systemd", "--env=A=b\nc", "\\n"),
        ("apache", "--static=/s=/srv/${x}", "${"),
        ("apache", "--static=/s=/srv/a*b", "\"*\""),
        ("apache", "--mount=/a?b", "--mount"),
        ("apache", "--listen=/srv/a|b", "\"|\""),
        ("lighttpd", "--listen=/srv/a\\", "\\\\"),
        ("caddy", "--static=/s=/srv/{x}", "\"{\""),
        ("caddy", "--mount=/a*b", "\"*\""),
        ("caddy", "--mount=/100%", "\"%\""),
        ("haproxy", "--listen=/srv/$x.sock", "\"$\""),
        ("haproxy", "--request-timeout=600h", "576h"),
        ("haproxy", "--static=/s=/srv/s", "--static"),
        ("nginx", "--listen=fd:3", "--listen"),
        ("nginx", "--listen=:0", "--listen"),
    ];
    for (server, option, named) in cases {
        let message = refused(&[server, "app:app", option]);
        let (name, _) = option.split_once('=').unwrap();
        assert!(
            message.contains(name) && message.contains(named),
            "{server} {option}: {message}"
        );
    }
    let long = format!("--env=A={}", "x".repeat(500));
    assert!(refused(&["apache-fcgid", "app:app", &long]).contains("511"));
    let twice = refused(&["nginx", "app:app", "--static", "/s=/a", "--static", "/s/=/b"]);
    assert!(twice.contains("--static /s: named twice"), "{twice}");
    let file = format!("--static=/s={}", env!("CARGO_BIN_EXE_wsgi-fpm"));
    assert!(refused(&["nginx", "app:app", &file]).contains("not a directory"));
}

#[test]
fn values_that_are_not_utf8_are_refused() {
    let mut option = b"--python=/srv/".to_vec();
    option.push(0xff);
    let mut command = program();
    command.args(["config", "nginx", "app"]).arg(OsString::from_vec(option));
    let message = refusal(&command.output().unwrap(), 2);
    assert!(message.contains("--python") && message.contains("UTF-8"), "{message}");
}

#[test]
fn options_of_the_writer_are_documented() {
    let serve = from_help("serve");
    let options: BTreeMap<_, _> = from_help("config")
        .into_iter()
        .filter(|(name, _)| !serve.contains_key(name))
        .collect();
    let page =
        std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/config-writer.md")).unwrap();
    let documented: Vec<_> = page
        .lines()
        .filter_map(|line| Some(format!("--{}", line.strip_prefix("| `--")?.split(['`', ' ']).next()?)))
        .collect();
    for name in options.keys() {
        assert!(documented.contains(name), "docs/config-writer.md does not have {name}");
    }
    for name in &documented {
        assert!(
            options.contains_key(name),
            "{name} of docs/config-writer.md does not exist"
        );
    }
    for server in SERVERS {
        assert!(
            page.contains(&format!("`{server}`")),
            "docs/config-writer.md does not have {server}"
        );
    }
}

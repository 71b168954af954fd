//! The unit says what was typed, and it and the web servers mean the same socket.

use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use super::{config, refused, setting};
use crate::run::program;

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
    // HAProxy looks for sockets where it is locked in.
    let text = config("haproxy", &["--listen", "/var/lib/haproxy/blog/wsgi.sock"]);
    assert!(
        setting(&text, "server mysite").starts_with("unix@/blog/wsgi.sock "),
        "{text}"
    );
    let text = config("haproxy", &["--listen", "/var/lib/haproxyx/wsgi.sock"]);
    assert!(
        setting(&text, "server mysite").starts_with("unix@/var/lib/haproxyx/wsgi.sock "),
        "{text}"
    );
    // Without --listen all of them have the same default.
    let unit = config("systemd", &["--name", "b.l-o_g"]);
    assert_eq!(setting(&unit, "RuntimeDirectory="), "wsgi-fpm-b.l-o_g");
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
    // The program asks for more where it needs more.
    assert_eq!(setting(&text, "TimeoutStopSec"), "30");
    assert_eq!(setting(&text, "RuntimeDirectory="), "wsgi-fpm-my_app");
}

#[test]
fn unit_reloads_by_the_control_socket_of_its_service() {
    let reload = |more: &[&str]| {
        let unit = config("systemd", &[&["--program", "/opt/50% x/wsgi-fpm"], more].concat());
        setting(&unit, "ExecReload").to_owned()
    };
    let own = r#""/opt/50%% x/wsgi-fpm" reload --control %t/wsgi-fpm-mysite/${MAINPID}.control"#;
    assert_eq!(reload(&[]), own);
    assert_eq!(
        reload(&["--control", "/run/a $b/100%"]),
        r#""/opt/50%% x/wsgi-fpm" reload --control "/run/a $$b/100%%""#
    );
    // Nobody else could be told that it has failed.
    assert_eq!(reload(&["--control=off"]), "/bin/kill -HUP $MAINPID");
}

#[test]
fn unit_names_one_file_of_secrets() {
    let is_systemds = |text: &str| text.contains("\nEnvironmentFile=");
    let unit = config("systemd", &["--user", "blog"]);
    assert_eq!(setting(&unit, "EnvironmentFile"), "-/etc/mysite.env");
    let unit = config("systemd", &["--user", "blog", "--env-file", "/etc/blog.secrets"]);
    assert_eq!(setting(&unit, "--env-file "), "/etc/blog.secrets \\");
    assert!(!is_systemds(&unit), "{unit}");
    assert!(
        unit.contains("--env-file is read by this user, who has to be able to"),
        "{unit}"
    );
    let unit = config("systemd", &["--user", "root", "--env-file", "/etc/blog.secrets"]);
    assert!(!is_systemds(&unit) && !unit.contains("is read by"), "{unit}");
    let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
    let script = "#!/usr/bin/env wsgi-fpm\n# /// wsgi-fpm\n# env_file = \"secrets\"\n# ///\n";
    std::fs::write(directory.path().join("site.fcgi"), script).unwrap();
    let mut command = program();
    command.current_dir(&directory).args(["config", "systemd", "site.fcgi"]);
    let unit = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(
        !is_systemds(&unit) && unit.contains("env_file is read by this user"),
        "{unit}"
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

/// A virtual environment may be anywhere and its Python elsewhere.
#[test]
fn unit_hides_no_directory_that_a_link_leads_to() {
    let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
    let place = |name: &str| directory.path().join(name);
    let unit = |python: &Path| {
        let python = python.to_str().unwrap();
        config("systemd", &["--program", "/usr/local/bin/wsgi-fpm", "--python", python])
    };
    for venv in ["linked", "far", "homely", "plain"] {
        std::fs::create_dir_all(place(venv).join("bin")).unwrap();
    }
    // The links need not lead to anything: that comes with a deployment.
    symlink("python3", place("linked/bin/python")).unwrap();
    symlink("/root/.local/share/uv/python/bin/python3", place("linked/bin/python3")).unwrap();
    symlink(place("between"), place("far/bin/python")).unwrap();
    symlink("/home/me/.pyenv/bin/python3", place("between")).unwrap();
    std::fs::write(place("homely/pyvenv.cfg"), "home = /home/me/python/bin\n").unwrap();
    for (venv, protects) in [
        ("linked", "read-only"),
        ("far", "read-only"),
        ("homely", "read-only"),
        ("plain", "yes"),
    ] {
        assert_eq!(setting(&unit(&place(venv)), "ProtectHome="), protects, "{venv}");
    }
    // Without --python it is the one beside the application.
    std::fs::rename(place("linked"), place(".venv")).unwrap();
    let arguments = [
        "config",
        "systemd",
        "app",
        "--program",
        "/usr/local/bin/wsgi-fpm",
        "--chdir",
    ];
    let output = program().args(arguments).arg(directory.path()).output().unwrap();
    assert_eq!(
        setting(&String::from_utf8(output.stdout).unwrap(), "ProtectHome="),
        "read-only"
    );
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
    // The first one, where the control socket is, is the service's own.
    assert_eq!(setting(&unit(&two), "RuntimeDirectory="), "wsgi-fpm-mysite a/b \"d e\"");
    for elsewhere in [["--listen", "/srv/g.sock"], ["--listen", ":9000"], ["--listen", "fd:3"]] {
        assert_eq!(setting(&unit(&elsewhere), "RuntimeDirectory="), "wsgi-fpm-mysite");
    }
    // Nobody but root makes files in /run itself.
    let message = refused(&["systemd", "app", "--listen", "/run/a.sock"]);
    assert!(
        message.contains("--listen /run/a.sock") && message.contains("/run/wsgi-fpm-app/wsgi.sock"),
        "{message}"
    );
    let root = unit(&["--listen", "/run/a.sock", "--user", "root"]);
    assert_eq!(setting(&root, "RuntimeDirectory="), "wsgi-fpm-mysite");
}

#[test]
fn unit_names_the_socket_units_that_it_needs() {
    for (listen, units, says) in [
        (
            &["--listen", "fd:3"][..],
            "mysite.socket",
            "mysite.socket has to say ListenStream=.",
        ),
        (
            &["--listen=fd:blog"],
            "blog.socket",
            "blog.socket has to say ListenStream= and FileDescriptorName=blog.",
        ),
        (
            &["--listen=fd:a.socket", "--listen=fd:3", "--listen=fd:a.socket2"],
            "a.socket mysite.socket a.socket2.socket",
            "a.socket has to say ListenStream=.",
        ),
    ] {
        let unit = config("systemd", listen);
        assert_eq!(setting(&unit, "Requires"), units);
        assert_eq!(setting(&unit, "Sockets"), units);
        assert!(unit.replace("\n# ", " ").contains(says), "{unit}");
    }
    assert!(!config("systemd", &[]).contains("ockets="));
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

//! An application that is a script and says its options itself.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::{refused, setting};
use crate::run::program;

/// A directory with an application that is a script for wsgi-fpm and says `block` of itself.
fn script(block: &str) -> (TempDir, String) {
    let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
    let path = directory.path().join("blog.fcgi");
    std::fs::write(&path, format!("#!/usr/bin/env wsgi-fpm\n{block}")).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (directory, path)
}

#[test]
fn options_that_a_script_says_itself_count_and_are_not_repeated() {
    let block = "# /// wsgi-fpm\n# chdir = \"/usr\"\n# python = \"/srv/venv\"\n# mount = \"/blog\"\n\
                 # request_timeout = \"100s\"\n# body_max = \"2m\"\n# env = { A = \"1\" }\n# ///\n";
    let (directory, path) = script(block);
    let run = |server: &str, more: &[&str]| {
        let mut command = program();
        command
            .current_dir(&directory)
            .args(["config", server, "blog.fcgi"])
            .args(more);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let nginx = run("nginx", &["--body-max", "3m"]);
    assert!(nginx.contains("location /blog/ {"));
    assert_eq!(setting(&nginx, "fastcgi_read_timeout"), "130s");
    assert_eq!(setting(&nginx, "client_max_body_size"), "3m");

    // What it says may change later, and then the unit must not stand against it.
    let unit = run("systemd", &["--body-max", "3m"]);
    let expected = format!(
        " serve {path} \\\n    --body-max 3m \\\n    --listen /run/wsgi-fpm-blog/wsgi.sock \\\n    --listen-group www-data\n"
    );
    assert!(unit.contains(&expected), "{unit}");

    // Apache starts the script itself.
    let apache = run("apache-fcgid", &["--listen", "/srv/blog.sock"]);
    assert_eq!(setting(&apache, "ScriptAlias \"/blog\""), format!("\"{path}\""));
    assert!(
        apache.contains("<Files \"blog.fcgi\">") && !apache.contains("FcgidWrapper"),
        "{apache}"
    );
    assert_eq!(setting(&apache, "FcgidMaxRequestLen"), "2097152");
    let message = refused(&["apache-fcgid", &path, "--body-max", "3m"]);
    assert!(message.contains("--body-max") && message.contains(&path), "{message}");
    std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    assert!(refused(&["apache-fcgid", &path]).contains("not executable"));
}

#[test]
fn script_whose_block_is_broken_is_refused() {
    let (_directory, path) = script("# /// wsgi-fpm\n# no_such = 1\n# ///\n");
    let message = refused(&["nginx", &path]);
    assert!(message.contains(&path) && message.contains("no_such"), "{message}");
}

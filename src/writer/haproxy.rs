//! A site of HAProxy, as `deploy/haproxy.cfg` shows it.

use std::fmt::Write as _;
use std::time::Duration;

use super::command::Command;
use super::value::{Value, is_plain, quoted};
use super::{Backend, HTTP, Site, WriterError, times};
use crate::config::words::shell_word;

const SERVER: &str = "HAProxy";
/// Where Debian and Ubuntu lock it in.
const CHROOT: &str = "/var/lib/haproxy";
/// Its times are milliseconds in 31 bits: a little more than this.
const LONGEST: Duration = Duration::from_secs(24 * 24 * 3600);

pub fn write(site: &Site, command: &Command) -> Result<String, WriterError> {
    if let Some(files) = site.statics.first() {
        return Err(WriterError::NoFiles(files.url.as_str().to_owned()));
    }
    let name = &site.name;
    let backend = site.backend()?;
    let port = site.port();
    let mut text = format!(
        "# {name} behind HAProxy. Append it to /etc/haproxy/haproxy.cfg, then:\n\
         #     haproxy -c -f /etc/haproxy/haproxy.cfg && systemctl reload haproxy\n"
    );
    match &backend {
        Backend::Unix(path) if in_chroot(path).is_some() => {
            let _ = writeln!(text, "# For a HAProxy with \"chroot {CHROOT}\", as Debian has it.");
        }
        Backend::Unix(_) => text.push_str(
            "# Debian's haproxy.cfg has a chroot, from which HAProxy can't reach this socket: remove that line, or use\n\
             # `--listen 127.0.0.1:9000`, or a socket below /var/lib/haproxy, here and in the unit.\n",
        ),
        Backend::Tcp(_) => {}
    }
    let (bundle, note) = bundle(site)?;
    text.push_str(&note);
    text.push_str(&command.comment(site, "haproxy"));
    let mut binds = format!("    bind :{port}{bundle}\n    bind :::{port} v6only{bundle}\n");
    if site.is_redirected_to() {
        let _ = write!(
            binds,
            "    bind :{HTTP}\n    bind :::{HTTP} v6only\n    http-request redirect scheme https code 301 unless {{ ssl_fc }}\n"
        );
    }
    let _ = write!(
        text,
        "\n# Two sites of one port share a frontend: move the lines with acl and use_backend there.\nfrontend {name}\n    mode http\n{binds}    \
         timeout client 60s\n    timeout http-request 10s\n    timeout http-keep-alive 60s\n"
    );
    if let Some(bytes) = site.limits.body_max.bytes() {
        let _ = write!(
            text,
            "    # Largest request body, as {}.\n    \
             http-request deny deny_status 413 if {{ req.body_size gt {bytes} }}\n",
            site.limits.body_max.name()
        );
    }
    text.push_str(&use_backend(site));
    text.push_str(&backend_section(site, &backend)?);
    text.push_str(&application(site, &backend));
    Ok(text)
}

/// What a `bind` says of the certificate, and comment lines that go with it: HAProxy before 3.0 finds a key nowhere but in
/// the certificate's own file, or beside it by its name.
fn bundle(site: &Site) -> Result<(String, String), WriterError> {
    let Some(tls) = &site.tls else {
        return Ok(Default::default());
    };
    let certificate = tls.certificate.without(SERVER, &["$"])?;
    let key = tls.key.as_str();
    if key == certificate || key == format!("{certificate}.key") {
        return Ok((format!(" ssl crt {}", word(&tls.certificate)), String::new()));
    }
    let file = format!("/etc/haproxy/{}.pem", site.name);
    let note = format!(
        "# It wants certificate and key in one file, made again whenever they are renewed:\n\
         #     (umask 077; cat {} {} > {file})\n",
        shell_word(certificate),
        shell_word(key)
    );
    Ok((format!(" ssl crt {file}"), note))
}

/// Which requests are the application's.
fn use_backend(site: &Site) -> String {
    let mut text = String::new();
    let mut conditions = String::new();
    if !site.server_names.is_empty() {
        let _ = writeln!(
            text,
            "    acl its_host req.hdr(host),field(1,:) -i {}",
            site.server_names.join(" ")
        );
        conditions.push_str(" its_host");
    }
    if !site.mount.as_str().is_empty() {
        // HAProxy's path is still encoded. Two lines of one name: either of them.
        let _ = write!(
            text,
            "    acl its_path path,url_dec -m str {}\n    acl its_path path,url_dec -m beg {}\n",
            word(&site.mount),
            word(&site.mount.directory())
        );
        conditions.push_str(" its_path");
    }
    let _ = match conditions.as_str() {
        "" => writeln!(text, "    default_backend {}", site.name),
        conditions => writeln!(text, "    use_backend {} if{conditions}", site.name),
    };
    text
}

fn backend_section(site: &Site, backend: &Backend) -> Result<String, WriterError> {
    let name = &site.name;
    let address = match backend {
        Backend::Unix(path) => {
            // Variables are looked for even where quotes keep them.
            path.without(SERVER, &["$"])?;
            let seen = in_chroot(path).unwrap_or(path.as_str());
            word(&path.with(format!("unix@{seen}")))
        }
        Backend::Tcp(address) => address.to_string(),
    };
    let read = times::read(&site.limits).unwrap_or(LONGEST);
    if read > LONGEST {
        return Err(WriterError::TooLong {
            option: site.limits.request_timeout.name().to_owned(),
            server: SERVER,
            most: LONGEST,
        });
    }
    let mut text = format!(
        "\nbackend {name}\n    mode http\n    \
         # Longer than {} and {}, so that wsgi-fpm's own answer and log line come first.\n    \
         timeout server {}\n    timeout connect {}s\n    timeout queue 10s\n    \
         use-fcgi-app {name}\n    server {name} {address} proto fcgi",
        site.limits.request_timeout.name(),
        site.limits.queue_timeout.name(),
        milliseconds(read),
        times::seconds(times::CONNECT)
    );
    if let Some(kept) = times::kept(&site.limits) {
        let _ = write!(text, " max-reuse {}", kept.requests);
    }
    text.push('\n');
    Ok(text)
}

/// The path as HAProxy sees it from Debian's chroot.
fn in_chroot(path: &Value) -> Option<&str> {
    let inside = path.as_str().strip_prefix(CHROOT)?;
    inside.starts_with('/').then_some(inside)
}

fn milliseconds(time: Duration) -> String {
    match time.subsec_millis() {
        0 => format!("{}s", time.as_secs()),
        _ => format!("{}ms", time.as_millis()),
    }
}

fn application(site: &Site, backend: &Backend) -> String {
    let mut text = format!(
        "\nfcgi-app {}\n    \
         # HAProxy insists on it; wsgi-fpm does not look at it.\n    \
         docroot /\n    \
         # The Authorization header, which HAProxy withholds otherwise; and no user by it whose password nobody has checked.\n    \
         pass-header Authorization\n    \
         set-param AUTH_TYPE %[str()]\n    \
         set-param REMOTE_USER %[str()]\n    \
         # Without the port, which is in SERVER_PORT.\n    \
         set-param SERVER_NAME %[req.hdr(host),host_only]\n",
        site.name
    );
    if times::kept(&site.limits).is_some() {
        text.push_str("    option keep-conn\n");
    } else {
        text.push_str("    no option keep-conn\n");
    }
    if backend.is_local() {
        let _ = write!(
            text,
            "    # For {}.\n    set-param REQUEST_START %[date(0,ms)]\n",
            site.limits.queue_timeout.name()
        );
    }
    text
}

/// A word. Quotes keep spaces, but variables are looked for in them.
fn word(value: &Value) -> String {
    let text = value.as_str();
    if is_plain(text) {
        return text.to_owned();
    }
    quoted(text, &['"', '\\', '$'])
}

//! A site of HAProxy, as `deploy/haproxy.cfg` shows it.

use std::time::Duration;

use settings::sections::Listen;

use super::command::Command;
use super::servers::{Server, Servers};
use super::text::Text;
use super::value::{Value, is_plain, quoted};
use super::{Backend, HTTP, Site, WriterError, own_pages, times};
use crate::config::words::shell_word;

const SERVER: &str = "HAProxy";
/// Where Debian and Ubuntu lock it in.
const CHROOT: &str = "/var/lib/haproxy";
/// Its times are milliseconds in 31 bits: a little more than this.
const LONGEST: Duration = Duration::from_secs(24 * 24 * 3600);

pub fn write(servers: &Servers, command: &Command) -> Result<Text, WriterError> {
    let site = servers.first();
    if let Some(files) = site.statics.first() {
        return Err(WriterError::NoFiles(files.url.as_str().to_owned()));
    }
    let mut text = Text::new("    ");
    text.line(format_args!(
        "# {} behind HAProxy. Append it to /etc/haproxy/haproxy.cfg, then:",
        servers.title()
    ));
    text.typed("haproxy -c -f /etc/haproxy/haproxy.cfg && systemctl reload haproxy");
    warn_of_chroot(&mut text, servers)?;
    let bundle = bundle(&mut text, site, servers.name())?;
    command.comment(&mut text, site, "haproxy");
    text.blank();
    text.comment("Two sites of one port share a frontend: move the lines with acl and use_backend there.");
    frontend(&mut text, servers, &bundle);
    for site in servers.sites {
        backend(&mut text, site, servers.only().is_none())?;
        application(&mut text, site)?;
    }
    Ok(text)
}

/// HAProxy before it has locked itself in can't see what it will see.
fn warn_of_chroot(text: &mut Text, servers: &Servers) -> Result<(), WriterError> {
    let mut outside = false;
    let mut inside = false;
    for site in servers.sites {
        if let Backend::Unix(path) = site.backend()? {
            match in_chroot(&path) {
                Some(_) => inside = true,
                None => outside = true,
            }
        }
    }
    if inside {
        text.comment(format_args!(
            "For a HAProxy with \"chroot {CHROOT}\", as Debian has it."
        ));
    }
    if outside {
        text.comment(
            "Debian's haproxy.cfg has a chroot, from which HAProxy can't reach this socket: remove that line, or use",
        );
        text.comment(format_args!(
            "`--{} 127.0.0.1:9000`, or a socket below {CHROOT}, here and in the unit.",
            Listen::listen().long()
        ));
    }
    Ok(())
}

fn frontend(text: &mut Text, servers: &Servers, bundle: &str) {
    let site = servers.first();
    let port = site.port();
    text.line(format_args!("frontend {}", servers.name()));
    text.indented(|text| {
        text.line("mode http");
        text.line(format_args!("bind :{port}{bundle}"));
        text.line(format_args!("bind :::{port} v6only{bundle}"));
        if site.is_redirected_to() {
            text.line(format_args!("bind :{HTTP}"));
            text.line(format_args!("bind :::{HTTP} v6only"));
            text.line("http-request redirect scheme https code 301 unless { ssl_fc }");
        }
        text.line("timeout client 60s");
        text.line("timeout http-request 10s");
        text.line("timeout http-keep-alive 60s");
        if let Some(site) = servers.only() {
            body_max(text, site);
        }
        for server in servers.iter() {
            if server.is_unnamed {
                text.comment("Put the name of the site in place of this one.");
            }
            for site in &server.sites {
                let prefix = servers.only().map_or(site.name.as_str(), |_| "its");
                use_backend(text, server, site, prefix);
            }
        }
    });
}

fn body_max(text: &mut Text, site: &Site) {
    let limit = &site.limits.body_max;
    if let Some(bytes) = limit.bytes() {
        text.comment(format_args!("Largest request body, as {}.", limit.name()));
        text.line(format_args!(
            "http-request deny deny_status 413 if {{ req.body_size gt {bytes} }}"
        ));
    }
}

/// What a `bind` says of the certificate; and comment lines that go with it: HAProxy before 3.0 finds a key nowhere but in
/// the certificate's own file, or beside it by its name.
fn bundle(text: &mut Text, site: &Site, name: &str) -> Result<String, WriterError> {
    let Some(tls) = &site.tls else {
        return Ok(String::new());
    };
    let certificate = tls.certificate.without(SERVER, &["$"])?;
    let key = tls.key.as_str();
    if key == certificate || key == format!("{certificate}.key") {
        return Ok(format!(" ssl crt {}", word(&tls.certificate)));
    }
    let file = format!("/etc/haproxy/{name}.pem");
    text.comment("It wants certificate and key in one file, made again whenever they are renewed:");
    text.typed(format_args!(
        "(umask 077; cat {} {} > {file})",
        shell_word(certificate),
        shell_word(key)
    ));
    Ok(format!(" ssl crt {file}"))
}

/// Which requests are the application's. `prefix`: of the names of its conditions.
fn use_backend(text: &mut Text, server: &Server, site: &Site, prefix: &str) {
    let mut conditions = String::new();
    if !server.names.is_empty() {
        text.line(format_args!(
            "acl {prefix}_host req.hdr(host),field(1,:) -i {}",
            server.names.join(" ")
        ));
        conditions += &format!(" {prefix}_host");
    }
    if !site.mount.as_str().is_empty() {
        // HAProxy's path is still encoded. Two lines of one name: either of them.
        let below = site.mount.directory();
        text.line(format_args!(
            "acl {prefix}_path path,url_dec -m str {}",
            word(&site.mount)
        ));
        text.line(format_args!("acl {prefix}_path path,url_dec -m beg {}", word(&below)));
        conditions += &format!(" {prefix}_path");
    }
    match conditions.as_str() {
        "" => text.line(format_args!("default_backend {}", site.name)),
        conditions => text.line(format_args!("use_backend {} if{conditions}", site.name)),
    }
}

/// `own_limit`: others in its frontend may have another one.
fn backend(text: &mut Text, site: &Site, own_limit: bool) -> Result<(), WriterError> {
    let (name, limits) = (&site.name, &site.limits);
    let address = match site.backend()? {
        Backend::Unix(path) => {
            // Variables are looked for even where quotes keep them.
            path.without(SERVER, &["$"])?;
            let seen = in_chroot(&path).unwrap_or(path.as_str());
            word(&path.with(format!("unix@{seen}")))
        }
        Backend::Tcp(address) => address.to_string(),
    };
    let read = times::read(limits).unwrap_or(LONGEST);
    if read > LONGEST {
        return Err(WriterError::TooLong {
            option: limits.request_timeout.name().to_owned(),
            server: SERVER,
            most: LONGEST,
        });
    }
    text.blank();
    text.line(format_args!("backend {name}"));
    text.indented(|text| {
        text.line("mode http");
        if own_limit {
            body_max(text, site);
        }
        own_pages(text, site);
        text.comment(format_args!(
            "Longer than {} and {}, so that wsgi-fpm's own answer and log line come first.",
            limits.request_timeout.name(),
            limits.queue_timeout.name()
        ));
        text.line(format_args!("timeout server {}", milliseconds(read)));
        text.line(format_args!("timeout connect {}s", times::seconds(times::CONNECT)));
        text.line("timeout queue 10s");
        text.line(format_args!("use-fcgi-app {name}"));
        let reuse = times::kept(limits).map_or_else(String::new, |kept| format!(" max-reuse {}", kept.requests));
        text.line(format_args!("server {name} {address} proto fcgi{reuse}"));
    });
    Ok(())
}

/// The path that is compared is the one that the pool gets: decoded, and nothing else.
fn own_pages(text: &mut Text, site: &Site) {
    if site.own_pages.is_empty() {
        return;
    }
    let paths: Vec<_> = site.own_pages.iter().map(word).collect();
    own_pages::comment(text, site, "http-request set-src");
    text.line(format_args!(
        "http-request deny if {{ path,url_dec -m str {} }} !{{ src {} }}",
        paths.join(" "),
        own_pages::ADDRESSES.join(" ")
    ));
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

fn application(text: &mut Text, site: &Site) -> Result<(), WriterError> {
    let backend = site.backend()?;
    text.blank();
    text.line(format_args!("fcgi-app {}", site.name));
    text.indented(|text| {
        text.comment("HAProxy insists on it; wsgi-fpm does not look at it.");
        text.line("docroot /");
        text.comment(
            "The Authorization header, which HAProxy withholds otherwise; and no user by it whose password nobody has checked.",
        );
        text.line("pass-header Authorization");
        text.line("set-param AUTH_TYPE %[str()]");
        text.line("set-param REMOTE_USER %[str()]");
        text.comment("Without the port, which is in SERVER_PORT.");
        text.line("set-param SERVER_NAME %[req.hdr(host),host_only]");
        match times::kept(&site.limits) {
            Some(_) => text.line("option keep-conn"),
            None => text.line("no option keep-conn"),
        }
        if backend.is_local() {
            text.comment(format_args!("For {}.", site.limits.queue_timeout.name()));
            text.line("set-param REQUEST_START %[date(0,ms)]");
        }
    });
    Ok(())
}

/// A word. Quotes keep spaces, but variables are looked for in them.
fn word(value: &Value) -> String {
    let text = value.as_str();
    if is_plain(text) {
        return text.to_owned();
    }
    quoted(text, &['"', '\\', '$'])
}

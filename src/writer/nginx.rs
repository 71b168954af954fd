//! A site of nginx, as `nginx/site.conf` shows it.

use std::time::Duration;

use super::command::Command;
use super::servers::{Server, Servers};
use super::text::Text;
use super::value::{is_plain, percent_encoded, quoted};
use super::{Backend, HTTP, Site, WriterError, own_pages, times};

const SERVER: &str = "nginx";
/// What users include otherwise; written out, the file needs no other one.
const PARAMS: &str = include_str!("../../nginx/wsgi_fpm_params");
const PAGE: u64 = 4096;
/// Of the buffers for the rest of a response.
const BUFFER: u64 = 16 * 1024;
const BUFFERS: u64 = 16;
/// nginx takes the first buffer for each request: more than this is a limit that was not meant as one.
const LARGEST_HEAD: u64 = 1 << 30;

/// Sites of one file of nginx. Those whose paths are different become locations of one server.
pub fn write(servers: &Servers, command: &Command) -> Result<Text, WriterError> {
    let mut text = Text::new("    ");
    text.line(format_args!(
        "# {} behind nginx. Put it into /etc/nginx/conf.d/{}.conf, or wherever files are included into http {{ }}, then:",
        servers.title(),
        servers.name()
    ));
    text.typed("nginx -t && systemctl reload nginx");
    if servers.is_one_server() {
        warn_of_no_name(&mut text, servers.first());
    }
    command.comment(&mut text, servers.first(), "www-data");
    for site in servers.sites {
        upstream(&mut text, site)?;
    }
    for server in servers.iter() {
        write_server(&mut text, server)?;
    }
    Ok(text)
}

fn upstream(text: &mut Text, site: &Site) -> Result<(), WriterError> {
    let address = address(&site.backend()?);
    text.blank();
    text.block(format_args!("upstream {} {{", site.name), "}", |text| {
        text.line(format_args!("server {address};"));
        let Some(kept) = times::kept(&site.limits) else {
            text.comment(format_args!(
                "No kept connections: {}, {} or {} leave no room for them.",
                site.limits.connections.name(),
                site.limits.idle_timeout.name(),
                site.limits.connection_requests.name()
            ));
            return;
        };
        text.blank();
        text.comment(format_args!(
            "Connections that each process of nginx keeps open. nginx has to be the one who closes them: earlier than \
             wsgi-fpm ({}, {}).",
            site.limits.idle_timeout.name(),
            site.limits.connection_requests.name()
        ));
        text.line(format_args!("keepalive {};", kept.connections));
        text.line(format_args!("keepalive_timeout {};", time(kept.idle)));
        text.line(format_args!("keepalive_requests {};", kept.requests));
    });
    Ok(())
}

/// The server with all of its locations, and where browsers are led to it from.
fn write_server(text: &mut Text, server: &Server) -> Result<(), WriterError> {
    let site = server.sites[0];
    text.blank();
    if server.is_unnamed {
        text.comment("Put the name of the site in place of this one.");
    }
    if site.is_redirected_to() {
        text.block("server {", "}", |text| {
            listen(text, server, HTTP, "");
            text.line("return 301 https://$host$request_uri;");
        });
        text.blank();
    }
    text.block("server {", "}", |text| {
        let parameters = if site.tls.is_some() { " ssl" } else { "" };
        listen(text, server, site.port(), parameters);
        if let Some(tls) = &site.tls {
            let certificate = word(tls.certificate.without(SERVER, &["$"])?);
            text.line(format_args!("ssl_certificate {certificate};"));
            let key = word(tls.key.without(SERVER, &["$"])?);
            text.line(format_args!("ssl_certificate_key {key};"));
            text.line("ssl_protocols TLSv1.2 TLSv1.3;");
        }
        if let Some(site) = server.only() {
            body_max(text, site);
        }
        for files in &site.statics {
            let url = files.url.directory();
            let url = word(url.without(SERVER, &[])?);
            let directory = files.directory.directory();
            let directory = word(directory.without(SERVER, &["$"])?);
            text.blank();
            text.block(format_args!("location {url} {{"), "}", |text| {
                text.line(format_args!("alias {directory};"));
            });
        }
        for site in &server.sites {
            location(text, site, server.only().is_none())?;
        }
        Ok(())
    })
}

/// The first lines of a server block.
fn listen(text: &mut Text, server: &Server, port: u16, parameters: &str) {
    text.line(format_args!("listen {port}{parameters};"));
    text.line(format_args!("listen [::]:{port}{parameters};"));
    if !server.names.is_empty() {
        text.line(format_args!("server_name {};", server.names.join(" ")));
    }
}

fn body_max(text: &mut Text, site: &Site) {
    let limit = &site.limits.body_max;
    text.blank();
    text.comment(format_args!("Largest request body, as {}.", limit.name()));
    text.line(format_args!("client_max_body_size {};", **limit));
}

/// `own_limit`: others in its server may have another one.
fn location(text: &mut Text, site: &Site, own_limit: bool) -> Result<(), WriterError> {
    let backend = site.backend()?;
    let mount = site.mount.directory();
    if !site.mount.as_str().is_empty() {
        let target = format!("{}$is_args$args", percent_encoded(mount.as_str()));
        text.blank();
        let open = format!("location = {} {{", word(site.mount.as_str()));
        text.block(open, "}", |text| {
            text.line(format_args!("return 301 {};", word(&target)));
        });
    }
    text.blank();
    text.block(format_args!("location {} {{", word(mount.as_str())), "}", |text| {
        text.line(format_args!("fastcgi_pass {};", site.name));
        if times::kept(&site.limits).is_some() {
            text.line("fastcgi_keep_conn on;");
        }
        if own_limit {
            body_max(text, site);
        }
        buffers(text, site);
        timeouts(text, site);
        params(text, &backend);
        own_pages(text, site);
    });
    Ok(())
}

/// Everything but the address is inherited from the location around it.
fn own_pages(text: &mut Text, site: &Site) {
    if site.own_pages.is_empty() {
        return;
    }
    text.blank();
    own_pages::comment(text, site, "real_ip_header");
    let open = format!("location ~ {} {{", word(own_pages::pattern(site).as_str()));
    text.block(open, "}", |text| {
        for address in own_pages::ADDRESSES {
            text.line(format_args!("allow {address};"));
        }
        text.line("deny all;");
        text.line("access_log off;");
        text.line(format_args!("fastcgi_pass {};", site.name));
    });
}

/// A warning in the comment at the top.
fn warn_of_no_name(text: &mut Text, site: &Site) {
    if !site.server_names.is_empty() {
        return;
    }
    // Not wrapped as others: the second line is to be read at one look.
    text.comment(
        "Without a name (--server-name) it answers only if no other site of this port comes before it or is its",
    );
    match site.port() {
        HTTP => text.comment("default_server, as Debian's own is: rm /etc/nginx/sites-enabled/default"),
        _ => text.comment("default_server."),
    }
}

fn address(backend: &Backend) -> String {
    match backend {
        Backend::Unix(path) => word(&format!("unix:{}", path.as_str())),
        Backend::Tcp(address) => address.to_string(),
    }
}

/// A parameter of a directive. Nothing can stand for a dollar sign where nginx looks for variables; the caller knows
/// where that is.
fn word(text: &str) -> String {
    if is_plain(text.trim_end_matches("$is_args$args")) {
        return text.to_owned();
    }
    quoted(text, &['"', '\\'])
}

fn buffers(text: &mut Text, site: &Site) {
    let limit = &site.limits.response_head;
    // The head shares its buffer with record headers and with what comes on STDERR before it.
    let head = limit.get().bytes().min(LARGEST_HEAD);
    let first = head.next_multiple_of(1024) + PAGE;
    // nginx insists on more buffers than may be busy, which is by default twice the first one.
    let count = BUFFERS.max((2 * first).div_ceil(BUFFER) + 2);
    text.blank();
    text.comment(format_args!(
        "The head of a response has to fit into the first buffer: {}, and a page.",
        limit.name()
    ));
    text.line(format_args!("fastcgi_buffer_size {};", kilobytes(first)));
    text.line(format_args!("fastcgi_buffers {count} {};", kilobytes(BUFFER)));
}

/// Seconds read better than hours here, and nginx has no fractions.
fn time(time: Duration) -> String {
    match time.subsec_millis() {
        0 => format!("{}s", time.as_secs()),
        _ => format!("{}ms", time.as_millis()),
    }
}

/// Buffers have no g in nginx.
fn kilobytes(bytes: u64) -> String {
    format!("{}k", bytes.div_ceil(1024))
}

fn timeouts(text: &mut Text, site: &Site) {
    let limits = &site.limits;
    text.blank();
    text.comment(format_args!(
        "Later than wsgi-fpm's own limits, so that its answer and its log line come first ({}, {}, {}).",
        limits.request_timeout.name(),
        limits.queue_timeout.name(),
        limits.body_timeout.name()
    ));
    let longest = |limit: Option<Duration>| time(limit.unwrap_or(times::A_YEAR));
    text.line(format_args!("fastcgi_connect_timeout {};", time(times::CONNECT)));
    text.line(format_args!("fastcgi_send_timeout {};", longest(times::send(limits))));
    text.line(format_args!("fastcgi_read_timeout {};", longest(times::read(limits))));
}

fn params(text: &mut Text, backend: &Backend) {
    text.blank();
    text.comment("nginx/wsgi_fpm_params.");
    for line in PARAMS.lines().filter(|line| line.starts_with("fastcgi_param ")) {
        // A wait can be judged by one clock only.
        if line.contains(" REQUEST_START ") && !backend.is_local() {
            continue;
        }
        text.line(line);
    }
}

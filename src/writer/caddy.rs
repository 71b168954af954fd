//! A site of Caddy, as `deploy/Caddyfile` shows it.

use std::fmt::Write as _;

use super::command::Command;
use super::servers::{Server, Servers};
use super::text::Text;
use super::value::{Value, is_plain, quoted};
use super::{Backend, Site, WriterError, own_pages, times};

const SERVER: &str = "Caddy";

pub fn write(servers: &Servers, command: &Command) -> Result<Text, WriterError> {
    let site = servers.first();
    let mut text = Text::new("\t");
    text.line(format_args!(
        "# {} behind Caddy. Append it to /etc/caddy/Caddyfile, then:",
        servers.title()
    ));
    text.typed("caddy validate --config /etc/caddy/Caddyfile && systemctl reload caddy");
    command.comment(&mut text, site, "caddy");
    text.blank();
    let is_named = servers.iter().all(|server| !server.names.is_empty());
    if site.port.is_none() && site.tls.is_none() && is_named {
        text.comment("Caddy gets a certificate for the name and serves HTTPS; --port is for HTTP, or for --tls-cert.");
    }
    if site.is_redirected_to() && !is_named {
        // Caddy does so itself for names.
        text.block("http:// {", "}", |text| text.line("redir https://{host}{uri} 301"));
        text.blank();
    }
    for server in servers.iter() {
        if server.is_unnamed {
            text.blank();
            text.comment("Put the name of the site in place of this one.");
        }
        let open = format!("{} {{", addresses(server));
        text.block(open, "}", |text| write_server(text, server))?;
    }
    Ok(text)
}

fn write_server(text: &mut Text, server: &Server) -> Result<(), WriterError> {
    let site = server.sites[0];
    if let Some(tls) = &site.tls {
        text.line(format_args!("tls {} {}", word(&tls.certificate)?, word(&tls.key)?));
    }
    text.block("route {", "}", |text| {
        if let Some(site) = server.only() {
            body_max(text, site);
        }
        for files in &site.statics {
            let open = format!("handle_path {} {{", matcher(&files.url, "/*")?);
            let directory = word(&files.directory)?;
            text.block(open, "}", |text| {
                text.line(format_args!("root * {directory}"));
                text.line("file_server");
            });
        }
        for site in &server.sites {
            application(text, site, server.only().is_none())?;
        }
        if server.sites.iter().all(|site| !site.mount.as_str().is_empty()) {
            text.comment("Caddy's own answer to the rest would be an empty page.");
            text.line("respond 404");
        }
        Ok(())
    })
}

fn body_max(text: &mut Text, site: &Site) {
    let limit = &site.limits.body_max;
    if let Some(bytes) = limit.bytes() {
        text.comment(format_args!("Largest request body, as {}.", limit.name()));
        text.block("request_body {", "}", |text| {
            text.line(format_args!("max_size {bytes}"))
        });
    }
}

/// `is_one_of_many`: others in its server have other paths, and may have another limit.
fn application(text: &mut Text, site: &Site, is_one_of_many: bool) -> Result<(), WriterError> {
    let backend = site.backend()?;
    let dial = dial(&backend)?;
    let mut open = String::from("handle {");
    if !site.mount.as_str().is_empty() {
        let name = if is_one_of_many { &site.name } else { "application" };
        text.line(format_args!(
            "@{name} path {} {}",
            matcher(&site.mount, "")?,
            matcher(&site.mount, "/*")?
        ));
        open = format!("handle @{name} {{");
    }
    text.block(open, "}", |text| {
        if is_one_of_many {
            body_max(text, site);
        }
        own_pages(text, site)?;
        text.block(format_args!("reverse_proxy {dial} {{"), "}", |text| {
            text.comment("Each piece of a response at once.");
            text.line("flush_interval -1");
            text.comment(format_args!(
                "Neither split nor php_fastcgi: the whole path is PATH_INFO. No read_timeout or write_timeout: for Caddy they \
                 bound whole uploads and downloads. wsgi-fpm's own limits end every request ({}).",
                site.limits.request_timeout.name()
            ));
            text.block("transport fastcgi {", "}", |text| {
                text.line(format_args!("dial_timeout {}s", times::seconds(times::CONNECT)));
                if backend.is_local() {
                    text.comment(format_args!("For {}.", site.limits.queue_timeout.name()));
                    text.line("env REQUEST_START {time.now.unix_ms}");
                }
            });
        });
        Ok(())
    })
}

fn own_pages(text: &mut Text, site: &Site) -> Result<(), WriterError> {
    /// No pool is called so.
    const MATCHER: &str = "@from/elsewhere";
    if site.own_pages.is_empty() {
        return Ok(());
    }
    let paths: Vec<_> = site
        .own_pages
        .iter()
        .map(|path| matcher(path, ""))
        .collect::<Result<_, _>>()?;
    own_pages::comment(text, site, "client_ip in place of remote_ip, and trusted_proxies");
    text.block(format_args!("{MATCHER} {{"), "}", |text| {
        text.line(format_args!("path {}", paths.join(" ")));
        text.line(format_args!("not remote_ip {}", own_pages::ADDRESSES.join(" ")));
    });
    text.line(format_args!("respond {MATCHER} 403"));
    Ok(())
}

/// With a name and without a port, Caddy serves HTTPS and redirects HTTP to it.
fn addresses(server: &Server) -> String {
    let (site, names) = (server.sites[0], &server.names);
    let scheme = if site.tls.is_some() { "https" } else { "http" };
    match site.port {
        None if names.is_empty() && site.tls.is_some() => "https://".to_owned(),
        None if names.is_empty() => "http://".to_owned(),
        None => names.join(", "),
        Some(port) if names.is_empty() => format!("{scheme}://:{port}"),
        Some(port) => {
            let names: Vec<_> = names.iter().map(|name| format!("{scheme}://{name}:{port}")).collect();
            names.join(", ")
        }
    }
}

fn dial(backend: &Backend) -> Result<String, WriterError> {
    match backend {
        Backend::Unix(path) => word(&path.with(format!("unix/{}", path.as_str()))),
        Backend::Tcp(address) => Ok(address.to_string()),
    }
}

/// A path to compare with. What clients never send as it is stands there percent-encoded: Caddy 2.6 doesn't cut off other
/// prefixes.
fn matcher(path: &Value, end: &str) -> Result<String, WriterError> {
    let text = path.without(SERVER, &["*", "?", "["])?;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !br#""%<>\^`{|}"#.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    word(&path.with(encoded + end))
}

/// An argument. In double quotes a backslash can't stand before a quote, in backticks everything is as it is but they.
fn word(value: &Value) -> Result<String, WriterError> {
    // Placeholders, also those for the environment.
    let text = value.without(SERVER, &["{", "}"])?;
    if is_plain(text.trim_end_matches('*')) {
        return Ok(text.to_owned());
    }
    if text.contains(['"', '\\']) {
        return Ok(format!("`{}`", value.without(SERVER, &["`"])?));
    }
    Ok(quoted(text, &[]))
}

//! A site of Caddy, as `deploy/Caddyfile` shows it.

use std::fmt::Write as _;

use super::command::Command;
use super::value::{Value, is_plain, quoted};
use super::{Backend, Site, WriterError, times};

const SERVER: &str = "Caddy";

pub fn write(site: &Site, command: &Command) -> Result<String, WriterError> {
    let name = &site.name;
    let backend = site.backend()?;
    let mut text = format!(
        "# {name} behind Caddy. Append it to /etc/caddy/Caddyfile, then:\n\
         #     caddy validate --config /etc/caddy/Caddyfile && systemctl reload caddy\n\
         {}\n",
        command.comment(site, "caddy")
    );
    if site.port.is_none() && site.tls.is_none() && !site.server_names.is_empty() {
        text.push_str(
            "# Caddy gets a certificate for the name and serves HTTPS; --port is for HTTP, or for --tls-cert.\n",
        );
    }
    if site.is_redirected_to() && site.server_names.is_empty() {
        // Caddy does so itself for names.
        text.push_str("http:// {\n\tredir https://{host}{uri} 301\n}\n\n");
    }
    let _ = writeln!(text, "{} {{", addresses(site));
    if let Some(tls) = &site.tls {
        let _ = writeln!(text, "\ttls {} {}", word(&tls.certificate)?, word(&tls.key)?);
    }
    text.push_str("\troute {\n");
    if let Some(bytes) = site.limits.body_max.bytes() {
        let _ = write!(
            text,
            "\t\t# Largest request body, as {}.\n\t\trequest_body {{\n\t\t\tmax_size {bytes}\n\t\t}}\n",
            site.limits.body_max.name()
        );
    }
    for files in &site.statics {
        let _ = write!(
            text,
            "\t\thandle_path {} {{\n\t\t\troot * {}\n\t\t\tfile_server\n\t\t}}\n",
            matcher(&files.url, "/*")?,
            word(&files.directory)?
        );
    }
    let mut application = String::from("handle");
    if !site.mount.as_str().is_empty() {
        let _ = writeln!(
            text,
            "\t\t@application path {} {}",
            matcher(&site.mount, "")?,
            matcher(&site.mount, "/*")?
        );
        application.push_str(" @application");
    }
    let _ = write!(
        text,
        "\t\t{application} {{\n\t\t\treverse_proxy {} {{\n\
         \t\t\t\t# Each piece of a response at once.\n\t\t\t\tflush_interval -1\n\
         \t\t\t\t# Neither split nor php_fastcgi: the whole path is PATH_INFO. No read_timeout or write_timeout: for Caddy they\n\
         \t\t\t\t# bound whole uploads and downloads. wsgi-fpm's own limits end every request ({}).\n\
         \t\t\t\ttransport fastcgi {{\n\t\t\t\t\tdial_timeout {}s\n",
        dial(&backend)?,
        site.limits.request_timeout.name(),
        times::seconds(times::CONNECT)
    );
    if backend.is_local() {
        let _ = write!(
            text,
            "\t\t\t\t\t# For {}.\n\t\t\t\t\tenv REQUEST_START {{time.now.unix_ms}}\n",
            site.limits.queue_timeout.name()
        );
    }
    text.push_str("\t\t\t\t}\n\t\t\t}\n\t\t}\n");
    if !site.mount.as_str().is_empty() {
        text.push_str("\t\t# Caddy's own answer to the rest would be an empty page.\n\t\trespond 404\n");
    }
    text.push_str("\t}\n}\n");
    Ok(text)
}

/// With a name and without a port, Caddy serves HTTPS and redirects HTTP to it.
fn addresses(site: &Site) -> String {
    let names = &site.server_names;
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

//! A site of lighttpd, as `deploy/lighttpd.conf` shows it: a part of its configuration, not the whole of it.

use std::fmt::Write as _;

use super::command::Command;
use super::value::Value;
use super::{Backend, HTTPS, Site, WriterError, times};

const SERVER: &str = "lighttpd";

pub fn write(site: &Site, command: &Command) -> Result<String, WriterError> {
    let name = &site.name;
    let mut modules = String::from("\"mod_fastcgi\"");
    if !site.statics.is_empty() {
        modules.push_str(", \"mod_alias\"");
    }
    if site.tls.is_some() {
        modules.push_str(", \"mod_openssl\"");
    }
    if is_redirected_to(site) {
        modules.push_str(", \"mod_redirect\"");
    }
    let mut text = format!(
        "# {name} behind lighttpd. Put it into /etc/lighttpd/conf-available/90-{name}.conf, then:\n\
         #     lighttpd-enable-mod {name} && lighttpd -tt -f /etc/lighttpd/lighttpd.conf && systemctl restart lighttpd\n\
         {}\n\
         server.modules += ( {modules} )\n\n\
         # Largest head of a request, in bytes, for the whole server: 8 KiB are little if there are large cookies.\n\
         server.max-request-field-size := 16384\n\n\
         # As Debian sets this, lighttpd 1.4.69 cuts a query at its last question mark. For the whole server, too.\n\
         server.http-parseopts := (\n    \
         \"header-strict\" => \"enable\",\n    \
         \"host-strict\" => \"enable\",\n    \
         \"host-normalize\" => \"enable\",\n    \
         \"url-normalize\" => \"disable\"\n\
         )\n\n",
        command.comment(site, "www-data")
    );
    let mut inner = String::new();
    let _ = write!(
        inner,
        "# Largest request body in KiB, as {}.\nserver.max-request-size = {}\n",
        site.limits.body_max.name(),
        largest_body(site)
    );
    inner.push_str(
        "# Otherwise lighttpd collects each response whole before the browser gets any of it.\n\
         server.stream-response-body = 1\n",
    );
    for files in &site.statics {
        let _ = write!(
            inner,
            "\nalias.url += ( {} => {} )\n",
            word(&files.url.directory())?,
            word(&files.directory.directory())?
        );
    }
    inner.push('\n');
    inner.push_str(&in_conditions(&paths(site)?, &backend(site)?));
    let mut inner = in_conditions(&names(site), &inner);
    if let Some(tls) = &site.tls {
        inner = format!(
            "ssl.engine = \"enable\"\nssl.pemfile = {}\nssl.privkey = {}\n\n{inner}",
            word(&tls.certificate)?,
            word(&tls.key)?
        );
    }
    text.push_str(&in_conditions(&socket(site), &inner));
    if is_redirected_to(site) {
        let mut conditions = vec!["$HTTP[\"scheme\"] == \"http\"".to_owned()];
        conditions.extend(names(site));
        let redirect = "url.redirect = ( \"\" => \"https://${url.authority}${url.path}${qsa}\" )\n";
        let _ = write!(text, "\n{}", in_conditions(&conditions, redirect));
    }
    Ok(text)
}

/// Its port of HTTP is that of all sites, so only those with a name can be led away from there.
fn is_redirected_to(site: &Site) -> bool {
    site.is_redirected_to() && !site.server_names.is_empty()
}

/// The port of the site, where it is not one of the server's own.
fn socket(site: &Site) -> Vec<String> {
    let port = site.port.or(site.tls.as_ref().map(|_| HTTPS));
    port.map(|port| format!("$SERVER[\"socket\"] == \":{port}\""))
        .into_iter()
        .collect()
}

fn names(site: &Site) -> Vec<String> {
    let mut conditions = Vec::new();
    match site.server_names.as_slice() {
        [] => {}
        [name] => conditions.push(format!("$HTTP[\"host\"] == \"{name}\"")),
        names => {
            let names: Vec<_> = names.iter().map(|name| regex(name)).collect();
            conditions.push(format!("$HTTP[\"host\"] =~ \"^({})(:[0-9]+)?$\"", names.join("|")));
        }
    }
    conditions
}

/// What of the site is the application's. A prefix of fastcgi.server would match in the middle of a name, and takes
/// precedence over aliases.
fn paths(site: &Site) -> Result<Vec<String>, WriterError> {
    let mut conditions = Vec::new();
    if !site.mount.as_str().is_empty() {
        conditions.push(format!("$HTTP[\"url\"] =~ \"^{}(/|$)\"", regex(site.mount.as_str())));
    }
    let urls: Vec<_> = site
        .statics
        .iter()
        .map(|files| regex(files.url.directory().as_str()))
        .collect();
    match urls.as_slice() {
        [] => {}
        [url] => conditions.push(format!("$HTTP[\"url\"] !~ \"^{url}\"")),
        urls => conditions.push(format!("$HTTP[\"url\"] !~ \"^({})\"", urls.join("|"))),
    }
    Ok(conditions)
}

fn backend(site: &Site) -> Result<String, WriterError> {
    let address = match site.backend()? {
        Backend::Unix(path) => format!("\"socket\" => {}", word(&path)?),
        Backend::Tcp(address) => format!("\"host\" => \"{}\", \"port\" => {}", address.ip(), address.port()),
    };
    // Zero: no limit, as lighttpd has it by default.
    let seconds = |time| times::seconds(Option::unwrap_or_default(time));
    Ok(format!(
        "# check-local: no file stands behind these paths. fix-root-scriptname: the whole path is PATH_INFO.\n\
         # The timeouts are longer than --request-timeout, --queue-timeout and --body-timeout, so that wsgi-fpm's own answer\n\
         # and log line come first.\n\
         fastcgi.server = ( \"/\" => ((\n    \
         {address},\n    \
         \"check-local\" => \"disable\",\n    \
         \"fix-root-scriptname\" => \"enable\",\n    \
         \"connect-timeout\" => {},\n    \
         \"write-timeout\" => {},\n    \
         \"read-timeout\" => {}\n\
         )))\n",
        times::seconds(times::CONNECT),
        seconds(times::send(&site.limits)),
        seconds(times::read(&site.limits))
    ))
}

/// Zero means no limit for lighttpd.
fn largest_body(site: &Site) -> u64 {
    /// What lighttpd can hold.
    const LARGEST: u64 = u32::MAX as u64;
    let kilobytes = site.limits.body_max.bytes().map(|bytes| bytes.div_ceil(1024));
    kilobytes.filter(|&kilobytes| kilobytes <= LARGEST).unwrap_or(0)
}

/// `inner` inside of `conditions`, the first one outermost.
fn in_conditions(conditions: &[String], inner: &str) -> String {
    let Some((first, rest)) = conditions.split_first() else {
        return inner.to_owned();
    };
    let mut text = format!("{first} {{\n");
    for line in in_conditions(rest, inner).lines() {
        if !line.is_empty() {
            text.push_str("    ");
            text.push_str(line);
        }
        text.push('\n');
    }
    text.push_str("}\n");
    text
}

/// A string. The only escape is the one for a quote, so a backslash can't stand before one.
fn word(value: &Value) -> Result<String, WriterError> {
    if value.as_str().ends_with('\\') {
        value.without(SERVER, &["\\"])?;
    }
    let text = value.without(SERVER, &["\\\""])?;
    Ok(format!("\"{}\"", text.replace('"', "\\\"")))
}

/// The text as a part of a regular expression inside of a string.
fn regex(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if r".^$*+?()[]{}|\".contains(character) || character == '"' {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

//! A site of lighttpd, as `deploy/lighttpd.conf` shows it: a part of its configuration, not the whole of it.

use super::command::Command;
use super::servers::{Server, Servers};
use super::text::Text;
use super::value::{self, Value};
use super::{Backend, HTTPS, Site, WriterError, own_pages, times};

const SERVER: &str = "lighttpd";

pub fn write(servers: &Servers, command: &Command) -> Result<Text, WriterError> {
    let site = servers.first();
    let mut text = Text::new("    ");
    head(&mut text, servers);
    command.comment(&mut text, site, "www-data");
    settings(&mut text, servers);
    // One block for all servers: lighttpd takes two of them for one, in which nothing may be said twice.
    in_conditions(&mut text, &socket(site), &mut |text| {
        if let Some(tls) = &site.tls {
            text.line("ssl.engine = \"enable\"");
            text.line(format_args!("ssl.pemfile = {}", word(&tls.certificate)?));
            text.line(format_args!("ssl.privkey = {}", word(&tls.key)?));
            text.blank();
        }
        for (i, server) in servers.iter().enumerate() {
            if i > 0 {
                text.blank();
            }
            if server.is_unnamed {
                text.comment("Put the name of the site in place of this one.");
            }
            in_conditions(text, &names(server), &mut |text| write_server(text, server))?;
        }
        Ok(())
    })?;
    for server in servers.iter().filter(|server| is_redirected_to(server)) {
        let mut conditions = vec!["$HTTP[\"scheme\"] == \"http\"".to_owned()];
        conditions.extend(names(server));
        text.blank();
        in_conditions(&mut text, &conditions, &mut |text| {
            text.line("url.redirect = ( \"\" => \"https://${url.authority}${url.path}${qsa}\" )");
            Ok(())
        })?;
    }
    Ok(text)
}

fn head(text: &mut Text, servers: &Servers) {
    let name = servers.name();
    text.line(format_args!(
        "# {} behind lighttpd. Put it into /etc/lighttpd/conf-available/90-{name}.conf, then:",
        servers.title()
    ));
    text.typed(format_args!(
        "lighttpd-enable-mod {name} && lighttpd -tt -f /etc/lighttpd/lighttpd.conf && systemctl restart lighttpd"
    ));
}

/// What holds for the whole of lighttpd.
fn settings(text: &mut Text, servers: &Servers) {
    let site = servers.first();
    let mut modules = Vec::new();
    if servers.sites.iter().any(|site| !site.own_pages.is_empty()) {
        modules.push("\"mod_access\"");
    }
    modules.push("\"mod_fastcgi\"");
    if !site.statics.is_empty() {
        modules.push("\"mod_alias\"");
    }
    if site.tls.is_some() {
        modules.push("\"mod_openssl\"");
    }
    if servers.iter().any(is_redirected_to) {
        modules.push("\"mod_redirect\"");
    }
    text.blank();
    text.line(format_args!("server.modules += ( {} )", modules.join(", ")));
    text.blank();
    text.comment(
        "Largest head of a request, in bytes, for the whole server: 8 KiB are little if there are large cookies.",
    );
    text.line("server.max-request-field-size := 16384");
    text.blank();
    text.comment(
        "As Debian sets this, lighttpd 1.4.69 cuts a query at its last question mark. For the whole server, too.",
    );
    text.block("server.http-parseopts := (", ")", |text| {
        text.line("\"header-strict\" => \"enable\",");
        text.line("\"host-strict\" => \"enable\",");
        text.line("\"host-normalize\" => \"enable\",");
        text.line("\"url-normalize\" => \"disable\"");
    });
    text.blank();
}

fn write_server(text: &mut Text, server: &Server) -> Result<(), WriterError> {
    if let Some(site) = server.only() {
        body_max(text, site);
    }
    text.comment("Otherwise lighttpd collects each response whole before the browser gets any of it.");
    text.line("server.stream-response-body = 1");
    for files in &server.sites[0].statics {
        let (url, directory) = (files.url.directory(), files.directory.directory());
        text.blank();
        text.line(format_args!(
            "alias.url += ( {} => {} )",
            word(&url)?,
            word(&directory)?
        ));
    }
    // Of conditions that match, the last one counts.
    for site in server.sites.iter().rev() {
        text.blank();
        in_conditions(text, &paths(site)?, &mut |text| {
            if server.only().is_none() {
                body_max(text, site);
            }
            backend(text, site)?;
            own_pages(text, site)
        })?;
    }
    Ok(())
}

fn body_max(text: &mut Text, site: &Site) {
    text.comment(format_args!(
        "Largest request body in KiB, as {}.",
        site.limits.body_max.name()
    ));
    text.line(format_args!("server.max-request-size = {}", largest_body(site)));
}

/// Its port of HTTP is that of all sites, so only those with a name can be led away from there.
fn is_redirected_to(server: &Server) -> bool {
    server.sites[0].is_redirected_to() && !server.names.is_empty()
}

/// The port of the site, where it is not one of the server's own.
fn socket(site: &Site) -> Vec<String> {
    let port = site.port.or(site.tls.as_ref().map(|_| HTTPS));
    port.map(|port| format!("$SERVER[\"socket\"] == \":{port}\""))
        .into_iter()
        .collect()
}

fn names(server: &Server) -> Vec<String> {
    let mut conditions = Vec::new();
    match server.names.as_slice() {
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

fn backend(text: &mut Text, site: &Site) -> Result<(), WriterError> {
    let address = match site.backend()? {
        Backend::Unix(path) => format!("\"socket\" => {}", word(&path)?),
        Backend::Tcp(address) => format!("\"host\" => \"{}\", \"port\" => {}", address.ip(), address.port()),
    };
    let limits = &site.limits;
    // Zero: no limit, as lighttpd has it by default.
    let seconds = |time| times::seconds(Option::unwrap_or_default(time));
    text.comment("check-local: no file stands behind these paths. fix-root-scriptname: the whole path is PATH_INFO.");
    text.comment(format_args!(
        "The timeouts are longer than {}, {} and {}, so that wsgi-fpm's own answer and log line come first.",
        limits.request_timeout.name(),
        limits.queue_timeout.name(),
        limits.body_timeout.name()
    ));
    text.block("fastcgi.server = ( \"/\" => ((", ")))", |text| {
        text.line(format_args!("{address},"));
        text.line("\"check-local\" => \"disable\",");
        text.line("\"fix-root-scriptname\" => \"enable\",");
        text.line(format_args!(
            "\"connect-timeout\" => {},",
            times::seconds(times::CONNECT)
        ));
        text.line(format_args!("\"write-timeout\" => {},", seconds(times::send(limits))));
        text.line(format_args!("\"read-timeout\" => {}", seconds(times::read(limits))));
    });
    Ok(())
}

fn own_pages(text: &mut Text, site: &Site) -> Result<(), WriterError> {
    if site.own_pages.is_empty() {
        return Ok(());
    }
    let paths = in_string(own_pages::pattern(site).as_str());
    let addresses = own_pages::ADDRESSES.map(regex).join("|");
    text.blank();
    own_pages::comment(text, site, "mod_extforward");
    let conditions = [
        format!("$HTTP[\"url\"] =~ \"{paths}\""),
        format!("$HTTP[\"remoteip\"] !~ \"^({addresses})$\""),
    ];
    in_conditions(text, &conditions, &mut |text| {
        text.line("url.access-deny = ( \"\" )");
        text.comment("Where mod_fastcgi comes before mod_access, it would answer first.");
        text.line("fastcgi.server = ()");
        Ok(())
    })
}

/// Zero means no limit for lighttpd.
fn largest_body(site: &Site) -> u64 {
    /// What lighttpd can hold.
    const LARGEST: u64 = u32::MAX as u64;
    let kilobytes = site.limits.body_max.bytes().map(|bytes| bytes.div_ceil(1024));
    kilobytes.filter(|&kilobytes| kilobytes <= LARGEST).unwrap_or(0)
}

/// What `inner` writes inside of `conditions`, the first one outermost.
fn in_conditions(
    text: &mut Text,
    conditions: &[String],
    inner: &mut dyn FnMut(&mut Text) -> Result<(), WriterError>,
) -> Result<(), WriterError> {
    match conditions {
        [] => inner(text),
        [first, rest @ ..] => text.block(format_args!("{first} {{"), "}", |text| in_conditions(text, rest, inner)),
    }
}

/// A string. The only escape is the one for a quote, so a backslash can't stand before one.
fn word(value: &Value) -> Result<String, WriterError> {
    if value.as_str().ends_with('\\') {
        value.without(SERVER, &["\\"])?;
    }
    let text = value.without(SERVER, &["\\\""])?;
    Ok(format!("\"{}\"", in_string(text)))
}

/// The text as a part of a regular expression inside of a string.
fn regex(text: &str) -> String {
    in_string(&value::regex(text))
}

fn in_string(text: &str) -> String {
    text.replace('"', "\\\"")
}

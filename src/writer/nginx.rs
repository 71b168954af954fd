//! A site of nginx, as `nginx/site.conf` shows it.

use std::fmt::Write as _;
use std::time::Duration;

use super::command::Command;
use super::value::{is_plain, percent_encoded, quoted};
use super::{Backend, HTTP, Site, WriterError, times};

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
pub fn write(sites: &[&Site], command: &Command) -> Result<String, WriterError> {
    let servers = servers(sites);
    let first = servers[0][0];
    if servers.len() > 1 && !first.server_names.is_empty() {
        return Err(WriterError::SeveralSites);
    }
    let names = sites
        .iter()
        .map(|site| site.name.as_str())
        .collect::<Vec<_>>()
        .join(", ");
    let file = if sites.len() == 1 { &first.name } else { "wsgi-fpm" };
    let mut text = format!(
        "# {names} behind nginx. Put it into /etc/nginx/conf.d/{file}.conf, or wherever files are included into http {{ }}, then:\n\
         #     nginx -t && systemctl reload nginx\n\
         {}{}",
        if servers.len() == 1 { nameless(first) } else { "" },
        command.comment(first, "www-data"),
    );
    for site in sites {
        text.push_str(&upstream(site)?);
    }
    for sites in &servers {
        // Where there is more than one, somebody has to say what is for which.
        let name = (servers.len() > 1).then(|| format!("{}.example.org", sites[sites.len() - 1].name));
        text.push_str(&server_of(sites, name.as_deref())?);
    }
    Ok(text)
}

/// Sites that can share a server: no two of them have the same path. The whole site comes last, as one reads it.
fn servers<'a>(sites: &[&'a Site]) -> Vec<Vec<&'a Site>> {
    let mut servers: Vec<Vec<&Site>> = Vec::new();
    for &site in sites {
        let has_room =
            |server: &&mut Vec<&Site>| server.iter().all(|other| other.mount.as_str() != site.mount.as_str());
        match servers.iter_mut().find(has_room) {
            Some(server) => server.push(site),
            None => servers.push(vec![site]),
        }
    }
    for server in &mut servers {
        server.sort_by_key(|site| site.mount.as_str().is_empty());
    }
    servers
}

fn upstream(site: &Site) -> Result<String, WriterError> {
    let mut text = format!(
        "\nupstream {} {{\n    server {};\n",
        site.name,
        address(&site.backend()?)
    );
    match times::kept(&site.limits) {
        Some(kept) => {
            let _ = write!(
                text,
                "\n    # Connections that each process of nginx keeps open. nginx has to be the one who closes them: earlier than\n    \
                 # wsgi-fpm ({}, {}).\n    \
                 keepalive {};\n    keepalive_timeout {};\n    keepalive_requests {};\n",
                site.limits.idle_timeout.name(),
                site.limits.connection_requests.name(),
                kept.connections,
                time(kept.idle),
                kept.requests
            );
        }
        None => {
            let _ = writeln!(
                text,
                "    # No kept connections: {}, {} or {} leave no room for them.",
                site.limits.connections.name(),
                site.limits.idle_timeout.name(),
                site.limits.connection_requests.name()
            );
        }
    }
    text.push_str("}\n");
    Ok(text)
}

/// The server with all of its locations. `name`: what stands for a name that nobody has said.
fn server_of(sites: &[&Site], name: Option<&str>) -> Result<String, WriterError> {
    let site = sites[0];
    let mut text = String::new();
    if name.is_some() {
        text.push_str("\n# Put the name of the site in place of this one.");
    }
    if site.is_redirected_to() {
        text.push_str(&server(site, HTTP, "", name));
        text.push_str("    return 301 https://$host$request_uri;\n}\n");
    }
    let parameters = if site.tls.is_some() { " ssl" } else { "" };
    text.push_str(&server(site, site.port(), parameters, name));
    if let Some(tls) = &site.tls {
        let _ = write!(
            text,
            "    ssl_certificate {};\n    ssl_certificate_key {};\n    ssl_protocols TLSv1.2 TLSv1.3;\n",
            word(tls.certificate.without(SERVER, &["$"])?),
            word(tls.key.without(SERVER, &["$"])?)
        );
    }
    let is_one = sites.len() == 1;
    if is_one {
        text.push_str(&body_max(site, "    "));
    }
    for files in &site.statics {
        let url = files.url.directory();
        let directory = files.directory.directory();
        let _ = write!(
            text,
            "\n    location {} {{\n        alias {};\n    }}\n",
            word(url.without(SERVER, &[])?),
            word(directory.without(SERVER, &["$"])?)
        );
    }
    for site in sites {
        text.push_str(&location(site, !is_one)?);
    }
    text.push_str("}\n");
    Ok(text)
}

fn body_max(site: &Site, indent: &str) -> String {
    let limit = &site.limits.body_max;
    format!(
        "\n{indent}# Largest request body, as {}.\n{indent}client_max_body_size {};\n",
        limit.name(),
        **limit
    )
}

/// `own_limit`: others in its server may have another one.
fn location(site: &Site, own_limit: bool) -> Result<String, WriterError> {
    let mut text = String::new();
    let mount = site.mount.directory();
    if !site.mount.as_str().is_empty() {
        let target = site
            .mount
            .with(format!("{}$is_args$args", percent_encoded(mount.as_str())));
        let _ = write!(
            text,
            "\n    location = {} {{\n        return 301 {};\n    }}\n",
            word(site.mount.as_str()),
            word(target.as_str())
        );
    }
    let _ = write!(
        text,
        "\n    location {} {{\n        fastcgi_pass {};\n{}",
        word(mount.as_str()),
        site.name,
        if times::kept(&site.limits).is_some() {
            "        fastcgi_keep_conn on;\n"
        } else {
            ""
        },
    );
    if own_limit {
        text.push_str(&body_max(site, "        "));
    }
    text.push_str(&buffers(site));
    text.push_str(&timeouts(site));
    text.push_str(&params(&site.backend()?));
    text.push_str("    }\n");
    Ok(text)
}

/// A warning in the comment at the top.
fn nameless(site: &Site) -> &'static str {
    match (site.server_names.is_empty(), site.port()) {
        (false, _) => "",
        (true, HTTP) => {
            "# Without a name (--server-name) it answers only if no other site of this port comes before it or is its\n\
             # default_server, as Debian's own is: rm /etc/nginx/sites-enabled/default\n"
        }
        (true, _) => {
            "# Without a name (--server-name) it answers only if no other site of this port comes before it or is its\n\
             # default_server.\n"
        }
    }
}

/// The first lines of a server block.
fn server(site: &Site, port: u16, parameters: &str, name: Option<&str>) -> String {
    let mut text = format!("\nserver {{\n    listen {port}{parameters};\n    listen [::]:{port}{parameters};\n");
    let names = site.server_names.join(" ");
    let names = name.unwrap_or(&names);
    if !names.is_empty() {
        let _ = writeln!(text, "    server_name {names};");
    }
    text
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

fn buffers(site: &Site) -> String {
    // The head shares its buffer with record headers and with what comes on STDERR before it.
    let head = site.limits.response_head.get().bytes().min(LARGEST_HEAD);
    let first = head.next_multiple_of(1024) + PAGE;
    // nginx insists on more buffers than may be busy, which is by default twice the first one.
    let count = BUFFERS.max((2 * first).div_ceil(BUFFER) + 2);
    format!(
        "\n        # The head of a response has to fit into the first buffer: {}, and a page.\n        \
         fastcgi_buffer_size {};\n        fastcgi_buffers {count} {};\n",
        site.limits.response_head.name(),
        kilobytes(first),
        kilobytes(BUFFER)
    )
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

fn timeouts(site: &Site) -> String {
    format!(
        "\n        # Later than wsgi-fpm's own limits, so that its answer and its log line come first ({},\n        \
         # {}, {}).\n        \
         fastcgi_connect_timeout {};\n        fastcgi_send_timeout {};\n        fastcgi_read_timeout {};\n",
        site.limits.request_timeout.name(),
        site.limits.queue_timeout.name(),
        site.limits.body_timeout.name(),
        time(times::CONNECT),
        time(times::send(&site.limits).unwrap_or(times::A_YEAR)),
        time(times::read(&site.limits).unwrap_or(times::A_YEAR))
    )
}

fn params(backend: &Backend) -> String {
    let mut text = "\n        # nginx/wsgi_fpm_params.\n".to_owned();
    for line in PARAMS.lines().filter(|line| line.starts_with("fastcgi_param ")) {
        // A wait can be judged by one clock only.
        if line.contains(" REQUEST_START ") && !backend.is_local() {
            continue;
        }
        let _ = writeln!(text, "        {line}");
    }
    text
}

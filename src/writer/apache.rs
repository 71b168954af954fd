//! A site of Apache with mod_proxy_fcgi, as `apache/proxy-fcgi.conf` shows it; and what mod_fcgid's has in common with it.

use super::command::Command;
use super::servers::{Server, Servers};
use super::text::Text;
use super::value::{Value, quoted};
use super::{Backend, HTTP, HTTPS, Site, WriterError, own_pages, times};

pub const SERVER: &str = "Apache";

pub fn write(servers: &Servers, command: &Command) -> Result<Text, WriterError> {
    let mut text = head(servers, "proxy_fcgi");
    command.comment(&mut text, servers.first(), "www-data");
    listen(&mut text, servers.first());
    for server in servers.iter() {
        virtual_host(&mut text, server, |text| {
            if let Some(site) = server.only() {
                limit(text, site);
            }
            static_files(text, server.sites[0], true)?;
            for site in &server.sites {
                proxy(text, site)?;
            }
            rules(text, server)
        })?;
    }
    Ok(text)
}

/// The comment at the top, which says what Apache needs for it.
pub fn head(servers: &Servers, module: &str) -> Text {
    let (site, file) = (servers.first(), servers.name());
    let alias = if site.statics.is_empty() { "" } else { " alias" };
    let tls = match &site.tls {
        Some(_) if site.is_redirected_to() => " ssl rewrite",
        Some(_) => " ssl",
        None => "",
    };
    let mut text = Text::new("    ");
    text.line(format_args!(
        "# {} behind Apache. Put it into /etc/apache2/sites-available/{file}.conf, then:",
        servers.title()
    ));
    text.typed(format_args!(
        "a2enmod {module}{alias}{tls} && a2ensite {file} && apache2ctl configtest && systemctl reload apache2"
    ));
    if servers.iter().any(|server| server.names.is_empty()) {
        text.comment("Without a name (--server-name) it answers only if no other site of this port comes before it.");
    }
    text
}

/// The port, where it is not one of Apache's own.
pub fn listen(text: &mut Text, site: &Site) {
    let port = site.port();
    text.blank();
    // Apache's own ports.conf has these; twice is an error.
    if ![HTTP, HTTPS].contains(&port) {
        text.comment("Remove it if the server listens there already.");
        text.line(format_args!("Listen {port}"));
    }
}

/// The virtual host with what `inner` writes, and one that leads there.
pub fn virtual_host(
    text: &mut Text,
    server: &Server,
    inner: impl FnOnce(&mut Text) -> Result<(), WriterError>,
) -> Result<(), WriterError> {
    let site = server.sites[0];
    text.blank();
    if server.is_unnamed {
        text.comment("Put the name of the site in place of this one.");
    }
    if site.is_redirected_to() {
        text.block(format_args!("<VirtualHost *:{HTTP}>"), "</VirtualHost>", |text| {
            names(text, server);
            text.line("RewriteEngine On");
            text.line("RewriteRule ^ https://%{SERVER_NAME}%{REQUEST_URI} [R=301,L]");
        });
        text.blank();
    }
    let open = format!("<VirtualHost *:{}>", site.port());
    text.block(open, "</VirtualHost>", |text| {
        names(text, server);
        if let Some(tls) = &site.tls {
            text.line("SSLEngine on");
            text.line("SSLProtocol -all +TLSv1.2 +TLSv1.3");
            text.line(format_args!("SSLCertificateFile {}", word(&tls.certificate)?));
            text.line(format_args!("SSLCertificateKeyFile {}", word(&tls.key)?));
            text.blank();
        }
        inner(text)
    })
}

fn names(text: &mut Text, server: &Server) {
    for (i, name) in server.names.iter().enumerate() {
        let directive = if i == 0 { "ServerName" } else { "ServerAlias" };
        text.line(format_args!("{directive} {name}"));
    }
    if !server.names.is_empty() {
        text.blank();
    }
}

fn limit(text: &mut Text, site: &Site) {
    let most = &site.limits.body_max;
    text.comment(format_args!("Largest request body, as {}.", most.name()));
    // Zero means no limit for Apache.
    text.line(format_args!("LimitRequestBody {}", most.bytes().unwrap_or(0)));
}

/// The static files; they have to stand before the application, which has everything else.
pub fn static_files(text: &mut Text, site: &Site, is_proxy: bool) -> Result<(), WriterError> {
    for files in &site.statics {
        let url = word(&files.url.directory())?;
        text.blank();
        text.line(format_args!("Alias {url} {}", word(&files.directory.directory())?));
        let open = format!("<Directory {}>", pattern(&files.directory)?);
        text.block(open, "</Directory>", |text| text.line("Require all granted"));
        if is_proxy {
            text.line(format_args!("ProxyPass {url} !"));
        }
    }
    Ok(())
}

/// Which requests go to the application, and for how long they are waited for.
fn proxy(text: &mut Text, site: &Site) -> Result<(), WriterError> {
    let limits = &site.limits;
    let read = times::read(limits).unwrap_or(times::A_YEAR);
    let send = times::send(limits).unwrap_or(times::A_YEAR);
    let mut parameters = format!(
        "retry=0 connectiontimeout={} timeout={}",
        times::seconds(times::CONNECT),
        times::seconds(read.max(send))
    );
    text.blank();
    text.comment(format_args!(
        "timeout is longer than {} and {}, so that wsgi-fpm's own answer and log line come first. retry=0: or Apache \
         answers 503 for another minute after a restart.",
        limits.request_timeout.name(),
        limits.queue_timeout.name()
    ));
    if let Some(kept) = times::kept(limits) {
        parameters += &format!(" enablereuse=on ttl={}", kept.idle.as_secs());
        text.comment(format_args!(
            "enablereuse keeps connections; ttl is shorter than {}, so that Apache is the one who closes them.",
            limits.idle_timeout.name()
        ));
    }
    text.line(format_args!(
        "ProxyPass {} {} {parameters}",
        word(&url(site))?,
        target(site)?
    ));
    Ok(())
}

/// What holds for the applications of a virtual host.
fn rules(text: &mut Text, server: &Server) -> Result<(), WriterError> {
    text.blank();
    text.comment("Params in the form that the specification has, not the one for PHP.");
    text.line("ProxyFCGIBackendType GENERIC");
    text.comment("An upload of unknown length gets one.");
    text.line("SetEnv proxy-sendcl 1");
    text.comment(
        "The Content-Length of responses, which Apache drops otherwise: wsgi-fpm makes sure that it is right.",
    );
    text.line("SetEnv ap_trust_cgilike_cl 1");
    text.comment("%2F in a path, and slashes that follow each other, are the application's business.");
    text.line("AllowEncodedSlashes On");
    text.line("MergeSlashes Off");
    // Of those that match, the last one counts.
    for site in server.sites.iter().rev() {
        // Patterns mean themselves there only without their characters.
        let open = format!("<Location {}>", pattern(&url(site))?);
        text.block(open, "</Location>", |text| {
            if server.only().is_none() {
                limit(text, site);
            }
            text.comment("The Authorization header, which Apache withholds otherwise.");
            text.line("CGIPassAuth On");
        });
    }
    for site in server.sites.iter().filter(|site| !site.own_pages.is_empty()) {
        own_pages::comment(text, site, "mod_remoteip");
        let open = format!("<LocationMatch {}>", word(&own_pages::pattern(site))?);
        text.block(open, "</LocationMatch>", |text| {
            text.line(format_args!("Require ip {}", own_pages::ADDRESSES.join(" ")));
        });
    }
    Ok(())
}

/// The path that the application has.
fn url(site: &Site) -> Value {
    match site.mount.as_str() {
        "" => site.mount.with("/".to_owned()),
        _ => site.mount.clone(),
    }
}

/// Where requests go. The host stands for the socket in logs and in the list of workers.
fn target(site: &Site) -> Result<String, WriterError> {
    Ok(match site.backend()? {
        Backend::Unix(path) => {
            let path = path.without(SERVER, &["|", "?", "#", "${"])?;
            quoted(&format!("unix:{path}|fcgi://{}/", site.name), &['"', '\\'])
        }
        Backend::Tcp(address) => quoted(&format!("fcgi://{address}/"), &[]),
    })
}

/// An argument of a directive.
pub fn word(value: &Value) -> Result<String, WriterError> {
    Ok(quoted(value.without(SERVER, &["${"])?, &['"', '\\']))
}

/// An argument of a section, in which wildcards mean something.
pub fn pattern(value: &Value) -> Result<String, WriterError> {
    value.without(SERVER, &["*", "?", "["])?;
    word(value)
}

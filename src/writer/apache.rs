//! A site of Apache with mod_proxy_fcgi, as `apache/proxy-fcgi.conf` shows it; and what mod_fcgid's has in common with it.

use std::fmt::Write as _;

use super::command::Command;
use super::value::{Value, quoted};
use super::{Backend, HTTP, HTTPS, Site, WriterError, times};

pub const SERVER: &str = "Apache";

pub fn write(site: &Site, command: &Command) -> Result<String, WriterError> {
    let mut text = head(site, "proxy_fcgi");
    text.push_str(&command.comment(site, "www-data"));
    text.push_str(&virtual_host(site)?);
    text.push_str(&limit(site));
    text.push_str(&static_files(site, true)?);

    let mut parameters = format!("retry=0 connectiontimeout={}", times::seconds(times::CONNECT));
    let read = times::read(&site.limits).unwrap_or(times::A_YEAR);
    let send = times::send(&site.limits).unwrap_or(times::A_YEAR);
    let _ = write!(parameters, " timeout={}", times::seconds(read.max(send)));
    let mut why = String::new();
    if let Some(kept) = times::kept(&site.limits) {
        let _ = write!(parameters, " enablereuse=on ttl={}", kept.idle.as_secs());
        let _ = writeln!(
            why,
            "    # enablereuse keeps connections; ttl is shorter than {}, so that Apache is the one who closes them.",
            site.limits.idle_timeout.name()
        );
    }
    let mount = if site.mount.as_str().is_empty() {
        "/"
    } else {
        site.mount.as_str()
    };
    let _ = write!(
        text,
        "\n    # timeout is longer than {} and {}, so that wsgi-fpm's own answer and log line come\n    \
         # first. retry=0: or Apache answers 503 for another minute after a restart.\n{why}    \
         ProxyPass {} {} {parameters}\n\n    \
         # Params in the form that the specification has, not the one for PHP.\n    \
         ProxyFCGIBackendType GENERIC\n    \
         # An upload of unknown length gets one.\n    \
         SetEnv proxy-sendcl 1\n    \
         # The Content-Length of responses, which Apache drops otherwise: wsgi-fpm makes sure that it is right.\n    \
         SetEnv ap_trust_cgilike_cl 1\n    \
         # %2F in a path, and slashes that follow each other, are the application's business.\n    \
         AllowEncodedSlashes On\n    \
         MergeSlashes Off\n    \
         <Location {}>\n        \
         # The Authorization header, which Apache withholds otherwise.\n        \
         CGIPassAuth On\n    \
         </Location>\n\
         </VirtualHost>\n",
        site.limits.request_timeout.name(),
        site.limits.queue_timeout.name(),
        word(&site.mount.with(mount.to_owned()))?,
        target(site)?,
        // Patterns mean themselves there only without their characters.
        pattern(&site.mount.with(mount.to_owned()))?,
    );
    Ok(text)
}

/// The comment at the top, and the port.
pub fn head(site: &Site, module: &str) -> String {
    let name = &site.name;
    let alias = if site.statics.is_empty() { "" } else { " alias" };
    let tls = match &site.tls {
        Some(_) if site.is_redirected_to() => " ssl rewrite",
        Some(_) => " ssl",
        None => "",
    };
    let mut text = format!(
        "# {name} behind Apache. Put it into /etc/apache2/sites-available/{name}.conf, then:\n\
         #     a2enmod {module}{alias}{tls} && a2ensite {name} && apache2ctl configtest && systemctl reload apache2\n"
    );
    if site.server_names.is_empty() {
        text.push_str(
            "# Without a name (--server-name) it answers only if no other site of this port comes before it.\n",
        );
    }
    text
}

/// The start of the virtual host.
pub fn virtual_host(site: &Site) -> Result<String, WriterError> {
    let port = site.port();
    let mut text = String::from("\n");
    // Apache's own ports.conf has these; twice is an error.
    if ![HTTP, HTTPS].contains(&port) {
        let _ = write!(
            text,
            "# Remove it if the server listens there already.\nListen {port}\n\n"
        );
    }
    if site.is_redirected_to() {
        let _ = write!(
            text,
            "<VirtualHost *:{HTTP}>\n{}    RewriteEngine On\n    \
             RewriteRule ^ https://%{{SERVER_NAME}}%{{REQUEST_URI}} [R=301,L]\n</VirtualHost>\n\n",
            names(site)
        );
    }
    let _ = write!(text, "<VirtualHost *:{port}>\n{}", names(site));
    if let Some(tls) = &site.tls {
        let _ = write!(
            text,
            "    SSLEngine on\n    SSLProtocol -all +TLSv1.2 +TLSv1.3\n    \
             SSLCertificateFile {}\n    SSLCertificateKeyFile {}\n\n",
            word(&tls.certificate)?,
            word(&tls.key)?
        );
    }
    Ok(text)
}

fn names(site: &Site) -> String {
    let mut text = String::new();
    let mut names = site.server_names.iter();
    if let Some(name) = names.next() {
        let _ = writeln!(text, "    ServerName {name}");
    }
    for name in names {
        let _ = writeln!(text, "    ServerAlias {name}");
    }
    if !site.server_names.is_empty() {
        text.push('\n');
    }
    text
}

fn limit(site: &Site) -> String {
    let most = &site.limits.body_max;
    // Zero means no limit for Apache.
    let bytes = most.bytes().unwrap_or(0);
    format!(
        "    # Largest request body, as {}.\n    LimitRequestBody {bytes}\n",
        most.name()
    )
}

/// The static files; they have to stand before the application, which has everything else.
pub fn static_files(site: &Site, is_proxy: bool) -> Result<String, WriterError> {
    let mut text = String::new();
    for files in &site.statics {
        let url = word(&files.url.directory())?;
        let _ = write!(
            text,
            "\n    Alias {url} {}\n    <Directory {}>\n        Require all granted\n    </Directory>\n",
            word(&files.directory.directory())?,
            pattern(&files.directory)?,
        );
        if is_proxy {
            let _ = writeln!(text, "    ProxyPass {url} !");
        }
    }
    Ok(text)
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

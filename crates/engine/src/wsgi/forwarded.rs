//! What is believed only if an option says so: the places where Apache leaves Authorization (SPEC B20), and what trusted
//! proxies in front of the web server say of the client (SPEC B12).
//!
//! Works on an environ that is otherwise complete: for the requests of others this is one branch.

use contract::settings::Settings;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use settings::values::TrustedProxies;

use crate::base::ffi::push_latin1;

/// The options' wishes; at least one of them is on.
pub struct Front {
    /// Where HTTP_AUTHORIZATION may be found instead.
    authorization: Vec<Py<PyString>>,
    proxies: Option<TrustedProxies>,
}

/// Apache prefixes the variables of a request once for each internal redirect, and stops after ten
/// (`LimitInternalRecursion`).
const MAX_REDIRECTS: usize = 10;

impl Front {
    pub fn new(py: Python<'_>, settings: &Settings) -> Option<Self> {
        let mut places = Vec::new();
        if *settings.front.authorization_from_redirect {
            places.extend((1..=MAX_REDIRECTS).map(|redirects| "REDIRECT_".repeat(redirects) + "HTTP_AUTHORIZATION"));
            // What `FcgidPassHeader Authorization` makes.
            places.push("Authorization".to_owned());
        }
        let believes = !places.is_empty() || settings.front.trusted_proxies.is_some();
        believes.then(|| Self {
            authorization: places.iter().map(|name| PyString::intern(py, name).unbind()).collect(),
            proxies: settings.front.trusted_proxies.clone().into_value(),
        })
    }

    /// # Errors
    /// MemoryError.
    pub fn apply(&self, environ: &Bound<'_, PyDict>) -> PyResult<()> {
        if !self.authorization.is_empty() {
            self.find_authorization(environ)?;
        }
        if let Some(trusted) = &self.proxies {
            follow_proxies(trusted, environ)?;
        }
        Ok(())
    }

    fn find_authorization(&self, environ: &Bound<'_, PyDict>) -> PyResult<()> {
        let key = intern!(environ.py(), "HTTP_AUTHORIZATION");
        if text(environ, key)?.is_some_and(|value| !value.is_empty()) {
            return Ok(());
        }
        for place in &self.authorization {
            // `RewriteRule .* - [E=HTTP_AUTHORIZATION:%{HTTP:Authorization}]` makes an empty one if the client sent none.
            if let Some(value) = environ.get_item(place)?
                && !value.is_empty()?
            {
                return environ.set_item(key, value);
            }
        }
        Ok(())
    }
}

/// Who has sent the request, as far as that is known, for the log: REMOTE_ADDR as bytes.
pub fn remote_address(environ: &Bound<'_, PyDict>) -> Vec<u8> {
    bytes_of(environ, intern!(environ.py(), "REMOTE_ADDR"))
}

/// A value of the environ as it was sent.
pub fn bytes_of(environ: &Bound<'_, PyDict>, key: &Bound<'_, PyString>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(Some(value)) = environ.get_item(key)
        && let Ok(text) = value.cast::<PyString>()
    {
        // Each character stands for a byte (SPEC B2): the environ has no others until the application has it.
        let _ = push_latin1(&mut bytes, text);
    }
    bytes
}

/// Client, scheme and port as the proxies tell them, if the peer of the web server is one that may.
fn follow_proxies(trusted: &TrustedProxies, environ: &Bound<'_, PyDict>) -> PyResult<()> {
    let py = environ.py();
    if !trusted.trusts(&text(environ, intern!(py, "REMOTE_ADDR"))?.unwrap_or_default()) {
        return Ok(());
    }
    if let Some(list) = text(environ, intern!(py, "HTTP_X_FORWARDED_FOR"))?
        && let Some(client) = trusted.client(&list)
    {
        environ.set_item(intern!(py, "REMOTE_ADDR"), client.to_string())?;
        // They are the proxy's.
        remove(environ, intern!(py, "REMOTE_PORT"))?;
        remove(environ, intern!(py, "REMOTE_HOST"))?;
    }
    let scheme = match text(environ, intern!(py, "HTTP_X_FORWARDED_PROTO"))? {
        Some(proto) if proto.trim().eq_ignore_ascii_case("https") => Some("https"),
        Some(proto) if proto.trim().eq_ignore_ascii_case("http") => Some("http"),
        Some(_) | None => None,
    };
    if let Some(scheme) = scheme {
        set_scheme(environ, scheme)?;
    }
    let port = text(environ, intern!(py, "HTTP_X_FORWARDED_PORT"))?;
    let port = match port.filter(|port| is_port(port.trim())) {
        Some(port) => Some(port.trim().to_owned()),
        None => {
            let old = text(environ, intern!(py, "SERVER_PORT"))?;
            match (scheme, old.as_deref()) {
                (Some("https"), Some("80")) => Some("443".to_owned()),
                (Some("http"), Some("443")) => Some("80".to_owned()),
                _ => None,
            }
        }
    };
    if let Some(port) = port {
        environ.set_item(intern!(py, "SERVER_PORT"), port)?;
    }
    Ok(())
}

/// Under all names by which applications ask for it.
fn set_scheme(environ: &Bound<'_, PyDict>, scheme: &str) -> PyResult<()> {
    let py = environ.py();
    environ.set_item(intern!(py, "wsgi.url_scheme"), scheme)?;
    if environ.contains(intern!(py, "REQUEST_SCHEME"))? {
        environ.set_item(intern!(py, "REQUEST_SCHEME"), scheme)?;
    }
    match scheme {
        "https" => environ.set_item(intern!(py, "HTTPS"), "on"),
        _ => remove(environ, intern!(py, "HTTPS")),
    }
}

/// 1 to 65535.
fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

fn text(environ: &Bound<'_, PyDict>, key: &Bound<'_, PyString>) -> PyResult<Option<String>> {
    let value = environ.get_item(key)?;
    Ok(value.and_then(|value| Some(value.cast::<PyString>().ok()?.to_string_lossy().into_owned())))
}

fn remove(environ: &Bound<'_, PyDict>, key: &Bound<'_, PyString>) -> PyResult<()> {
    if environ.contains(key)? {
        environ.del_item(key)?;
    }
    Ok(())
}

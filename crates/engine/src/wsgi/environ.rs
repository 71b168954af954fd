//! Params into the WSGI environ (SPEC B).
//!
//! Most params repeat from request to request. So each thread keeps one dict with those of its last request, changes
//! only what differs, and gives the application a copy: one memcpy in place of thirty insertions. Values that are long
//! or differ each time cost what they would anyway.

use std::collections::HashMap;

use contract::limited;
use contract::log::Trace;
use contract::settings::Settings;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use settings::sections::Limits;

use super::forwarded::Front;
use super::params::{Role, is_https, is_token, parse_request_start, role_of, split_host};
use super::paths::{PathRule, Sent};
use super::reject::Rejection;
use crate::base::ffi;
use crate::request::body::declared_length;

/// Builds environs for one thread.
pub struct EnvironBuilder {
    /// The last request's environ, without the objects that only one request may see.
    template: Py<PyDict>,
    params: Vec<Param>,
    by_name: HashMap<Box<[u8]>, usize>,
    /// The params of the last request in their order: front servers don't change it.
    order: Vec<u32>,
    serial: u64,
    limits: Limits,
    paths: PathRule,
    /// What the front server is believed beyond the usual, if anything.
    front: Option<Front>,
    derived: Derived,
    keys: Keys,
}

/// One param's name and what is known about it.
struct Param {
    name: Box<[u8]>,
    key: Py<PyString>,
    role: Role,
    /// The value in the template, unless it is long: then `comparable` is false.
    value: Vec<u8>,
    comparable: bool,
    in_template: bool,
    /// The request that had it last.
    seen: u64,
}

/// Values that the gateway computes; as they stand in the template.
#[derive(Default)]
struct Derived {
    script_name: Vec<u8>,
    path_info: Vec<u8>,
    https: Option<bool>,
    /// CONTENT_LENGTH stands in the template without having been a param.
    content_length: bool,
}

/// What the gateway has to know of a request.
#[derive(Default)]
pub struct Facts<'a> {
    pub method: &'a [u8],
    pub content_length: Option<u64>,
    /// CONTENT_LENGTH as it was sent last (SPEC A19).
    declared_length: &'a [u8],
    path: Sent<'a>,
    query_string: bool,
    https: Option<&'a [u8]>,
    request_scheme: Option<&'a [u8]>,
    server_name: Option<&'a [u8]>,
    server_addr: Option<&'a [u8]>,
    server_port: Option<&'a [u8]>,
    server_protocol: bool,
    http_host: Option<&'a [u8]>,
    /// When the front server took the request: seconds since the epoch, as nginx's `$msec`, perhaps behind `t=`.
    pub request_start: Option<f64>,
    pub trace: Option<Trace>,
}

struct Keys {
    script_name: Py<PyString>,
    path_info: Py<PyString>,
    query_string: Py<PyString>,
    content_length: Py<PyString>,
    server_name: Py<PyString>,
    server_port: Py<PyString>,
    server_protocol: Py<PyString>,
    url_scheme: Py<PyString>,
}

/// Longer values aren't compared with the next request's: cookies and queries of this size differ anyway.
const KEPT_VALUE: usize = 2048;
/// Names that are remembered; a client that invents header names can't make more grow.
const KEPT_NAMES: usize = 512;

/// Headers that most clients send or most applications ask for.
const USUAL_HEADERS: [&[u8]; 20] = [
    b"HTTP_HOST",
    b"HTTP_USER_AGENT",
    b"HTTP_ACCEPT",
    b"HTTP_ACCEPT_LANGUAGE",
    b"HTTP_ACCEPT_ENCODING",
    b"HTTP_ACCEPT_CHARSET",
    b"HTTP_COOKIE",
    b"HTTP_REFERER",
    b"HTTP_ORIGIN",
    b"HTTP_AUTHORIZATION",
    b"HTTP_CACHE_CONTROL",
    b"HTTP_PRAGMA",
    b"HTTP_RANGE",
    b"HTTP_IF_NONE_MATCH",
    b"HTTP_IF_MODIFIED_SINCE",
    b"HTTP_X_FORWARDED_FOR",
    b"HTTP_X_FORWARDED_PROTO",
    b"HTTP_X_FORWARDED_HOST",
    b"HTTP_X_REAL_IP",
    b"HTTP_X_REQUESTED_WITH",
];

impl EnvironBuilder {
    /// `constants` go into every environ: the gateway's own keys.
    pub fn new(constants: Bound<'_, PyDict>, settings: &Settings) -> Self {
        let py = constants.py();
        let key = |name| PyString::intern(py, name).unbind();
        Self {
            template: constants.unbind(),
            params: Vec::new(),
            by_name: HashMap::new(),
            order: Vec::new(),
            serial: 0,
            limits: settings.limits.clone(),
            paths: PathRule::new(settings),
            front: Front::new(py, settings),
            derived: Derived::default(),
            keys: Keys {
                script_name: key("SCRIPT_NAME"),
                path_info: key("PATH_INFO"),
                query_string: key("QUERY_STRING"),
                content_length: key("CONTENT_LENGTH"),
                server_name: key("SERVER_NAME"),
                server_port: key("SERVER_PORT"),
                server_protocol: key("SERVER_PROTOCOL"),
                url_scheme: key("wsgi.url_scheme"),
            },
        }
    }

    /// A fresh environ for the request with these params. `body_length`: how much has arrived of a body that came
    /// without a length but is complete (SPEC C46).
    ///
    /// # Errors
    /// A rejection for the client, or Python's MemoryError.
    pub fn build<'py, 'a, E: std::fmt::Display>(
        &mut self,
        py: Python<'py>,
        pairs: impl Iterator<Item = Result<(&'a [u8], &'a [u8]), E>>,
        body_length: Option<u64>,
    ) -> Result<(Bound<'py, PyDict>, Facts<'a>), Rejection> {
        if self.params.len() > KEPT_NAMES {
            self.forget(py)?;
        }
        if std::mem::take(&mut self.derived.content_length) {
            self.template.bind(py).del_item(&self.keys.content_length)?;
        }
        self.serial += 1;
        let mut facts = Facts::default();
        let mut count = 0;
        for pair in pairs {
            let (name, value) = pair.map_err(|error| Rejection::bad_request(error.to_string()))?;
            if count >= self.limits.params_pairs.get() as usize {
                return Err(Rejection::params_too_large(
                    "more params than",
                    &self.limits.params_pairs,
                ));
            }
            self.take(py, count, name, value, &mut facts)?;
            count += 1;
        }
        self.order.truncate(count);
        self.remove_absent(py)?;
        self.derive(py, &mut facts, body_length)?;
        let environ = self.template.bind(py).copy()?;
        if let Some(front) = &self.front {
            front.apply(&environ)?;
        }
        Ok((environ, facts))
    }

    /// Replaces one of the constants.
    ///
    /// # Errors
    /// Python's MemoryError.
    pub fn set_constant(&self, name: &Bound<'_, PyString>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.template.bind(name.py()).set_item(name, value)
    }

    /// SCRIPT_NAME and PATH_INFO of the last request.
    pub fn path(&self) -> (&[u8], &[u8]) {
        (&self.derived.script_name, &self.derived.path_info)
    }

    /// One pair.
    fn take<'a>(
        &mut self,
        py: Python<'_>,
        position: usize,
        name: &'a [u8],
        value: &'a [u8],
        facts: &mut Facts<'a>,
    ) -> Result<(), Rejection> {
        let index = match self.order.get(position) {
            Some(&index) if *self.params[index as usize].name == *name => index as usize,
            predicted => {
                let predicted = predicted.is_some();
                let index = self.index_of(py, name)?;
                if predicted {
                    self.order[position] = index as u32;
                } else {
                    self.order.push(index as u32);
                }
                index
            }
        };
        let param = &mut self.params[index];
        let again = param.seen == self.serial;
        param.seen = self.serial;
        if value.len() > self.limits.param_value.get().in_memory() {
            return Err(Rejection::params_too_large(
                "a param's value is longer than",
                &self.limits.param_value,
            ));
        }
        let mut keep = true;
        match param.role {
            Role::Pass => {}
            Role::Drop => keep = false,
            Role::PassNonEmpty => keep = !value.is_empty(),
            Role::PassUnique => {
                if again {
                    keep = false;
                    warn_of_twice(name);
                }
            }
            Role::PassJoined if again => return self.join(py, index, value),
            Role::PassJoined => {}
            Role::Method => facts.method = value,
            Role::ScriptName => (facts.path.script_name, keep) = (Some(value), false),
            Role::PathInfo => (facts.path.path_info, keep) = (Some(value), false),
            Role::RequestUri => facts.path.request_uri = Some(value),
            Role::QueryString => facts.query_string = true,
            Role::ContentLength => {
                keep = !value.is_empty();
                facts.declared_length = value;
            }
            Role::Https => {
                keep = !value.is_empty();
                facts.https = Some(value);
            }
            Role::RequestScheme => facts.request_scheme = Some(value),
            Role::ServerName => (facts.server_name, keep) = (Some(value), !value.is_empty()),
            Role::ServerAddr => facts.server_addr = Some(value),
            Role::ServerPort => (facts.server_port, keep) = (Some(value), !value.is_empty()),
            Role::ServerProtocol => (facts.server_protocol, keep) = (!value.is_empty(), !value.is_empty()),
            Role::HttpHost => facts.http_host = Some(value),
            Role::RequestStart => facts.request_start = parse_request_start(value),
            // Two of them are none that could be believed.
            Role::Traceparent => facts.trace = Trace::of_traceparent(value).filter(|_| !again),
        }
        if param.in_template && keep && param.comparable && param.value == value {
            return Ok(());
        }
        if !keep {
            if param.in_template {
                param.in_template = false;
                self.template.bind(py).del_item(&param.key)?;
            }
            return Ok(());
        }
        if value.contains(&0) {
            return Err(nul(name));
        }
        self.template.bind(py).set_item(&param.key, ffi::latin1(py, value)?)?;
        param.in_template = true;
        param.value.clear();
        param.comparable = value.len() <= KEPT_VALUE;
        if param.comparable {
            param.value.extend_from_slice(value);
        }
        Ok(())
    }

    /// Another part of a list of this request, whose parts before stand in the template.
    fn join(&mut self, py: Python<'_>, index: usize, part: &[u8]) -> Result<(), Rejection> {
        let param = &mut self.params[index];
        let template = self.template.bind(py);
        let before = template.get_item(&param.key)?;
        let more = ffi::latin1(py, &[b", ", part].concat())?;
        let list = before.map_or_else(|| Ok(more.clone().into_any()), |before| before.add(&more))?;
        if list.len()? > self.limits.param_value.get().in_memory() {
            return Err(Rejection::params_too_large(
                "the parts of a param are longer than",
                &self.limits.param_value,
            ));
        }
        if part.contains(&0) {
            return Err(nul(&param.name));
        }
        // The next request begins anew.
        param.comparable = false;
        Ok(template.set_item(&param.key, list)?)
    }

    fn index_of(&mut self, py: Python<'_>, name: &[u8]) -> Result<usize, Rejection> {
        if let Some(&index) = self.by_name.get(name) {
            return Ok(index);
        }
        if name.len() > self.limits.param_name.get().in_memory() {
            return Err(Rejection::params_too_large(
                "a param's name is longer than",
                &self.limits.param_name,
            ));
        }
        let key = ffi::latin1(py, name)?;
        // CPython 3.12 before 3.12.5 never frees an interned str: not for names that a client can invent.
        let key = if !name.starts_with(b"HTTP_") || USUAL_HEADERS.contains(&name) {
            PyString::intern(py, &key.to_string_lossy())
        } else {
            key
        };
        let index = self.params.len();
        self.by_name.insert(name.into(), index);
        self.params.push(Param {
            name: name.into(),
            key: key.unbind(),
            role: role_of(name),
            value: Vec::new(),
            comparable: false,
            in_template: false,
            seen: 0,
        });
        Ok(index)
    }

    /// What the last request had and this one has not.
    fn remove_absent(&mut self, py: Python<'_>) -> PyResult<()> {
        let serial = self.serial;
        for param in self
            .params
            .iter_mut()
            .filter(|param| param.in_template && param.seen != serial)
        {
            param.in_template = false;
            self.template.bind(py).del_item(&param.key)?;
        }
        Ok(())
    }

    /// The keys that the gateway computes or guarantees.
    fn derive<'a>(&mut self, py: Python<'_>, facts: &mut Facts<'a>, body_length: Option<u64>) -> Result<(), Rejection> {
        let template = self.template.clone_ref(py).into_bound(py);
        if !is_token(facts.method) {
            return Err(Rejection::bad_request(match facts.method {
                b"" => {
                    "REQUEST_METHOD is missing: the web server has to send the params of a request (nginx: include wsgi_fpm_params)"
                }
                _ => "REQUEST_METHOD is no token",
            }));
        }
        facts.content_length =
            declared_length(facts.declared_length).map_err(|error| Rejection::bad_request(error.to_string()))?;
        let (script_name, path_info) = self.paths.split(&facts.path).ok_or(Rejection::NotFound)?;
        let fresh = self.derived.https.is_none();
        if fresh || *self.derived.script_name != *script_name {
            if script_name.contains(&0) {
                return Err(Rejection::bad_request("the path has a NUL"));
            }
            template.set_item(&self.keys.script_name, ffi::latin1(py, &script_name)?)?;
            self.derived.script_name = script_name.into_owned();
        }
        if fresh || *self.derived.path_info != *path_info {
            if path_info.contains(&0) {
                return Err(Rejection::bad_request("the path has a NUL"));
            }
            template.set_item(&self.keys.path_info, ffi::latin1(py, &path_info)?)?;
            self.derived.path_info = path_info.into_owned();
        }
        let https = is_https(facts.https, facts.request_scheme);
        if self.derived.https != Some(https) {
            template.set_item(&self.keys.url_scheme, if https { "https" } else { "http" })?;
            self.derived.https = Some(https);
        }
        if !facts.query_string {
            self.default(py, &self.keys.query_string, b"")?;
        }
        if facts.server_name.is_none_or(<[u8]>::is_empty) {
            let host = facts
                .http_host
                .map(|host| split_host(host).0)
                .filter(|host| !host.is_empty());
            let name = host
                .or(facts.server_addr.filter(|addr| !addr.is_empty()))
                .unwrap_or(b"localhost");
            self.default(py, &self.keys.server_name, name)?;
        }
        if facts.server_port.is_none_or(<[u8]>::is_empty) {
            let port = facts.http_host.and_then(|host| split_host(host).1);
            self.default(
                py,
                &self.keys.server_port,
                port.unwrap_or(if https { b"443" } else { b"80" }),
            )?;
        }
        if !facts.server_protocol {
            self.default(py, &self.keys.server_protocol, b"HTTP/1.0")?;
        }
        if let (None, Some(length)) = (facts.content_length, body_length.filter(|&length| length > 0)) {
            facts.content_length = Some(length);
            self.derived.content_length = true;
            self.default(py, &self.keys.content_length, length.to_string().as_bytes())?;
        }
        Ok(())
    }

    /// Sets a key that this request's params left out, as if they had it: the next request removes it again.
    fn default(&self, py: Python<'_>, key: &Py<PyString>, value: &[u8]) -> PyResult<()> {
        if value.contains(&0) {
            return Ok(());
        }
        self.template.bind(py).set_item(key, ffi::latin1(py, value)?)
    }

    /// Starts anew with only the gateway's constants.
    fn forget(&mut self, py: Python<'_>) -> PyResult<()> {
        for param in self.params.drain(..).filter(|param| param.in_template) {
            self.template.bind(py).del_item(&param.key)?;
        }
        self.by_name.clear();
        self.order.clear();
        Ok(())
    }
}

fn nul(name: &[u8]) -> Rejection {
    Rejection::bad_request(format!("param {} has a NUL", name.escape_ascii()))
}

/// Clients can make every request have it.
fn warn_of_twice(name: &[u8]) {
    limited!(
        "params that came twice",
        tracing::warn!(name = %name.escape_ascii(), "dropped: the front server sent it twice")
    );
}

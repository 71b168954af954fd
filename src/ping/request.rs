//! The request, as nginx would pass it on: the same params that the preview sends.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;

use fastcgi::{encode, record};
use hyper::{Method, Request};

use crate::cli::PingArgs;
use crate::preview::params::{BadTarget, Ends, Params, params};

pub const ID: u16 = 1;

/// What was typed makes no request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    #[error("PATH {0}: {1}")]
    Path(String, BadTarget),
    #[error("PATH, --method or --header: {0}; write what is no letter of a URL as %20")]
    Http(#[from] hyper::http::Error),
    #[error("--header {0}: only letters, digits and - pass through a web server; --param sends anything")]
    Header(String),
}

/// All records of a request for `path`.
///
/// # Errors
/// [`RequestError`].
pub fn records(args: &PingArgs, path: &str) -> Result<Vec<u8>, RequestError> {
    let params = all_params(args, path)?;
    let mut out = Vec::new();
    encode::begin_request(&mut out, ID, record::role::RESPONDER, 0);
    let pairs: Vec<_> = params
        .iter()
        .map(|(name, value)| (name.as_bytes(), &value[..]))
        .collect();
    encode::params(&mut out, ID, &pairs);
    encode::end_stdin(&mut out, ID);
    Ok(out)
}

fn all_params(args: &PingArgs, path: &str) -> Result<Params, RequestError> {
    let mut request = Request::builder().method(&*args.method).uri(path);
    for (name, value) in &args.headers {
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(RequestError::Header(name.clone()));
        }
        request = request.header(name, value);
    }
    let mut request = request.body(())?;
    let headers = request.headers_mut();
    for (name, value) in [
        ("host", "localhost"),
        ("user-agent", concat!("wsgi-fpm-ping/", env!("CARGO_PKG_VERSION"))),
    ] {
        let value = hyper::header::HeaderValue::from_static(value);
        headers.entry(name).or_insert(value);
    }
    let has_body = ![Method::GET, Method::HEAD].contains(request.method());
    let ends = Ends {
        local: SocketAddr::from((Ipv4Addr::LOCALHOST, 80)),
        remote: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    };
    let mut params = params(&request, ends).map_err(|error| RequestError::Path(path.to_owned(), error))?;
    if has_body && request.headers().get("content-length").is_none() {
        set(&mut params, "CONTENT_LENGTH", b"0");
    }
    if let Some(file) = &args.script_filename {
        // The whole path is the script's for php-fpm, which knows its own pages by it.
        let path = params
            .iter()
            .find(|(name, _)| name == "PATH_INFO")
            .map(|(_, path)| path.clone());
        set(&mut params, "SCRIPT_NAME", &path.unwrap_or_default());
        set(&mut params, "SCRIPT_FILENAME", file.as_bytes());
        params.retain(|(name, _)| name != "PATH_INFO");
    }
    for param in &args.params {
        set(&mut params, &param.name, param.value.as_bytes());
    }
    Ok(params)
}

fn set(params: &mut Params, name: &str, value: &[u8]) {
    match params.iter_mut().find(|(known, _)| known == name) {
        Some((_, known)) => *known = value.to_vec(),
        None => params.push((name.to_owned(), value.to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn of(typed: &[&str]) -> Result<Vec<(String, String)>, RequestError> {
        let words = ["wsgi-fpm", "ping", "/x.sock"].iter().chain(typed);
        let Command::Ping(args) = Cli::try_parse_from(words).unwrap().command else {
            unreachable!()
        };
        let params = all_params(&args, args.path.as_deref().unwrap())?;
        let text = |value: Vec<u8>| String::from_utf8(value).unwrap();
        Ok(params.into_iter().map(|(name, value)| (name, text(value))).collect())
    }

    fn value<'a>(params: &'a [(String, String)], name: &str) -> Option<&'a str> {
        params
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| &value[..])
    }

    #[test]
    fn path_is_split_from_its_query_and_decoded() {
        let params = of(&["/caf%C3%A9?a=%20b"]).unwrap();
        assert_eq!(value(&params, "PATH_INFO"), Some("/café"));
        assert_eq!(value(&params, "QUERY_STRING"), Some("a=%20b"));
        assert_eq!(value(&params, "REQUEST_URI"), Some("/caf%C3%A9?a=%20b"));
        assert_eq!(value(&params, "HTTP_HOST"), Some("localhost"));
        assert_eq!(value(&params, "CONTENT_LENGTH"), None);
    }

    #[test]
    fn params_and_headers_replace_what_would_be_sent() {
        let typed = [
            "/",
            "--method",
            "POST",
            "--header",
            "host: b.test",
            "--param",
            "SERVER_PORT=443",
            "--param",
            "X=a=b",
        ];
        let params = of(&typed).unwrap();
        assert_eq!(value(&params, "HTTP_HOST"), Some("b.test"));
        assert_eq!(value(&params, "SERVER_PORT"), Some("443"));
        assert_eq!(value(&params, "X"), Some("a=b"));
        assert_eq!(value(&params, "CONTENT_LENGTH"), Some("0"));
    }

    #[test]
    fn script_of_php_has_the_whole_path() {
        let params = of(&["/ping?full", "--script-filename", "/ping"]).unwrap();
        assert_eq!(value(&params, "SCRIPT_FILENAME"), Some("/ping"));
        assert_eq!(value(&params, "SCRIPT_NAME"), Some("/ping"));
        assert_eq!(value(&params, "PATH_INFO"), None);
    }

    #[test]
    fn what_makes_no_request_is_refused_with_its_reason() {
        for (typed, part) in [
            (&["/%zz"] as &[&str], "percent sign"),
            (&["/a b"], "%20"),
            (&["/", "--method", "G T"], "--method"),
            (&["/", "--header", "X_A=b"], "--header X_A"),
            (&["/", "--header", "A=b\nc"], "--header"),
        ] {
            let error = of(typed).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}

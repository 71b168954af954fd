//! FastCGI params of an HTTP request: the same set, by the same rules, that nginx sends with `nginx/wsgi_fpm_params`.
//!
//! Knows HTTP heads only: no sockets, no FastCGI encoding. Values are bytes, since neither a path nor a header need be
//! UTF-8.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use hyper::{HeaderMap, Request};

/// Names and values, in the order in which they are sent.
pub type Params = Vec<(String, Vec<u8>)>;

/// Both ends of the browser's connection.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

/// Why no params can be made of a request. nginx answers the same requests with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    #[error("the path has a percent sign without two hexadecimal digits after it")]
    Escape,
    #[error("the path contains a NUL byte")]
    Nul,
}

/// The params of `request`.
///
/// # Errors
/// [`BadTarget`], if the path can't be decoded.
pub fn params<B>(request: &Request<B>, ends: Ends) -> Result<Params, BadTarget> {
    let uri = request.uri();
    let path = percent_decoded(uri.path())?;
    let target = uri.path_and_query().map_or(uri.path(), |target| target.as_str());
    let mut params = Params::new();
    let mut add = |name: &str, value: &[u8]| params.push((name.to_owned(), value.to_vec()));
    add("GATEWAY_INTERFACE", b"CGI/1.1");
    add(
        "SERVER_SOFTWARE",
        concat!("wsgi-fpm/", env!("CARGO_PKG_VERSION")).as_bytes(),
    );
    add("SERVER_PROTOCOL", format!("{:?}", request.version()).as_bytes());
    add("SERVER_NAME", ends.local.ip().to_string().as_bytes());
    add("SERVER_ADDR", ends.local.ip().to_string().as_bytes());
    add("SERVER_PORT", ends.local.port().to_string().as_bytes());
    add("REMOTE_ADDR", ends.remote.ip().to_string().as_bytes());
    add("REMOTE_PORT", ends.remote.port().to_string().as_bytes());
    add("REQUEST_SCHEME", b"http");
    add("REQUEST_METHOD", request.method().as_str().as_bytes());
    add("REQUEST_URI", target.as_bytes());
    add("DOCUMENT_URI", &path);
    add("SCRIPT_NAME", b"");
    // `OPTIONS *` asks about the server, not about a path (RFC 9110 §9.3.7).
    add("PATH_INFO", if path == b"*" { b"" } else { &path });
    add("QUERY_STRING", uri.query().unwrap_or("").as_bytes());
    // A request with a chunked body has no length: only HTTP_TRANSFER_ENCODING tells that a body comes.
    for (name, header) in [("CONTENT_TYPE", CONTENT_TYPE), ("CONTENT_LENGTH", CONTENT_LENGTH)] {
        if let Some(value) = request.headers().get(header) {
            add(name, value.as_bytes());
        }
    }
    // RFC 9112 §3.2.2: the host of an absolute target counts, not the Host header.
    let mut headers = http_params(request.headers());
    if let Some(authority) = uri.authority() {
        headers.insert("HTTP_HOST".to_owned(), authority.as_str().as_bytes().to_vec());
    }
    params.extend(headers);
    Ok(params)
}

/// `HTTP_*` of the headers: equal names are joined, as nginx does.
fn http_params(headers: &HeaderMap) -> BTreeMap<String, Vec<u8>> {
    let mut params = BTreeMap::<String, Vec<u8>>::new();
    for (name, value) in headers {
        // Cookie is the one list of a browser that is not separated by commas (RFC 6265 §5.4). Host is no list: a
        // second one would only be appended to the first.
        let separator: &[u8] = if name.as_str() == "cookie" { b"; " } else { b", " };
        let Some(param) = param_name(name.as_str()) else {
            continue;
        };
        match params.get_mut(&param) {
            Some(_) if *name == HOST => {}
            Some(joined) => {
                joined.extend_from_slice(separator);
                joined.extend_from_slice(value.as_bytes());
            }
            None => {
                params.insert(param, value.as_bytes().to_vec());
            }
        }
    }
    params
}

/// The param of a header; `None` for one that must not reach the application.
fn param_name(header: &str) -> Option<String> {
    match header {
        // They have params of their own (RFC 3875 §4.1.18).
        "content-type" | "content-length" => return None,
        // httpoxy: HTTP_PROXY is the name of an option that HTTP clients inside the application obey.
        "proxy" => return None,
        _ => {}
    }
    // nginx's `ignore_invalid_headers` and `underscores_in_headers off`: X_Forwarded_For must not pass as
    // X-Forwarded-For.
    if !header.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return None;
    }
    Some(format!("HTTP_{}", header.to_ascii_uppercase().replace('-', "_")))
}

fn percent_decoded(path: &str) -> Result<Vec<u8>, BadTarget> {
    let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => match (hex(bytes.next()), hex(bytes.next())) {
                (Some(high), Some(low)) => (high * 16 + low) as u8,
                _ => return Err(BadTarget::Escape),
            },
            plain => plain,
        };
        if byte == 0 {
            return Err(BadTarget::Nul);
        }
        decoded.push(byte);
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> Ends {
        Ends {
            local: "127.0.0.1:8000".parse().unwrap(),
            remote: "127.0.0.1:50000".parse().unwrap(),
        }
    }

    fn of(request: &Request<()>) -> BTreeMap<String, Vec<u8>> {
        params(request, ends()).unwrap().into_iter().collect()
    }

    #[test]
    fn get_request_gives_the_params_of_the_nginx_file() {
        let request = Request::get("/a%20b/c?x=1%202&y")
            .header("Host", "localhost:8000")
            .body(())
            .unwrap();
        let expected = [
            ("DOCUMENT_URI", "/a b/c"),
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("HTTP_HOST", "localhost:8000"),
            ("PATH_INFO", "/a b/c"),
            ("QUERY_STRING", "x=1%202&y"),
            ("REMOTE_ADDR", "127.0.0.1"),
            ("REMOTE_PORT", "50000"),
            ("REQUEST_METHOD", "GET"),
            ("REQUEST_SCHEME", "http"),
            ("REQUEST_URI", "/a%20b/c?x=1%202&y"),
            ("SCRIPT_NAME", ""),
            ("SERVER_ADDR", "127.0.0.1"),
            ("SERVER_NAME", "127.0.0.1"),
            ("SERVER_PORT", "8000"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("SERVER_SOFTWARE", concat!("wsgi-fpm/", env!("CARGO_PKG_VERSION"))),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        assert_eq!(of(&request), BTreeMap::from(expected));
    }

    #[test]
    fn path_is_decoded_once_to_raw_bytes_and_not_cleaned() {
        let path = |target: &str| of(&Request::get(target).body(()).unwrap())["PATH_INFO"].clone();
        assert_eq!(path("/caf%E9"), b"/caf\xe9");
        assert_eq!(path("/%e2%82%AC"), "/€".as_bytes());
        assert_eq!(path("/a%2541"), b"/a%41");
        assert_eq!(path("//a/../b"), b"//a/../b");
        assert_eq!(path("/a%2Fb+c"), b"/a/b+c");
    }

    #[test]
    fn path_with_a_bad_escape_or_a_nul_is_refused() {
        for (target, error) in [
            ("/%zz", BadTarget::Escape),
            ("/%4", BadTarget::Escape),
            ("/%", BadTarget::Escape),
            ("/%+1", BadTarget::Escape),
            ("/a%00b", BadTarget::Nul),
        ] {
            let request = Request::get(target).body(()).unwrap();
            assert_eq!(params(&request, ends()).unwrap_err(), error, "{target}");
        }
    }

    #[test]
    fn asterisk_has_no_path_info() {
        let params = of(&Request::options("*").body(()).unwrap());
        assert_eq!(params["PATH_INFO"], b"");
        assert_eq!(params["REQUEST_URI"], b"*");
    }

    #[test]
    fn absolute_target_gives_the_host() {
        let request = Request::get("http://blog.test:81/x?y")
            .header("Host", "other")
            .body(())
            .unwrap();
        let params = of(&request);
        assert_eq!(params["HTTP_HOST"], b"blog.test:81");
        assert_eq!(params["REQUEST_URI"], b"/x?y");
    }

    #[test]
    fn equal_headers_are_joined_and_values_stay_bytes() {
        let request = Request::get("/")
            .header("Accept", "text/html")
            .header("accept", "text/plain")
            .header("Cookie", "a=1")
            .header("Cookie", b"b=\xe9".as_slice())
            .header("Host", "one")
            .header("Host", "two")
            .body(())
            .unwrap();
        let params = of(&request);
        assert_eq!(params["HTTP_ACCEPT"], b"text/html, text/plain");
        assert_eq!(params["HTTP_COOKIE"], b"a=1; b=\xe9");
        assert_eq!(params["HTTP_HOST"], b"one");
    }

    #[test]
    fn proxy_and_names_that_could_pose_as_another_are_dropped() {
        let request = Request::get("/")
            .header("Proxy", "evil")
            .header("X_Forwarded_For", "evil")
            .header("X.Y", "evil")
            .header("X-Forwarded-For", "good")
            .body(())
            .unwrap();
        let params = of(&request);
        let http: Vec<_> = params.iter().filter(|(name, _)| name.starts_with("HTTP_")).collect();
        assert_eq!(http, [(&"HTTP_X_FORWARDED_FOR".to_owned(), &b"good".to_vec())]);
    }

    #[test]
    fn body_headers_have_params_without_a_prefix() {
        let request = Request::post("/")
            .header("Content-Type", "text/plain")
            .header("Content-Length", "3")
            .body(())
            .unwrap();
        let params = of(&request);
        assert_eq!(
            (&params["CONTENT_TYPE"][..], &params["CONTENT_LENGTH"][..]),
            (&b"text/plain"[..], &b"3"[..])
        );
        assert!(!params.contains_key("HTTP_CONTENT_TYPE") && !params.contains_key("HTTP_CONTENT_LENGTH"));

        let request = Request::post("/")
            .header("Transfer-Encoding", "chunked")
            .body(())
            .unwrap();
        let params = of(&request);
        assert_eq!(params["HTTP_TRANSFER_ENCODING"], b"chunked");
        assert!(!params.contains_key("CONTENT_LENGTH"));
    }
}

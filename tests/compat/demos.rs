//! The demonstrations that Quixote and Webware bring with them.

use serde_json::{Value, json};

use crate::checks::as_it_is;
use crate::front::Front;
use crate::sites::Site;
use crate::support::http::{Request, pattern};

mod quixote_demo {
    use super::*;

    /// Its publisher serves one request at a time.
    const SITE: Site = Site {
        name: "quixote_demo",
        processes: 2,
        threads: 1,
        prepare: as_it_is,
    };

    ways!(SITE, drive);

    fn drive(front: &Front) {
        for (path, content_type, text) in [
            ("/", "text/html; charset=utf-8", "<h1>Hello, world!</h1>"),
            ("/simple", "text/html; charset=utf-8", "Hello!"),
            ("/plain", "text/plain; charset=utf-8", "This is a plain text document."),
            ("/css", "text/css; charset=utf-8", "padding: 2em"),
            (
                "/dumpreq?a=%C3%BC",
                "text/html; charset=utf-8",
                "<th>a</th><td>\u{fc}</td>",
            ),
            ("/extras/src/", "text/html; charset=utf-8", "publish.py"),
            ("/extras/12/factorial", "text/plain; charset=utf-8", "12! = 479001600\n"),
        ] {
            let page = front.get(path).ok();
            assert_eq!(page.header("Content-Type"), Some(content_type), "{path}");
            assert!(page.text().contains(text), "{path}: {}", page.text());
        }
        // It prints while it makes this page.
        front.log.wait_for_line(&["debug message from the index page"]);
        let mut browser = front.browser();
        let answer = browser.get(&front.path("/extras/12/next")).expect(302);
        assert!(browser.follow(&answer).ok().text().contains("the integer 13"));
        let upload = Request::post(front.path("/extras/form")).multipart(
            &[("name", "J\u{fc}rgen")],
            Some(("file", "data.bin", &pattern(0, 50_000))),
        );
        front.send(&upload).ok();
        front.get("/none").expect(404);
        front.get("/publish_error").expect(400);
        front.expect_quiet();
        assert!(
            front
                .get("/error")
                .expect(500)
                .text()
                .contains("this is a Python exception")
        );
        // What no application may do: it would frame its body itself.
        front.get("/extras/chunked").expect(500);
        front.log.wait_for_line(&["Transfer-Encoding", "hop-by-hop"]);
        front.get("/simple").ok();
    }
}

mod webware_examples {
    use super::*;

    const SITE: Site = Site {
        name: "webware",
        processes: 2,
        threads: 4,
        prepare: as_it_is,
    };

    ways!(SITE, drive);

    fn drive(front: &Front) {
        let path = |name: &str| front.path(&format!("/Examples/{name}"));
        for name in [
            "Welcome",
            "ShowTime",
            "Simple",
            "Introspect",
            "RequestInformation",
            "PlugInInspector",
            "Forward",
        ] {
            let page = front.send(&Request::get(path(name))).ok().text();
            assert!(page.contains("</html>"), "{name}: {page}");
        }
        let mut browser = front.browser();
        for visit in 1..=5 {
            let page = browser.get(&path("CountVisits")).ok().text();
            assert!(page.contains(&format!("&nbsp;{visit}&nbsp;")), "visit {visit}: {page}");
        }
        let colours = front
            .send(&Request::post(path("Colors")).form(&[("bgColor", "#123456")]))
            .ok();
        assert!(colours.text().contains("background-color:#123456"));
        let text = "J\u{fc}rgen & <b> \u{20ac}";
        let upload = Request::post(path("FileUpload")).multipart(&[], Some(("filename", "a.txt", text.as_bytes())));
        let page = front.send(&upload).ok().text();
        assert!(
            page.contains("J\u{fc}rgen &amp; &lt;b&gt; \u{20ac}") && page.contains("a.txt"),
            "{page}"
        );
        remote_procedures_are_called(front, &path("JSONRPCExample"), &path("XMLRPCExample"));
        front.expect_quiet();
    }

    fn remote_procedures_are_called(front: &Front, json_path: &str, xml_path: &str) {
        let call = json!({"id": 1, "method": "reverse", "params": ["J\u{fc}rgen"]}).to_string();
        let answer = front.send(
            &Request::post(json_path)
                .header("Content-Type", "application/json")
                .body(call),
        );
        let text = answer.ok().text();
        let (_, result) = text.split_once("/*").unwrap();
        let result: Value = serde_json::from_str(result.strip_suffix("*/").unwrap()).unwrap();
        assert_eq!(result, json!({"id": 1, "result": "negr\u{fc}J"}));
        let number = |value: u32| format!("<param><value><int>{value}</int></value></param>");
        let call = format!(
            "<?xml version=\"1.0\"?><methodCall><methodName>multiply</methodName><params>{}{}</params></methodCall>",
            number(10),
            number(20)
        );
        let answer = front
            .send(&Request::post(xml_path).header("Content-Type", "text/xml").body(call))
            .ok();
        assert!(answer.text().contains("<int>200</int>"), "{}", answer.text());
    }
}

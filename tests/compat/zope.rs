//! Zope with a database in a file, in an instance that mkwsgiinstance has made; through its management pages, as people
//! use it, and as WebDAV clients do.

use crate::front::Front;
use crate::sites::{Copy, Site};
use crate::support::http::{Request, Response, pattern};

/// FileStorage belongs to one process; more need ZEO.
const SITE: Site = Site {
    name: "zope",
    processes: 1,
    threads: 4,
    prepare,
};

/// admin:secret
const LOGIN: &str = "Basic YWRtaW46c2VjcmV0";

const TEMPLATE: &str = r#"<h1 tal:content="python:request.form.get('name', 'world')">name</h1>
<a tal:attributes="href template/absolute_url">here</a>
<p tal:content="request/SERVER_URL">url</p>
<u tal:content="context/title_or_id">folder</u>
<b tal:condition="python:request.cookies.get('seen')">again</b>
<i tal:define="x python:request.RESPONSE.setCookie('seen', 'yes', path='/')"></i>"#;

fn prepare(copy: &Copy) {
    copy.run("mkwsgiinstance", &["-d", ".", "-u", "admin:secret"], &[]);
}

ways!(SITE, drive);

fn drive(front: &Front) {
    let start = front.get("/").ok().text();
    assert!(start.contains("Auto-generated default page"), "{start}");
    managers_log_in(front);
    templates_are_made_and_published(front);
    folders_hold_objects(front);
    files_are_kept(front);
    webdav_clients_read_and_write(front);
    deleted_objects_are_gone(front);
    front.expect_quiet();
}

fn manager(request: Request) -> Request {
    request.header("Authorization", LOGIN)
}

#[track_caller]
fn manage(front: &Front, path: &str, fields: &[(&str, &str)]) -> Response {
    front.send(&manager(Request::post(front.path(path))).form(fields))
}

fn managers_log_in(front: &Front) {
    let refused = front.get("/manage_main").expect(401);
    assert_eq!(
        refused.header("WWW-Authenticate"),
        Some("basic realm=\"Zope\", charset=\"UTF-8\"")
    );
    let wrong = Request::get(front.path("/manage_main")).header("Authorization", "Basic YWRtaW46d3Jvbmc=");
    front.send(&wrong).expect(401);
    let page = front.send(&manager(Request::get(front.path("/manage_main")))).ok();
    assert!(page.text().contains("acl_users"), "{}", page.text());
    // Its pages bring their own style sheets.
    let style = "/++resource++zmi/zmi_base.css";
    assert!(page.text().contains(&front.path(style)), "{}", page.text());
    let style = front.send(&manager(Request::get(front.path(style)))).ok();
    assert!(style.header("Content-Type").unwrap().starts_with("text/css"));
}

fn templates_are_made_and_published(front: &Front) {
    let fields = [("id", "hello"), ("title", "J\u{fc}rgen")];
    let made = manage(
        front,
        "/manage_addProduct/PageTemplates/manage_addPageTemplate",
        &fields,
    )
    .expect(302);
    assert_eq!(made.header("Location"), Some(&*front.url("/manage_main")));
    let fields = [
        ("text", TEMPLATE),
        ("title", "J\u{fc}rgen"),
        ("content_type", "text/html"),
    ];
    manage(front, "/hello/pt_editAction", &fields).ok();
    let mut browser = front.browser();
    let page = browser
        .get(&front.path("/hello?name=J%C3%BCrgen+%3Cb%3E+%E2%82%AC"))
        .ok()
        .text();
    assert!(page.contains("<h1>J\u{fc}rgen &lt;b&gt; \u{20ac}</h1>"), "{page}");
    assert!(page.contains(&format!("href=\"{}\"", front.url("/hello"))), "{page}");
    assert!(page.contains(&format!("<p>http://{}</p>", front.address)), "{page}");
    assert!(!page.contains("<b>again</b>"), "{page}");
    let form = Request::post(front.path("/hello")).form(&[("name", "posted \u{e9}")]);
    let page = browser.send(form).ok().text();
    assert!(
        page.contains("<h1>posted \u{e9}</h1>") && page.contains("<b>again</b>"),
        "{page}"
    );
    assert!(front.head("/hello").ok().body.is_empty());
}

fn folders_hold_objects(front: &Front) {
    let add = "/manage_addProduct/OFSP/manage_addFolder";
    manage(front, add, &[("id", "folder"), ("title", "Ordner \u{fc}")]).expect(302);
    let add = "/folder/manage_addProduct/OFSP/manage_addDTMLMethod";
    manage(
        front,
        add,
        &[
            ("id", "index_html"),
            ("title", ""),
            ("file", "<dtml-var title> of <dtml-var title_or_id>"),
        ],
    )
    .expect(302);
    // What the folder does not have is found above it.
    let page = front.get("/folder/hello").ok().text();
    assert!(page.contains("<u>Ordner \u{fc}</u>"), "{page}");
    assert!(front.get("/folder").ok().text().contains("Ordner \u{fc} of"));
    manage(front, "/manage_addProduct/OFSP/manage_addFolder", &[("id", "folder")]).expect(400);
    assert!(front.get("/none").expect(404).text().contains("Resource not found"));
}

fn files_are_kept(front: &Front) {
    // Larger than what Zope takes in memory, and than one block of it.
    let content = pattern(0, 3 * 1024 * 1024 + 17);
    let upload = Request::post(front.path("/manage_addProduct/OFSP/manage_addFile")).multipart(
        &[("id", "large.bin"), ("title", "gro\u{df}")],
        Some(("file", "large.bin", &content)),
    );
    front.send(&manager(upload)).expect(302);
    let file = front.get("/large.bin").ok();
    assert!(file.body == content);
    assert_eq!(file.header("Content-Length"), Some(&*content.len().to_string()));
    let with = |name: &str, value: &str| front.send(&Request::get(front.path("/large.bin")).header(name, value));
    let part = with("Range", "bytes=1000000-1999999").expect(206);
    assert!(part.body == content[1_000_000..2_000_000]);
    with("If-Modified-Since", file.header("Last-Modified").unwrap()).expect(304);
    let head = front.head("/large.bin").ok();
    assert_eq!(head.header("Content-Length"), file.header("Content-Length"));
}

fn webdav_clients_read_and_write(front: &Front) {
    let ask = |method: &str, path: &str| manager(Request::new(method, front.path(path)));
    let text = "put \u{fc}\n".repeat(50_000);
    front.send(&ask("PUT", "/put.txt").body(text.clone())).expect(201);
    assert!(front.get("/put.txt").ok().text() == text);
    front
        .send(
            &ask("PUT", "/put.txt")
                .header("Content-Type", "text/plain")
                .body("again"),
        )
        .expect(204);
    assert_eq!(front.get("/put.txt").ok().text(), "again");
    front.send(&ask("MKCOL", "/collection")).expect(201);
    let list = front
        .send(&ask("PROPFIND", "/").header("Depth", "1"))
        .expect(207)
        .text();
    assert!(
        list.contains(&front.path("/put.txt")) && list.contains(&front.path("/collection")),
        "{list}"
    );
    front.send(&ask("DELETE", "/put.txt")).expect(204);
    front.get("/put.txt").expect(404);
    // Who is nobody writes nothing.
    front
        .send(&Request::new("PUT", front.path("/no.txt")).body("x"))
        .expect(401);
}

fn deleted_objects_are_gone(front: &Front) {
    let fields = [
        ("ids:list", "hello"),
        ("ids:list", "large.bin"),
        ("manage_delObjects:method", "Delete"),
    ];
    manage(front, "/", &fields).ok();
    front.get("/hello").expect(404);
    front.get("/large.bin").expect(404);
    front.get("/folder").ok();
}

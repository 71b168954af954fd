//! Django's admin, as a person uses it: logs in, adds, changes and deletes an object.

use crate::front::Front;
use crate::sites::{Copy, Site};
use crate::support::http::{Browser, Request, Response, pattern};

const SITE: Site = Site {
    name: "django",
    processes: 2,
    threads: 4,
    prepare,
};

const PASSWORD: &str = "correct horse battery";

fn prepare(copy: &Copy) {
    let manage = |arguments: &[&str], variables: &[(&str, &str)]| {
        copy.run("python", &[&["manage.py"], arguments].concat(), variables);
    };
    manage(&["migrate", "--run-syncdb", "--verbosity", "0"], &[]);
    let account = [
        ("DJANGO_SUPERUSER_USERNAME", "admin"),
        ("DJANGO_SUPERUSER_EMAIL", "admin@example.com"),
        ("DJANGO_SUPERUSER_PASSWORD", PASSWORD),
    ];
    manage(&["createsuperuser", "--noinput"], &account);
    manage(&["collectstatic", "--noinput", "--verbosity", "0"], &[]);
}

ways!(SITE, drive);

fn drive(front: &Front) {
    let mut browser = front.browser();
    nobody_gets_in_without_a_password(front, &mut browser);
    objects_are_added_changed_and_deleted(front, &mut browser);
    static_files_and_errors_are_there(front);
    browser_logs_out(front, &mut browser);
    front.expect_quiet();
}

/// The token that the forms of a page carry.
#[track_caller]
fn token(page: &Response) -> String {
    let text = page.text();
    let start = "name=\"csrfmiddlewaretoken\" value=\"";
    let value = text.split_once(start).unwrap_or_else(|| panic!("no token in {text}")).1;
    value.split('"').next().unwrap().to_owned()
}

fn nobody_gets_in_without_a_password(front: &Front, browser: &mut Browser) {
    let answer = browser.get(&front.path("/admin/")).expect(302);
    let target = front.path(&format!("/admin/login/?next={}", front.path("/admin/")));
    assert_eq!(answer.header("Location"), Some(&*target));
    let login = browser.follow(&answer).ok();
    assert!(
        login.text().contains(&front.path("/static/admin/css/base.css")),
        "{}",
        login.text()
    );
    let mut try_with = |password| {
        let fields = [
            ("csrfmiddlewaretoken", &*token(&login)),
            ("username", "admin"),
            ("password", password),
        ];
        browser.send(Request::post(&*target).form(&fields))
    };
    assert!(try_with("wrong").ok().text().contains("errornote"));
    let answer = try_with(PASSWORD).expect(302);
    assert!(browser.cookies.contains_key("sessionid"));
    assert!(browser.follow(&answer).ok().text().contains("Site administration"));
    // Without a token no form is taken.
    browser
        .send(Request::post(&*target).form(&[("username", "admin")]))
        .expect(403);
}

fn objects_are_added_changed_and_deleted(front: &Front, browser: &mut Browser) {
    let list = front.path("/admin/shelf/book/");
    let add = format!("{list}add/");
    let scan = pattern(0, 300_000);
    let page = browser.get(&add).ok();
    let fields = [("csrfmiddlewaretoken", &*token(&page)), ("title", "Z\u{fc}rich & <b>")];
    let form = Request::post(&*add).multipart(&fields, Some(("scan", "\u{e9}t\u{e9}.bin", &scan)));
    let answer = browser.send(form).expect(302);
    let page = browser.follow(&answer).ok().text();
    assert!(page.contains("was added successfully"), "{page}");
    let stored = std::fs::read_dir(front.copy.path().join("media/scans"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(stored.file_name(), "\u{e9}t\u{e9}.bin");
    assert!(std::fs::read(stored.path()).unwrap() == scan);

    let found = browser.get(&format!("{list}?q=z%C3%BCrich")).ok().text();
    assert!(
        found.contains("Z\u{fc}rich &amp; &lt;b&gt;") && found.contains("1 book"),
        "{found}"
    );

    let change = format!("{list}1/change/");
    let page = browser.get(&change).ok();
    let fields = [
        ("csrfmiddlewaretoken", &*token(&page)),
        ("title", "Basel \u{20ac}"),
        ("_continue", "1"),
    ];
    let answer = browser
        .send(Request::post(&*change).multipart(&fields, None))
        .expect(302);
    let page = browser.follow(&answer).ok().text();
    assert!(
        page.contains("was changed successfully") && page.contains("value=\"Basel \u{20ac}\""),
        "{page}"
    );
    let history = browser.get(&format!("{list}1/history/")).ok().text();
    assert!(history.contains("Changed Title."), "{history}");

    let delete = format!("{list}1/delete/");
    let page = browser.get(&delete).ok();
    let fields = [("csrfmiddlewaretoken", &*token(&page)), ("post", "yes")];
    let answer = browser.send(Request::post(&*delete).form(&fields)).expect(302);
    assert!(browser.follow(&answer).ok().text().contains("was deleted successfully"));
    // Django leads from what is no more to the start, with a message.
    let answer = browser.get(&change).expect(302);
    assert!(browser.follow(&answer).ok().text().contains("doesn\u{2019}t exist"));
}

fn static_files_and_errors_are_there(front: &Front) {
    // From the web server, not from Django.
    let style = front.get("/static/admin/css/base.css").ok();
    assert_eq!(style.header("Content-Type"), Some("text/css"));
    assert!(style.text().contains("DJANGO Admin styles"));
    let page = front.get("/none/%C3%A9t%C3%A9").expect(404).text();
    assert!(page.contains("<h1>Not Found</h1>"), "{page}");
    // What is only misspelt is mended.
    assert_eq!(
        front.get("/admin").expect(301).header("Location"),
        Some(&*front.path("/admin/"))
    );
}

fn browser_logs_out(front: &Front, browser: &mut Browser) {
    let page = browser.get(&front.path("/admin/")).ok();
    let form = Request::post(front.path("/admin/logout/")).form(&[("csrfmiddlewaretoken", &*token(&page))]);
    assert!(browser.send(form).ok().text().contains("Logged out"));
    browser.get(&front.path("/admin/")).expect(302);
}

//! The status page in a headless Chromium: what it shows, that nothing of a request runs in it, keyboard, screen readers, both colour
//! schemes, upgrades. `UPDATE_SCREENSHOTS=1` writes the documentation's pictures.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::house::{House, pool};
use crate::status::{address, server};
use crate::support::chromium::Browser;
use crate::support::fcgi_client::{Raw, Request};
use crate::support::http::{self, Client};
use crate::support::installed;

pub const UPDATE: &str = "UPDATE_SCREENSHOTS";
/// The page with all that it loads.
const LARGEST: usize = 100 * 1024;

/// A page that has drawn its pools.
fn opened(pools: &[String]) -> Option<(House, Browser)> {
    if !installed::chromium() {
        return None;
    }
    let house = House::serve(&[&[server("127.0.0.1:0", "")], pools].concat());
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", address(&house)));
    browser.wait_for(&format!(
        "document.querySelectorAll('#pools tbody tr').length == {}",
        pools.len()
    ));
    Some((house, browser))
}

fn stuck(house: &House, pool: &str, target: &str) -> Raw {
    let mut connection = Raw::connect(&house.socket(pool)).unwrap();
    connection.send(&Request::get(target).bytes());
    connection
}

#[test]
fn page_says_that_nobody_can_connect_while_that_is_so() {
    let Some((house, mut browser)) = opened(&[pool("one", "")]) else {
        return;
    };
    house.wait_ready("one");
    fs::remove_file(house.path("one.sock")).unwrap();
    browser.wait_for("document.querySelector('#unreachable').innerText.includes('nobody can connect to unix:')");
    house.done(&["reload"]);
    browser.wait_for("document.querySelector('#unreachable').hidden");
}

#[test]
fn page_shows_what_runs_and_nothing_of_a_request_runs_in_it() {
    let pools = [
        pool("one", "request_timeout = 0\nslow_request = \"200ms\""),
        pool("two", ""),
    ];
    let Some((house, mut browser)) = opened(&pools) else {
        return;
    };
    house.wait_ready("one");
    let _first = stuck(&house, "one", "/sleep");
    let evil = "/sleep/<img src=x onerror=document.title='owned'><script>alert(1)</script>";
    let _second = stuck(&house, "one", evil);
    browser.wait_for("document.querySelector('#threads').innerText.includes('GET /sleep')");
    browser.wait_for("document.querySelector('#threads').innerText.includes('<script>alert(1)')");
    assert_eq!(
        browser.value("document.querySelectorAll('img, #threads script').length"),
        0
    );
    assert_eq!(browser.value("document.title"), "wsgi-fpm");
    browser.wait_for("document.querySelector('#pools').innerText.includes('2 of 2')");
    browser.wait_for("document.querySelectorAll('#charts svg').length == 4");
    browser.wait_for("document.querySelector('#charts svg').getAttribute('aria-label').includes('Requests/s in one, last 10 minutes')");
    browser.wait_for("document.querySelector('#slow summary')?.textContent.includes('GET /sleep')");
    browser.value("document.querySelector('#slow details').open = true");
    let stack = browser.value("document.querySelector('#slow pre').innerText");
    assert!(stack.as_str().unwrap().contains("who.py"), "{stack}");
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
    house.signal(Signal::QUIT);
}

#[test]
fn page_and_what_it_loads_are_small_and_from_here_alone() {
    let house = House::serve(&[server("127.0.0.1:0", ""), pool("one", "")]);
    let address = address(&house);
    let get = |path: &str| Client::connect(address).exchange(&http::Request::get(path)).ok();
    let files = ["/", "/page.css", "/page.js"].map(get);
    assert!(files.iter().map(|file| file.body.len()).sum::<usize>() < LARGEST);
    for file in &files {
        let policy = file.header("Content-Security-Policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'"));
        assert!(!policy.contains("unsafe"), "{policy}");
        let text = file.text().replace("http://www.w3.org/2000/svg", "");
        assert!(!text.contains("http:") && !text.contains("https:") && !text.contains("innerHTML"));
    }
    assert_eq!(files[2].header("Content-Type"), Some("text/javascript; charset=utf-8"));
}

#[test]
fn page_is_used_with_a_keyboard_and_read_by_a_screen_reader() {
    let Some((house, mut browser)) = opened(&[pool("one", ""), pool("two", "")]) else {
        return;
    };
    house.wait_ready("two");
    browser.wait_for("document.querySelector('#pool-title').textContent.startsWith('one: ')");
    // The way to the second pool's button, and that it is seen where one is.
    for _ in 0..12 {
        browser.press("Tab");
        if browser.value("document.activeElement.textContent") == "two" {
            break;
        }
        let outline = browser.value("getComputedStyle(document.activeElement).outlineStyle");
        assert_eq!(
            outline,
            "solid",
            "{}",
            browser.value("document.activeElement.outerHTML")
        );
    }
    assert_eq!(browser.value("document.activeElement.textContent"), "two");
    browser.press("Enter");
    browser.wait_for("document.querySelector('#pool-title').textContent.startsWith('two: ')");
    assert_eq!(browser.value("location.hash"), "#two");
    // Drawing again and again takes the focus from nobody.
    thread::sleep(Duration::from_secs(5));
    assert_eq!(browser.value("document.activeElement.textContent"), "two");
    assert_eq!(
        browser.value("document.activeElement.getAttribute('aria-pressed')"),
        "true"
    );
    // Everything has a name, tables have headers, and there is one heading of the first level.
    let nameless = "[...document.querySelectorAll('button, input, meter, svg[role=img], [role=region], pre')]\
                    .filter(e => !(e.textContent.trim() || e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.labels?.length))\
                    .map(e => e.outerHTML).join()";
    assert_eq!(browser.value(nameless), "");
    assert_eq!(browser.value("document.querySelectorAll('h1').length"), 1);
    assert_eq!(
        browser.value("document.querySelectorAll('table').length == document.querySelectorAll('thead').length"),
        true
    );
    assert_eq!(browser.value("document.documentElement.lang"), "en");
    let mark = house.reload(&[
        server("127.0.0.1:0", ""),
        pool("one", "").replace("who:application", "none"),
        pool("two", ""),
    ]);
    house.wait_for(mark, &["ERROR"]);
    browser.wait_for("document.querySelector('#pools').innerText.includes('one')");
}

#[test]
fn text_can_be_read_in_light_and_dark() {
    let Some((_house, mut browser)) = opened(&[pool("one", "")]) else {
        return;
    };
    // WCAG 2: the ratio of text of usual size to its background is 4.5 at least.
    let worst = "(() => {
        const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number).map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
        const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\\)$/.test(c)) return c; } };
        const ratio = (a, b) => (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        const texts = [...document.querySelectorAll('body *')].filter(e => [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()) && e.checkVisibility() && !e.closest('noscript'));
        const all = texts.map(e => { const s = getComputedStyle(e); return ratio(light(e.closest('svg') ? s.fill : s.color), light(ground(e))); });
        return Math.min(...all);
    })()";
    for (scheme, ground) in [("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 23, 28)")] {
        browser.prefer(scheme);
        browser.wait_for(&format!(
            "getComputedStyle(document.body).backgroundColor == '{ground}'"
        ));
        browser.wait_for("document.querySelectorAll('#charts text').length > 0");
        let worst = browser.value(worst).as_f64().unwrap();
        assert!(worst >= 4.5, "{scheme}: {worst}");
    }
    // And on a telephone nothing but tables is wider than the page.
    browser.resize(360, 640);
    assert_eq!(browser.value("document.documentElement.scrollWidth <= 360"), true);
}

#[test]
fn page_goes_on_when_the_supervisor_is_replaced() {
    let Some((house, mut browser)) = opened(&[pool("one", "")]) else {
        return;
    };
    house.wait_ready("one");
    browser.wait_for("document.querySelector('#pool-title').textContent.endsWith('generation 1')");
    let mark = house.log.mark();
    house.signal(Signal::USR2);
    house.wait_for(mark, &["upgrade: the new program takes over"]);
    browser.wait_for("document.querySelector('#pool-title').textContent.endsWith('generation 2')");
    browser.wait_for("document.querySelector('#trouble').hidden");
    // A supervisor that is gone is said to be.
    house.signal(Signal::KILL);
    browser.wait_for("document.querySelector('#trouble').textContent.startsWith('No answer since ')");
    assert_eq!(browser.value("document.querySelector('#trouble').hidden"), false);
}

#[test]
fn pictures_of_the_documentation_are_made() {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images");
    if std::env::var_os(UPDATE).is_none() {
        for scheme in ["light", "dark"] {
            let picture = fs::read(images.join(format!("status-{scheme}.png"))).unwrap();
            assert!(
                picture.starts_with(b"\x89PNG") && picture.len() < 200 * 1024,
                "{scheme}"
            );
        }
        return;
    }
    // The system's own Python: the paths in its stack are everybody's.
    let more = "threads = 4\nworkers = \"2..4\"\nslow_request = \"1s\"\npython = \"/usr/bin/python3\"";
    let shop = pool("shop", more);
    let Some((house, mut browser)) =
        opened(&[pool("blog", "workers = 2"), pool("reports", "workers = \"0..2\""), shop])
    else {
        panic!("no Chromium");
    };
    ["blog", "shop"].iter().for_each(|name| house.wait_ready(name));
    browser.resize(1200, 1500);
    for second in 0..90_u32 {
        for _ in 0..20 + 15 * (second / 10 % 5) {
            house.get("shop", "/orders");
            house.get("blog", "/");
        }
        thread::sleep(Duration::from_millis(700));
    }
    browser.value("location.hash = '#shop'");
    browser.wait_for("document.querySelector('#pool-title').textContent.startsWith('shop: ')");
    let _sleeping = stuck(&house, "shop", "/sleep/basket");
    browser.wait_for("document.querySelector('#slow details') != null");
    browser.value("document.querySelector('#slow details').open = true");
    fs::create_dir_all(&images).unwrap();
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        thread::sleep(Duration::from_secs(3));
        fs::write(images.join(format!("status-{scheme}.png")), browser.screenshot()).unwrap();
    }
    house.signal(Signal::QUIT);
}

//! Keys and screens, of an instance that is made up.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use contract::scoreboard::{Phase, Times};
use contract::worker::{Stacks, Thread as PythonThread};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};

use super::app::{App, Wish};
use super::view::{self, Look};
use crate::admin::protocol;
use crate::status::snapshot::tests::{pool, snapshot};
use crate::status::snapshot::{Failure, Listener, Pool, Request, Size, Snapshot, State, Thread, Worker};

/// A histogram with so many in these buckets.
pub fn times(buckets: &[(usize, u64)]) -> Times {
    let mut json = serde_json::to_value(Times::default()).unwrap();
    for (bucket, number) in buckets {
        json["buckets"][*bucket] = (*number).into();
    }
    serde_json::from_value(json).unwrap()
}

/// It serves, and has no thread.
pub fn worker(pid: i32) -> Worker {
    Worker {
        pid,
        leader: 1,
        generation: 3,
        phase: Phase::Serving,
        age: 3700.0,
        memory: Some(60 << 20),
        requests: 17,
        threads: Vec::new(),
    }
}

/// What each thread runs, and for how many seconds.
fn with_threads(pid: i32, lines: &[Option<(&str, f64)>]) -> Worker {
    let threads = (0..).zip(lines).map(|(number, line)| Thread {
        number,
        requests: 9,
        request: line.map(|(line, runs)| Request {
            id: format!("{pid}-{number}-9"),
            line: line.to_owned(),
            runs,
        }),
    });
    Worker {
        threads: threads.collect(),
        ..worker(pid)
    }
}

fn blog() -> Pool {
    Pool {
        size: Size {
            least: 1,
            most: 4,
            threads: 2,
        },
        listeners: vec![Listener {
            address: "unix:/run/blog.sock".to_owned(),
            unreachable: None,
            waiting: Some(0),
            backlog: Some(1024),
        }],
        workers: vec![
            with_threads(4243, &[Some(("GET /short", 0.25)), None]),
            with_threads(4244, &[Some(("GET /report/2024", 12.0)), Some(("POST /cart", 3.0))]),
        ],
        ..pool("blog")
    }
}

fn shop() -> Pool {
    let failure = Failure {
        reason: "ImportError: no\x1bmodule".to_owned(),
        detail: String::new(),
        age: 12.0,
    };
    Pool {
        state: State::Failed,
        failure: Some(failure),
        ..pool("shop")
    }
}

fn house(uptime: f64, requests: u64) -> Snapshot {
    let mut blog = blog();
    blog.totals.requests = requests;
    blog.totals.duration = times(&[(40, requests)]).into();
    let mut snapshot = snapshot(uptime, vec![blog, shop()]);
    snapshot.instance.uptime = uptime;
    snapshot.instance.memory = Some(6 << 20);
    snapshot
}

struct Stage {
    app: App,
    now: Instant,
}

impl Stage {
    fn of(first: Snapshot, second: Snapshot) -> Self {
        let now = Instant::now();
        let mut stage = Self {
            app: App::new(Duration::from_secs(1), None, now),
            now,
        };
        stage.hear(first);
        stage.hear(second);
        stage
    }

    fn new() -> Self {
        Self::of(house(7200.0, 1000), house(7201.0, 1012))
    }

    fn hear(&mut self, snapshot: Snapshot) {
        self.app.hear(Ok((PathBuf::from("/run/1.control"), snapshot)), self.now);
    }

    fn key(&mut self, code: KeyCode) -> Option<Wish> {
        self.app.key(KeyEvent::new(code, KeyModifiers::NONE), self.now)
    }

    fn keys(&mut self, typed: &str) {
        for key in typed.chars() {
            self.key(KeyCode::Char(key));
        }
    }

    fn buffer(&self, width: u16, height: u16, has_colours: bool) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let look = Look { has_colours };
        terminal
            .draw(|frame| view::draw(&self.app, look, self.now, frame))
            .unwrap();
        terminal.backend().buffer().clone()
    }

    fn lines(&self, width: u16, height: u16) -> Vec<String> {
        lines(&self.buffer(width, height, true))
    }

    /// At 80x24.
    fn text(&self) -> String {
        self.lines(80, 24).join("\n")
    }

    /// Of the line that is selected, at 80x24.
    fn selected(&self) -> String {
        let buffer = self.buffer(80, 24, true);
        let is_selected = |y: &u16| buffer[(0, *y)].modifier.contains(Modifier::REVERSED);
        let y = (0..24).find(is_selected).expect("a line is selected");
        lines(&buffer)[y as usize].clone()
    }
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let (width, height) = (buffer.area.width, buffer.area.height);
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| line(y).trim_end().to_owned()).collect()
}

#[test]
fn first_screen_shows_everything_that_matters_in_80_columns() {
    let lines = Stage::new().lines(80, 24);
    assert!(lines.iter().all(|line| line.chars().count() <= 80));
    let text = lines.join("\n");
    for part in ["2 (1..4)", "3/4", "12.0", "12 s", "120 MiB", "serving", "failed"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(
        lines[23].contains("Enter open") && lines[23].contains("q quit"),
        "{text}"
    );
}

#[test]
fn rates_are_of_the_last_seconds_and_are_unknown_at_first() {
    let mut stage = Stage::of(house(7200.0, 1000), house(7200.0, 1000));
    assert!(stage.text().contains("   - requests/s"), "{}", stage.text());
    stage.hear(house(7202.0, 1100));
    assert!(stage.text().contains("   50.0 requests/s"), "{}", stage.text());
}

#[test]
fn opened_pool_shows_workers_and_what_threads_run_the_longest_first() {
    let mut stage = Stage::new();
    assert!(stage.selected().starts_with("blog"));
    stage.key(KeyCode::Enter);
    let text = stage.text();
    let place = |part: &str| text.find(part).unwrap_or_else(|| panic!("no {part} in\n{text}"));
    assert!(place("blog: serving, generation 1   2 (1..4) workers   3/4 busy") < place("WORKER  STATE"));
    assert!(place("WORKER  STATE") < place("WORKER  THREAD"));
    let order = [
        "4244-0-9  GET /report/2024",
        "4244-1-9  POST /cart",
        "4243-0-9  GET /short",
        "-         idle",
    ];
    assert!(order.map(place).is_sorted(), "{text}");
    assert!(stage.selected().contains("GET /report/2024"));
    assert!(stage.lines(80, 24)[23].contains("t stack"), "{text}");
    // The other table.
    stage.key(KeyCode::Tab);
    assert!(stage.selected().contains("4243  serving"), "{}", stage.selected());
    stage.key(KeyCode::Down);
    stage.keys("sss");
    assert!(stage.selected().contains("4244  serving"), "the selection stays");
    stage.key(KeyCode::Esc);
    assert!(stage.text().contains("POOL"), "{}", stage.text());
}

#[test]
fn tables_are_sorted_by_the_next_column_and_reversed() {
    let mut stage = Stage::new();
    let first = |stage: &Stage| {
        let lines = stage.lines(80, 24);
        let head = lines.iter().position(|line| line.starts_with("POOL")).unwrap();
        lines[head + 1][..4].to_owned()
    };
    assert_eq!(first(&stage), "blog");
    stage.keys("r");
    assert_eq!(first(&stage), "shop");
    stage.keys("s");
    assert_eq!(first(&stage), "shop", "failed is before serving");
    stage.keys("s");
    assert_eq!(first(&stage), "blog", "it has more workers");
    assert!(stage.lines(80, 24)[23].contains("s sort WORKERS"));
    for _ in 2..11 {
        stage.keys("s");
    }
    assert!(
        stage.lines(80, 24)[23].contains("s sort POOL"),
        "and again from the first"
    );
}

#[test]
fn filter_shows_what_has_the_text_until_it_is_given_up() {
    let mut stage = Stage::new();
    stage.key(KeyCode::Enter);
    stage.keys("/REPq");
    stage.key(KeyCode::Backspace);
    let text = stage.text();
    assert!(
        text.contains("/report") && !text.contains("/cart") && text.contains("/REP_"),
        "{text}"
    );
    assert!(
        !text.contains("4243 "),
        "a worker that runs nothing of the kind: {text}"
    );
    stage.key(KeyCode::Enter);
    assert!(!stage.text().contains("/cart") && stage.text().contains("/REP Esc all"));
    stage.key(KeyCode::Esc);
    assert!(stage.text().contains("/cart") && stage.text().contains("THREAD"));
    stage.keys("/nothing of the kind");
    assert!(stage.text().contains("nothing to show"));
    stage.key(KeyCode::Esc);
    assert!(stage.text().contains("/cart"), "as it was before");
    stage.keys("/");
    stage.keys(&"x".repeat(1000));
    assert_eq!(stage.app.filter.len(), 64);
}

#[test]
fn stack_of_the_selected_thread_is_asked_for_shown_and_asked_again() {
    let mut stage = Stage::new();
    assert_eq!(stage.key(KeyCode::Char('t')), None, "there is no thread");
    stage.key(KeyCode::Enter);
    stage.key(KeyCode::Down);
    let wish = stage.key(KeyCode::Char('t'));
    let (number, pool, worker) = (1, "blog".to_owned(), 4244);
    assert_eq!(wish, Some(Wish::Stacks { number, pool, worker }));
    assert!(
        stage.text().contains("blog, worker 4244, thread 1\nasked 0 s ago"),
        "{}",
        stage.text()
    );
    assert_eq!(stage.key(KeyCode::Char('t')), None, "it is asked already");
    let frames: String = (0..100)
        .map(|line| format!("File \"cart.py\", line {line}\n"))
        .collect();
    let thread = PythonThread {
        name: "wsgi-fpm-1".to_owned(),
        ident: 1,
        serves: true,
        request: None,
        stack: frames,
    };
    let stacks = Stacks {
        by_python: false,
        threads: vec![thread],
    };
    let answer = |stacks| protocol::Worker {
        worker: 4244,
        imports: None,
        stacks,
        error: Some("it does not answer".to_owned()),
    };
    stage.app.hear_stacks(1, Ok(answer(Some(stacks))));
    let text = stage.text();
    assert!(
        text.contains("as it was") && text.contains("line 0") && text.contains("read from outside"),
        "{text}"
    );
    stage.keys("G");
    assert!(stage.text().contains("line 99") && !stage.text().contains("line 0\n"));
    stage.keys("k");
    assert!(!stage.text().contains("line 99"), "one up from the end");
    assert!(matches!(
        stage.key(KeyCode::Char('t')),
        Some(Wish::Stacks { number: 3, .. })
    ));
    stage.app.hear_stacks(3, Ok(answer(None)));
    assert!(stage.text().contains("it does not answer"));
    stage.key(KeyCode::Esc);
    assert!(stage.text().contains("WORKER"));
    stage.app.hear_stacks(3, Err("nobody waits for it".to_owned()));
}

#[test]
fn silence_is_told_and_over_with_the_next_answer() {
    let mut stage = Stage::new();
    stage.now += Duration::from_millis(2500);
    assert!(!stage.text().contains("no answer"), "it may be a little late");
    stage.now += Duration::from_secs(10);
    assert!(stage.text().contains("no answer for 12 s\n"), "{}", stage.text());
    let error = "the wsgi-fpm that made this socket does not run any more\nfurther lines";
    stage.app.hear(Err(error.to_owned()), stage.now);
    let text = stage.text();
    assert!(text.contains("no answer for 12 s: the wsgi-fpm that made"), "{text}");
    assert!(
        !text.contains("further") && text.contains("blog"),
        "what was known stays: {text}"
    );
    stage.hear(house(7220.0, 2000));
    assert!(!stage.text().contains("no answer"));
}

#[test]
fn pause_keeps_everything_as_it_is() {
    let mut stage = Stage::new();
    assert_eq!(stage.key(KeyCode::Char('p')), Some(Wish::Pause(true)));
    let before = stage.text();
    assert!(before.contains("paused"), "{before}");
    stage.hear(house(7202.0, 9000));
    stage.now += Duration::from_secs(100);
    assert_eq!(stage.text(), before);
    assert_eq!(stage.key(KeyCode::Char('p')), Some(Wish::Pause(false)));
    assert!(!stage.text().contains("no answer") && !stage.text().contains("paused"));
}

#[test]
fn pool_that_is_gone_is_said_to_be_and_left() {
    let mut stage = Stage::new();
    stage.key(KeyCode::Enter);
    stage.hear(snapshot(1.0, vec![shop()]));
    assert!(
        stage.text().contains("blog: there is no such pool any more"),
        "{}",
        stage.text()
    );
    for key in [
        KeyCode::Down,
        KeyCode::Char('t'),
        KeyCode::Enter,
        KeyCode::Tab,
        KeyCode::Char('s'),
    ] {
        assert_eq!(stage.key(key), None);
    }
    stage.key(KeyCode::Backspace);
    assert!(stage.selected().starts_with("shop"));
}

#[test]
fn keys_end_it_and_lead_to_the_shell() {
    let mut stage = Stage::new();
    let now = stage.now;
    let mut control = |key| {
        stage
            .app
            .key(KeyEvent::new(KeyCode::Char(key), KeyModifiers::CONTROL), now)
    };
    assert_eq!(
        [control('c'), control('z'), control('x')],
        [Some(Wish::Quit), Some(Wish::Suspend), None]
    );
    for open in [KeyCode::Char('?'), KeyCode::Esc, KeyCode::Enter, KeyCode::Char('t')] {
        stage.key(open);
        assert_eq!(stage.key(KeyCode::Char('q')), Some(Wish::Quit));
    }
}

#[test]
fn any_size_is_drawn_and_small_ones_show_the_table() {
    let mut stage = Stage::new();
    stage.app.error = Some("it does not run".to_owned());
    let sizes = [1, 2, 3, 5, 8, 13, 24, 40, 79, 80, 200];
    let draw_all = |stage: &mut Stage| {
        for width in sizes {
            for height in sizes {
                let lines = stage.lines(width, height);
                assert!(lines.iter().any(|line| !line.is_empty()), "{width}x{height}");
            }
        }
    };
    draw_all(&mut stage);
    stage.keys("?");
    draw_all(&mut stage);
    stage.key(KeyCode::Esc);
    stage.key(KeyCode::Enter);
    draw_all(&mut stage);
    stage.key(KeyCode::Tab);
    draw_all(&mut stage);
    stage.keys("t");
    draw_all(&mut stage);
    let mut stage = Stage::new();
    assert_eq!(stage.lines(10, 1), ["blog   3/4"]);
    assert!(
        stage
            .lines(40, 8)
            .iter()
            .any(|line| line.starts_with("blog") && line.contains("3/4"))
    );
    stage.key(KeyCode::Enter);
    assert!(stage.lines(30, 6).iter().any(|line| line.contains("GET /report")));
}

#[test]
fn what_is_wrong_is_red_and_can_be_read_without_colours() {
    let stage = Stage::new();
    let is_red = |buffer: &Buffer| (0..24).map(|y| buffer[(0, y)].fg == Color::Red).collect::<Vec<_>>();
    let red = is_red(&stage.buffer(80, 24, true));
    assert_eq!(red[..4], [false, true, true, false]);
    let plain = stage.buffer(80, 24, false);
    assert!(
        plain
            .content
            .iter()
            .all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset)
    );
    assert_eq!(lines(&plain), stage.lines(80, 24));
}

#[test]
fn hundred_pools_and_a_thousand_threads_scroll_with_the_selection() {
    let mut pools: Vec<_> = (0..100).map(|number| pool(&format!("pool-{number:02}"))).collect();
    let threads: Vec<_> = (0..1000)
        .map(|number| Some(("GET /", 1000.0 - f64::from(number))))
        .collect();
    pools[99].workers = vec![with_threads(7, &threads)];
    let mut stage = Stage::of(snapshot(1.0, pools.clone()), snapshot(2.0, pools));
    stage.key(KeyCode::End);
    assert!(stage.selected().starts_with("pool-99"));
    stage.key(KeyCode::Enter);
    for _ in 0..25 {
        stage.key(KeyCode::PageDown);
    }
    assert!(stage.selected().contains("7-250-9"), "{}", stage.selected());
    stage.key(KeyCode::Home);
    assert!(stage.selected().contains("7-0-9"));
}

#[test]
fn footer_names_the_keys_in_80_columns_whatever_is_sorted_by() {
    let mut stage = Stage::new();
    for open in [None, Some(KeyCode::Enter), Some(KeyCode::Tab)] {
        open.map(|key| stage.key(key));
        for _ in 0..11 {
            stage.keys("s");
            let footer = stage.lines(80, 24)[23].clone();
            assert!(footer.ends_with("q quit"), "{footer}");
        }
    }
}

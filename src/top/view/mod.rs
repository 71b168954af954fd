//! Drawing: a head, what is wrong, tables or what covers them, and a line that names the keys. It fits any size, and where there is
//! little room the head and the keys go first.

mod help;

use std::cell::Cell;
use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use super::app::{App, Cover, Part};
use super::rows;
use super::stack::Stack;
use super::table::{self, Column, GAP, Mood, Place, Row, aligned, shown};
use crate::status::snapshot::{Pool, Snapshot};
use crate::status::summary::{self, Load};
use crate::status::words;

/// Lines about what is wrong, where there is room for them.
const MOST_TROUBLES: usize = 4;
/// Characters of a pool's name, and of a request, that columns make way for.
const LEAST_NAME: usize = 12;
const LEAST_REQUEST: usize = 24;

/// How things look. Colours are hints: what they say stands there, too.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    pub has_colours: bool,
}

impl Look {
    /// <https://no-color.org>
    pub fn of_environment() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { has_colours: !refused }
    }

    fn mood(self, mood: Mood) -> Style {
        let style = Style::new();
        match mood {
            Mood::Plain => style,
            Mood::Warns if self.has_colours => style.fg(Color::Yellow),
            Mood::Warns => style,
            Mood::Bad if self.has_colours => style.fg(Color::Red).add_modifier(Modifier::BOLD),
            Mood::Bad => style.add_modifier(Modifier::BOLD),
        }
    }
}

const HEAD: Style = Style::new().add_modifier(Modifier::BOLD);
const SELECTED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Lines of the screen, from above and from below.
struct Canvas<'a> {
    buffer: &'a mut Buffer,
    left: Rect,
}

impl Canvas<'_> {
    /// The next line from above, if there is one.
    fn line(&mut self, text: &str, style: Style) {
        let area = self.left;
        if area.height > 0 {
            self.put(area.y, 0, &shown(text), area.width as usize, style);
            self.left = Rect::new(area.x, area.y + 1, area.width, area.height - 1);
        }
    }

    /// The last line.
    fn last(&mut self, text: &str, style: Style) {
        if let Some(height) = self.left.height.checked_sub(1) {
            self.left.height = height;
            let (y, width) = (self.left.y + height, self.left.width as usize);
            self.put(y, 0, &shown(text), width, style);
        }
    }

    /// Text in a line, from this column on, no wider than that.
    fn put(&mut self, y: u16, column: usize, text: &str, width: usize, style: Style) {
        let width = width.min((self.left.width as usize).saturating_sub(column));
        if width > 0 {
            let x = self.left.x + column as u16;
            self.buffer.set_stringn(x, y, text, width, style);
        }
    }

    fn room(&self) -> usize {
        self.left.height as usize
    }

    fn width(&self) -> usize {
        self.left.width as usize
    }
}

pub fn draw(app: &App, look: Look, now: Instant, frame: &mut Frame) {
    let area = frame.area();
    let mut canvas = Canvas {
        buffer: frame.buffer_mut(),
        left: area,
    };
    head(app, look, now, &mut canvas);
    if canvas.room() > 3 {
        canvas.last(&footer(app), Style::new().add_modifier(Modifier::DIM));
    }
    match &app.cover {
        Some(Cover::Help { scrolled }) => {
            canvas.line("Keys", HEAD);
            scrolled_lines(help::LINES.iter().copied(), scrolled, &mut canvas);
        }
        Some(Cover::Stack(stack)) => stack_lines(stack, look, now, &mut canvas),
        None => tables(app, look, &mut canvas),
    }
}

fn head(app: &App, look: Look, now: Instant, canvas: &mut Canvas) {
    let Some(snapshot) = &app.snapshot else { return };
    // A table says more than a head.
    if canvas.room() > 4 {
        canvas.line(&first_line(app, snapshot), HEAD);
    }
    let most = match canvas.room() {
        0..6 => 0,
        6..12 => 1,
        _ => MOST_TROUBLES,
    };
    if let Some(silence) = app.silence(now) {
        canvas.line(&silent(silence, app.error.as_deref()), look.mood(Mood::Bad));
    }
    if app.paused {
        canvas.line("paused: p goes on", look.mood(Mood::Warns));
    }
    if app.cover.is_none() && most > 0 {
        for trouble in summary::troubles(snapshot, most) {
            canvas.line(&trouble, look.mood(Mood::Bad));
        }
    }
}

fn silent(silence: Duration, error: Option<&str>) -> String {
    let time = whole_seconds(silence);
    match error.and_then(|error| error.lines().next()) {
        Some(error) => format!("no answer for {time}: {error}"),
        None => format!("no answer for {time}"),
    }
}

/// A time that goes on while somebody looks at it.
fn whole_seconds(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds => words::time(seconds as f64),
    }
}

fn first_line(app: &App, snapshot: &Snapshot) -> String {
    let instance = &snapshot.instance;
    let loads = snapshot.pools.iter().map(summary::load);
    let (busy, threads) = loads.fold((0, 0), |(busy, threads), load| {
        (busy + load.busy, threads + load.threads)
    });
    let memory: u64 = snapshot.pools.iter().filter_map(summary::memory).sum();
    let memory = memory + instance.memory.unwrap_or(0);
    let rate = app.rates.of_all().map_or_else(|| "-".to_owned(), words::rate);
    format!(
        "wsgi-fpm {}, pid {}, up {}   {rate} requests/s   {busy}/{threads} busy   {}",
        instance.version,
        instance.pid,
        words::time(instance.uptime),
        words::memory(memory),
    )
}

fn footer(app: &App) -> String {
    if app.typing.is_some() {
        return format!("/{}_   Enter keeps it, Esc does not", app.filter);
    }
    let filter = match app.filter.as_str() {
        "" => "/ find".to_owned(),
        filter => format!("/{filter} Esc all"),
    };
    match (&app.cover, &app.open) {
        (Some(Cover::Stack(_)), _) => "t ask again  arrows scroll  Esc back  q quit".to_owned(),
        (Some(Cover::Help { .. }), _) => "arrows scroll  Esc back  q quit".to_owned(),
        (None, None) => {
            let column = rows::POOLS[app.pools.column].head;
            format!("Enter open  s sort {column}  r reverse  {filter}  p pause  ? help  q quit")
        }
        (None, Some(_)) => {
            let column = match app.part {
                Part::Workers => rows::WORKERS[app.workers.column].head,
                Part::Threads => rows::THREADS[app.threads.column].head,
            };
            format!("t stack  Tab part  s sort {column}  r reverse  {filter}  Esc back  ? help  q quit")
        }
    }
}

fn tables(app: &App, look: Look, canvas: &mut Canvas) {
    if app.open.is_none() {
        let pools = app.pool_rows();
        let layout = Layout {
            columns: &rows::POOLS,
            wide: 0,
            least: LEAST_NAME,
        };
        return layout.draw(&pools, &app.pools, true, look, canvas);
    }
    let Some(pool) = app.pool() else {
        let name = app.open.as_deref().unwrap_or_default();
        return canvas.line(&format!("{name}: there is no such pool any more; Esc goes back"), HEAD);
    };
    if canvas.room() > 8 {
        pool_lines(app, pool, canvas);
    }
    let workers = Layout {
        columns: &rows::WORKERS,
        wide: 0,
        least: 6,
    };
    let threads = Layout {
        columns: &rows::THREADS,
        wide: rows::THREADS_REQUEST,
        least: LEAST_REQUEST,
    };
    let (worker_rows, thread_rows) = (app.worker_rows(), app.thread_rows());
    let is_workers = app.part == Part::Workers;
    // Both where there is room, the one that the keys are for else.
    match canvas.room() {
        0..8 if is_workers => workers.draw(&worker_rows, &app.workers, true, look, canvas),
        0..8 => threads.draw(&thread_rows, &app.threads, true, look, canvas),
        room => {
            let most = if is_workers { room / 2 } else { room / 3 };
            let height = (worker_rows.len() + 1).min(most.max(3)) as u16;
            let whole = canvas.left;
            canvas.left.height = height;
            workers.draw(&worker_rows, &app.workers, is_workers, look, canvas);
            canvas.left = Rect::new(whole.x, whole.y + height, whole.width, whole.height - height);
            canvas.line("", HEAD);
            threads.draw(&thread_rows, &app.threads, !is_workers, look, canvas);
        }
    }
}

/// What there is to say of a pool besides its workers.
fn pool_lines(app: &App, pool: &Pool, canvas: &mut Canvas) {
    let Load { busy, threads, waiting } = summary::load(pool);
    let memory = summary::memory(pool).map_or_else(|| "-".to_owned(), words::memory);
    canvas.line(
        &format!(
            "{}: {}, generation {}   {} workers   {busy}/{threads} busy   {waiting} wait   {memory}",
            pool.name,
            summary::state(pool),
            pool.generation,
            summary::size(pool),
        ),
        HEAD,
    );
    let rate = app.rates.of_pool(&pool.name);
    let time = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), words::time);
    let per_second = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), words::rate);
    canvas.line(
        &format!(
            "{} requests/s   {} with 5xx   P50 {}   P90 {}   P99 {}",
            per_second(rate.map(|rate| rate.requests)),
            per_second(rate.map(|rate| rate.failed)),
            time(rate.and_then(|rate| rate.p50)),
            time(rate.and_then(|rate| rate.p90)),
            time(rate.and_then(|rate| rate.p99)),
        ),
        Style::new(),
    );
}

/// A table's columns, of which one has what room is left.
struct Layout<'a> {
    columns: &'a [Column],
    wide: usize,
    least: usize,
}

impl Layout<'_> {
    /// `is_meant`: keys are for this one.
    fn draw(&self, rows: &[Row], place: &Place, is_meant: bool, look: Look, canvas: &mut Canvas) {
        let widths = table::fit(self.columns, rows, self.wide, self.least, canvas.width());
        if canvas.room() > 1 {
            let cells = self.columns.iter().enumerate().map(|(number, column)| {
                let sorts = is_meant && number == place.column;
                let style = if sorts {
                    HEAD.add_modifier(Modifier::UNDERLINED)
                } else {
                    HEAD
                };
                (column.head, style)
            });
            self.row(cells, &widths, canvas, None);
        }
        if rows.is_empty() {
            return canvas.line("nothing to show", Style::new());
        }
        let room = canvas.room();
        let selected = place.index(rows);
        let from = table::offset(selected, rows.len(), room);
        for (index, row) in rows.iter().enumerate().skip(from).take(room) {
            let bar = (is_meant && index == selected).then_some(SELECTED);
            let cells = row.cells.iter().map(|cell| (cell.text.as_str(), look.mood(cell.mood)));
            self.row(cells, &widths, canvas, bar);
        }
    }

    /// `bar`: of the whole line.
    fn row<'a>(
        &self,
        cells: impl Iterator<Item = (&'a str, Style)>,
        widths: &[usize],
        canvas: &mut Canvas,
        bar: Option<Style>,
    ) {
        let y = canvas.left.y;
        let bar = bar.unwrap_or_default();
        let line = Rect::new(canvas.left.x, y, canvas.left.width, canvas.left.height.min(1));
        let mut at = 0;
        for (((text, style), column), &width) in cells.zip(self.columns).zip(widths) {
            if width == 0 || line.height == 0 {
                continue;
            }
            canvas.put(y, at, &aligned(text, width, column.is_number), width, style);
            at += width + GAP;
        }
        canvas.buffer.set_style(line, bar);
        canvas.left.y += line.height;
        canvas.left.height -= line.height;
    }
}

fn stack_lines(stack: &Stack, look: Look, now: Instant, canvas: &mut Canvas) {
    canvas.line(&stack.title(), HEAD);
    let asked = whole_seconds(now.saturating_duration_since(stack.since));
    match &stack.answer {
        _ if stack.is_asked() => canvas.line(&format!("asked {asked} ago"), Style::new()),
        Some(_) => canvas.line(&format!("as it was {asked} ago"), Style::new()),
        None => {}
    }
    match &stack.answer {
        Some(Ok(lines)) => scrolled_lines(lines.iter().map(String::as_str), &stack.scrolled, canvas),
        Some(Err(error)) => {
            let style = look.mood(Mood::Bad);
            wrapped(error, canvas.width()).for_each(|line| canvas.line(&line, style));
        }
        None => {}
    }
}

/// What fits of these lines, which go on in the next where they are longer than the screen is wide.
fn scrolled_lines<'a>(lines: impl Iterator<Item = &'a str>, scrolled: &Cell<usize>, canvas: &mut Canvas) {
    let width = canvas.width();
    let lines: Vec<_> = lines.flat_map(|line| wrapped(line, width)).collect();
    let from = scrolled.get().min(lines.len().saturating_sub(canvas.room()));
    scrolled.set(from);
    for line in lines.iter().skip(from).take(canvas.room()) {
        canvas.line(line, Style::new());
    }
}

fn wrapped(text: &str, width: usize) -> impl Iterator<Item = String> {
    let characters: Vec<_> = text.chars().collect();
    let mut lines: Vec<String> = characters
        .chunks(width.max(1))
        .map(|part| part.iter().collect())
        .collect();
    if lines.is_empty() {
        lines.push(String::new());
    }
    lines.into_iter()
}

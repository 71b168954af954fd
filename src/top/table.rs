//! A table: which rows are shown, in which order, which is selected, which columns there is room for. It draws nothing.

use std::cmp::Ordering;

use crate::status::words;

/// Between two columns.
pub const GAP: usize = 2;

/// What a row is about. The selection is this and no line: it stays where the order changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Pool(String),
    /// Its pid.
    Worker(i32),
    /// Pid of its worker, and its number there.
    Thread(i32, u32),
}

/// How much a cell wants to be seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mood {
    #[default]
    Plain,
    /// Something is under way, or less than well.
    Warns,
    Bad,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Number(f64),
    Text(String),
    /// Behind all others, in each order.
    None,
}

#[derive(Debug, Clone)]
pub struct Cell {
    pub text: String,
    pub value: Value,
    pub mood: Mood,
}

#[derive(Debug, Clone)]
pub struct Row {
    pub key: Key,
    pub cells: Vec<Cell>,
    /// What the filter finds besides the cells.
    pub besides: String,
}

#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub head: &'static str,
    /// Numbers stand on the right.
    pub is_number: bool,
    /// The greatest comes first.
    pub falls: bool,
    /// Where there is no room for all, the columns with the highest go; 0 stays.
    pub rank: u8,
}

/// The order, and the selected row.
#[derive(Debug, Clone)]
pub struct Place {
    pub column: usize,
    pub reversed: bool,
    /// `None`: the first row, whichever that is.
    selected: Option<Key>,
    /// Where that was when the rows were last seen.
    at: usize,
}

impl Cell {
    pub fn text(text: &str) -> Self {
        let text = shown(text);
        let value = Value::Text(text.clone());
        Self::new(text, value)
    }

    pub fn number(value: impl Into<Option<f64>>, text: impl FnOnce(f64) -> String) -> Self {
        match value.into() {
            Some(number) => Self::new(text(number), Value::Number(number)),
            None => Self::new("-".to_owned(), Value::None),
        }
    }

    fn new(text: String, value: Value) -> Self {
        let mood = Mood::Plain;
        Self { text, value, mood }
    }

    pub fn in_mood(self, mood: Mood) -> Self {
        Self { mood, ..self }
    }
}

/// A terminal obeys control characters, and a tab is one.
pub fn shown(text: &str) -> String {
    contract::log::escape(text).replace('\t', "    ")
}

impl Row {
    /// `filter` in any case, anywhere in it; nothing is found everywhere.
    pub fn is_found(&self, filter: &str) -> bool {
        let filter = filter.to_lowercase();
        let texts = self.cells.iter().map(|cell| &cell.text).chain([&self.besides]);
        filter.is_empty() || texts.into_iter().any(|text| text.to_lowercase().contains(&filter))
    }
}

impl Place {
    pub fn sorted_by(column: usize) -> Self {
        Self {
            column,
            reversed: false,
            selected: None,
            at: 0,
        }
    }

    /// The next column, of so many, counts.
    pub fn sort_on(&mut self, columns: usize) {
        self.column = (self.column + 1) % columns.max(1);
        self.reversed = false;
    }

    pub fn sort(&self, columns: &[Column], rows: &mut [Row]) {
        let falls = columns.get(self.column).is_some_and(|column| column.falls) != self.reversed;
        rows.sort_by(|one, other| {
            let value = |row: &Row| {
                row.cells
                    .get(self.column)
                    .map_or(Value::None, |cell| cell.value.clone())
            };
            order(&value(one), &value(other), falls).then_with(|| one.key.cmp(&other.key))
        });
    }

    /// Which of these rows is selected; the one in its place, if it is gone.
    pub fn index(&self, rows: &[Row]) -> usize {
        let found = match &self.selected {
            None => Some(0),
            Some(selected) => rows.iter().position(|row| row.key == *selected),
        };
        found.unwrap_or(self.at).min(rows.len().saturating_sub(1))
    }

    pub fn row<'a>(&self, rows: &'a [Row]) -> Option<&'a Row> {
        rows.get(self.index(rows))
    }

    /// The rows have changed: what is selected stays so, or what has come into its place is.
    pub fn see(&mut self, rows: &[Row]) {
        self.at = self.index(rows);
        if self.selected.is_some() {
            self.selected = rows.get(self.at).map(|row| row.key.clone());
        }
    }

    pub fn step(&mut self, rows: &[Row], by: isize) {
        let last = rows.len().saturating_sub(1);
        self.at = self.index(rows).saturating_add_signed(by).min(last);
        self.selected = rows.get(self.at).map(|row| row.key.clone());
    }

    /// The first row, whichever that becomes.
    pub fn first(&mut self) {
        (self.selected, self.at) = (None, 0);
    }
}

fn order(one: &Value, other: &Value, falls: bool) -> Ordering {
    let ordering = match (one, other) {
        (Value::None, Value::None) => return Ordering::Equal,
        (Value::None, _) => return Ordering::Greater,
        (_, Value::None) => return Ordering::Less,
        (Value::Number(one), Value::Number(other)) => one.total_cmp(other),
        (Value::Text(one), Value::Text(other)) => one.cmp(other),
        (Value::Number(_), Value::Text(_)) => Ordering::Less,
        (Value::Text(_), Value::Number(_)) => Ordering::Greater,
    };
    match falls {
        true => ordering.reverse(),
        false => ordering,
    }
}

/// How wide each column is, 0 where it is left out. The text of `wide` is cut to what room there is, but not below `least`.
pub fn fit(columns: &[Column], rows: &[Row], wide: usize, least: usize, room: usize) -> Vec<usize> {
    let needed = |number: usize, column: &Column| {
        let cells = rows.iter().filter_map(|row| row.cells.get(number));
        let widths = cells.map(|cell| cell.text.chars().count());
        widths.chain([column.head.len()]).max().unwrap_or(0)
    };
    let mut widths: Vec<_> = columns
        .iter()
        .enumerate()
        .map(|(number, column)| needed(number, column))
        .collect();
    let whole = widths.get(wide).copied().unwrap_or(0);
    let least = whole.min(least);
    loop {
        let others = widths.iter().enumerate().filter(|(number, _)| *number != wide);
        let others: usize = others
            .filter(|(_, width)| **width > 0)
            .map(|(_, width)| width + GAP)
            .sum();
        let left = room.saturating_sub(others);
        let shown = columns.iter().enumerate().filter(|(number, _)| widths[*number] > 0);
        let next = shown
            .filter(|(_, column)| column.rank > 0)
            .max_by_key(|(_, column)| column.rank);
        match next {
            Some((number, _)) if left < least => widths[number] = 0,
            _ => {
                if let Some(width) = widths.get_mut(wide) {
                    *width = whole.min(left);
                }
                return widths;
            }
        }
    }
}

/// A cell as it stands in its column: cut, with dots at the end where there is room for them.
pub fn aligned(text: &str, width: usize, is_number: bool) -> String {
    let text = match width {
        0..6 => text.chars().take(width).collect(),
        _ => words::cut(text, width),
    };
    match is_number {
        true => format!("{text:>width$}"),
        false => format!("{text:<width$}"),
    }
}

/// Which rows are on a screen that has room for so many, when this one is to be: in the middle, if it can.
pub fn offset(index: usize, rows: usize, room: usize) -> usize {
    index.saturating_sub(room / 2).min(rows.saturating_sub(room))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column {
            head: "NAME",
            is_number: false,
            falls: false,
            rank: 0,
        },
        Column {
            head: "BUSY",
            is_number: true,
            falls: true,
            rank: 1,
        },
        Column {
            head: "MEMORY",
            is_number: true,
            falls: true,
            rank: 2,
        },
    ];

    fn row(name: &str, busy: impl Into<Option<f64>>) -> Row {
        Row {
            key: Key::Pool(name.to_owned()),
            cells: vec![
                Cell::text(name),
                Cell::number(busy, |busy| busy.to_string()),
                Cell::number(1.0, |_| "120 MiB".to_owned()),
            ],
            besides: "app:application".to_owned(),
        }
    }

    fn names(rows: &[Row]) -> Vec<&str> {
        rows.iter().map(|row| row.cells[0].text.as_str()).collect()
    }

    #[test]
    fn numbers_are_sorted_from_the_greatest_and_texts_from_a_and_nothing_comes_last() {
        let mut rows = vec![row("b", 1.0), row("c", None), row("a", 10.0), row("d", 2.0)];
        let mut place = Place::sorted_by(0);
        place.sort(&COLUMNS, &mut rows);
        assert_eq!(names(&rows), ["a", "b", "c", "d"]);
        place.sort_on(3);
        place.sort(&COLUMNS, &mut rows);
        assert_eq!(names(&rows), ["a", "d", "b", "c"]);
        place.reversed = true;
        place.sort(&COLUMNS, &mut rows);
        assert_eq!(names(&rows), ["b", "d", "a", "c"], "what is unknown stays behind");
        place.sort_on(3);
        place.sort(&COLUMNS, &mut rows);
        assert_eq!(names(&rows), ["a", "b", "c", "d"], "by name, where all are equal");
        place.sort_on(3);
        assert_eq!((place.column, place.reversed), (0, false));
    }

    #[test]
    fn selection_stays_with_its_row() {
        let mut rows = vec![row("a", 1.0), row("b", 2.0), row("c", 3.0)];
        let mut place = Place::sorted_by(0);
        place.step(&rows, 1);
        rows.reverse();
        rows.insert(0, row("d", 0.0));
        place.see(&rows);
        assert_eq!(place.index(&rows), 2);
        // It is gone: what has come into its place.
        rows.remove(2);
        place.see(&rows);
        assert_eq!(names(&rows)[place.index(&rows)], "a");
        rows.clear();
        place.see(&rows);
        assert_eq!((place.index(&rows), place.row(&rows).is_none()), (0, true));
        place.step(&rows, -5);
        place.step(&[row("x", 1.0)], 100);
        assert_eq!(place.index(&[row("x", 1.0)]), 0);
    }

    #[test]
    fn selection_that_nobody_has_moved_is_the_first_row() {
        let mut place = Place::sorted_by(0);
        let mut rows = vec![row("b", 1.0)];
        place.see(&rows);
        rows.insert(0, row("a", 1.0));
        place.see(&rows);
        assert_eq!(place.index(&rows), 0);
        place.step(&rows, 1);
        place.first();
        assert_eq!(place.index(&rows), 0);
    }

    #[test]
    fn filter_finds_any_part_in_any_case() {
        let row = row("Blog", 1.0);
        for found in ["", "blo", "LOG", "application", "120 m"] {
            assert!(row.is_found(found), "{found}");
        }
        assert!(!row.is_found("shop"));
    }

    #[test]
    fn columns_go_by_rank_where_there_is_no_room() {
        let rows = [row("a-name-of-some-length", 1.0)];
        let fit = |room| super::fit(&COLUMNS, &rows, 0, 8, room);
        assert_eq!(fit(80), [21, 4, 7]);
        assert_eq!(fit(30), [15, 4, 7], "the name is cut first");
        assert_eq!(fit(23), [8, 4, 7]);
        assert_eq!(fit(22), [16, 4, 0]);
        assert_eq!(fit(14), [8, 4, 0]);
        assert_eq!(fit(13), [13, 0, 0]);
        for room in 0..8 {
            assert_eq!(fit(room), [room, 0, 0]);
        }
    }

    #[test]
    fn control_characters_and_tabs_do_not_reach_a_cell() {
        assert_eq!(Cell::text("GET /\x1b[2J\ta").text, "GET /\\u{1b}[2J    a");
    }

    #[test]
    fn cells_are_cut_to_their_column() {
        assert_eq!(aligned("ab", 4, false), "ab  ");
        assert_eq!(aligned("ab", 4, true), "  ab");
        assert_eq!(aligned("abcdefgh", 7, false), "abcd...");
        assert_eq!(aligned("abcdefgh", 2, true), "ab");
    }

    #[test]
    fn selected_row_is_on_the_screen() {
        for (rows, room) in [(0, 0), (1, 0), (5, 10), (100, 10), (100, 1)] {
            for index in 0..rows {
                let offset = offset(index, rows, room);
                assert!(
                    room == 0 || (offset..offset + room).contains(&index),
                    "{index} {rows} {room}"
                );
            }
        }
        assert_eq!(offset(3, 5, 10), 0);
        assert_eq!(offset(99, 100, 10), 90);
    }
}

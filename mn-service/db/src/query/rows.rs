//! What a statement found, in one piece of memory for all its rows.

use sea_orm::{DbErr, QueryResult};

use crate::tables::ColumnKind;

/// A value of a row.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cell {
    Null,
    Number(i64),
    /// Where it begins and ends in the text of all rows.
    Text(usize, usize),
}

/// Rows of equal width.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// What the cells of a row hold.
    kinds: Vec<ColumnKind>,
    cells: Vec<Cell>,
    text: String,
}

impl Rows {
    pub(super) fn new(kinds: Vec<ColumnKind>) -> Self {
        Self { kinds, cells: Vec::new(), text: String::new() }
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.cells.len().checked_div(self.kinds.len()).unwrap_or(0)
    }

    fn cell(&self, row: usize, cell: usize) -> Cell {
        self.cells.get(row * self.kinds.len() + cell).copied().unwrap_or(Cell::Null)
    }

    pub(super) fn text(&self, row: usize, cell: usize) -> Option<&str> {
        match self.cell(row, cell) {
            Cell::Text(from, to) => self.text.get(from..to),
            Cell::Null | Cell::Number(_) => None,
        }
    }

    pub(super) fn number(&self, row: usize, cell: usize) -> Option<i64> {
        match self.cell(row, cell) {
            Cell::Number(number) => Some(number),
            Cell::Null | Cell::Text(..) => None,
        }
    }

    /// Adds a row that came through SeaORM.
    pub(super) fn add(&mut self, row: &QueryResult) -> Result<(), DbErr> {
        for index in 0..self.kinds.len() {
            let cell = match self.kinds.get(index) {
                Some(ColumnKind::Integer) => number(row.try_get_by_index::<Option<i64>>(index)?),
                Some(ColumnKind::Boolean) => number(row.try_get_by_index::<Option<bool>>(index)?.map(i64::from)),
                Some(ColumnKind::Uuid | ColumnKind::Text) | None => {
                    row.try_get_by_index::<Option<String>>(index)?.map_or(Cell::Null, |text| self.keep(&text))
                }
            };
            self.cells.push(cell);
        }
        Ok(())
    }

    /// Adds a row that SQLite points at.
    pub(super) fn add_direct(&mut self, row: &rusqlite::Row<'_>) -> rusqlite::Result<()> {
        use rusqlite::types::{Type, ValueRef};
        for index in 0..self.kinds.len() {
            let number = matches!(self.kinds.get(index), Some(ColumnKind::Integer | ColumnKind::Boolean));
            let odd = |found: Type| rusqlite::Error::InvalidColumnType(index, "a column".to_owned(), found);
            let cell = match row.get_ref(index)? {
                ValueRef::Null => Cell::Null,
                ValueRef::Integer(value) if number => Cell::Number(value),
                ValueRef::Text(bytes) if !number => {
                    self.keep(std::str::from_utf8(bytes).map_err(|error| rusqlite::Error::Utf8Error(index, error))?)
                }
                other => return Err(odd(other.data_type())),
            };
            self.cells.push(cell);
        }
        Ok(())
    }

    fn keep(&mut self, text: &str) -> Cell {
        let from = self.text.len();
        self.text.push_str(text);
        Cell::Text(from, self.text.len())
    }
}

fn number(value: Option<i64>) -> Cell {
    value.map_or(Cell::Null, Cell::Number)
}

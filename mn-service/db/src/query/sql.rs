//! Text of statements, written so that nothing but program text can get into it.

use sea_orm::{DbBackend, Statement, Value};

/// A statement under construction. Text comes from the program (`&'static str`) or is a placeholder; what a client
/// sent can only become a bound value.
#[derive(Debug, Clone)]
pub(super) struct Sql {
    text: String,
    values: Vec<Value>,
    backend: DbBackend,
}

/// Names of the tables in nested statements, outermost first; their number limits the nesting.
pub(super) const ALIASES: [&str; 12] = ["t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8", "t9", "t10", "t11"];

impl Sql {
    pub(super) fn new(backend: DbBackend) -> Self {
        Self { text: String::with_capacity(512), values: Vec::new(), backend }
    }

    pub(super) fn is_sqlite(&self) -> bool {
        self.backend == DbBackend::Sqlite
    }

    pub(super) fn text(&mut self, text: &'static str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// A table's or column's name. Both databases understand back ticks.
    pub(super) fn name(&mut self, name: &'static str) -> &mut Self {
        self.text.push('`');
        self.text.push_str(name);
        self.text.push('`');
        self
    }

    /// `alias.column`
    pub(super) fn column(&mut self, alias: &'static str, column: &'static str) -> &mut Self {
        self.text(alias).text(".").name(column)
    }

    /// A bound value.
    pub(super) fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        self.text("?")
    }

    /// `(?, ?, ...)`
    pub(super) fn bind_list<V: Into<Value>>(&mut self, values: impl IntoIterator<Item = V>) -> &mut Self {
        self.text("(");
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                self.text(", ");
            }
            self.bind(value);
        }
        self.text(")")
    }

    /// Adds a part that was written before.
    pub(super) fn append(&mut self, part: &Self) -> &mut Self {
        self.text.push_str(&part.text);
        self.values.extend(part.values.iter().cloned());
        self
    }

    pub(super) fn into_statement(self) -> Statement {
        Statement::from_sql_and_values(self.backend, self.text, self.values)
    }
}

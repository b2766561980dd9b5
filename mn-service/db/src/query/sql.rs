//! Text of statements, written so that nothing but program text can get into it.

use rusqlite::types::{ToSqlOutput, ValueRef};
use sea_orm::{DbBackend, Statement};

/// A value that a placeholder stands for.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Real(f64),
    Flag(bool),
}

macro_rules! values {
    ($($from:ty => $kind:ident),*) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$kind(value.into())
            }
        }
    )*};
}
values!(&str => Text, String => Text, i64 => Number, f64 => Real, bool => Flag);

impl From<Value> for sea_orm::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Text(text) => text.into(),
            Value::Number(number) => number.into(),
            Value::Real(number) => number.into(),
            Value::Flag(flag) => flag.into(),
        }
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Number(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Flag(flag) => ValueRef::Integer((*flag).into()),
        }))
    }
}

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

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// What the placeholders stand for, in their order.
    pub(super) fn values(&self) -> &[Value] {
        &self.values
    }

    pub(super) fn into_statement(self) -> Statement {
        Statement::from_sql_and_values(self.backend, self.text, self.values.into_iter().map(Into::into))
    }
}

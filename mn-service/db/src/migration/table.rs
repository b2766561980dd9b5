//! Tables as migrations write them down: columns, keys and indexes in the words of both databases.
//!
//! Text compares without case, as clients expect of MySQL (`NOCASE` / `utf8mb4_unicode_ci`); that includes states and
//! types. Uuids are ASCII and compare byte by byte: they are joined on all the time and are
//! lower case always.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// 32 hexadecimal characters.
    Uuid,
    /// A uuid, or two joined by `@`: what holds storage may be an image in the cache of a host.
    Holder,
    /// 64 hexadecimal characters.
    Hash,
    /// Line up to 255 characters: names, states, types, addresses.
    Line,
    /// Unicode text up to 64 KiB.
    Text,
    /// Unicode text up to 16 MiB.
    LongText,
    /// Unicode text up to 16 MiB whose beginning is indexed (user data travels in tags).
    Tag,
    /// 32-bit number.
    Int,
    /// 64-bit number; also moments in milliseconds since 1970 UTC.
    Big,
    /// True or false.
    Flag,
    /// Rising number made by the database.
    Auto,
}

impl Kind {
    fn sql(self, backend: DbBackend) -> &'static str {
        let sqlite = backend == DbBackend::Sqlite;
        match self {
            Self::Uuid if sqlite => "char(32)",
            Self::Uuid => "char(32) CHARACTER SET ascii COLLATE ascii_bin",
            Self::Holder if sqlite => "char(65)",
            Self::Holder => "char(65) CHARACTER SET ascii COLLATE ascii_bin",
            Self::Hash if sqlite => "char(64)",
            Self::Hash => "char(64) CHARACTER SET ascii COLLATE ascii_bin",
            Self::Line if sqlite => "varchar(255) COLLATE NOCASE",
            Self::Line => "varchar(255)",
            Self::Text | Self::LongText | Self::Tag if sqlite => "text COLLATE NOCASE",
            Self::Text => "text",
            Self::LongText | Self::Tag => "mediumtext",
            Self::Int => "integer",
            Self::Big => "bigint",
            Self::Flag => "boolean",
            Self::Auto if sqlite => "integer",
            Self::Auto => "bigint",
        }
    }
}

struct Column {
    name: &'static str,
    kind: Kind,
    required: bool,
}

struct Reference {
    column: &'static str,
    table: &'static str,
    on_delete: ForeignKeyAction,
}

/// A table under construction.
pub(super) struct Layout {
    name: &'static str,
    columns: Vec<Column>,
    key: Vec<&'static str>,
    references: Vec<Reference>,
    unique: Vec<&'static [&'static str]>,
    indexes: Vec<Vec<&'static str>>,
}

/// Begins the table `name`.
pub(super) fn table(name: &'static str) -> Layout {
    Layout { name, columns: vec![], key: vec![], references: vec![], unique: vec![], indexes: vec![] }
}

impl Layout {
    fn column(mut self, name: &'static str, kind: Kind, required: bool) -> Self {
        self.columns.push(Column { name, kind, required });
        self
    }

    fn last(&self) -> &'static str {
        self.columns.last().map_or("", |column| column.name)
    }

    /// Column of the primary key.
    pub(super) fn key(mut self, name: &'static str, kind: Kind) -> Self {
        self.key.push(name);
        self.column(name, kind, true)
    }

    /// Column that always has a value.
    pub(super) fn need(self, name: &'static str, kind: Kind) -> Self {
        self.column(name, kind, true)
    }

    /// Column that may be NULL.
    pub(super) fn maybe(self, name: &'static str, kind: Kind) -> Self {
        self.column(name, kind, false)
    }

    /// `createDate` (indexed: lists are sorted by it) and `lastOpDate`.
    pub(super) fn dates(self) -> Self {
        self.need("createDate", Kind::Big).indexed().need("lastOpDate", Kind::Big)
    }

    /// The last column is indexed.
    pub(super) fn indexed(mut self) -> Self {
        self.indexes.push(vec![self.last()]);
        self
    }

    fn reference(mut self, table: &'static str, on_delete: ForeignKeyAction) -> Self {
        self.references.push(Reference { column: self.last(), table, on_delete });
        // A key or a unique set that begins with the column already serves as its index.
        if self.key.first() == Some(&self.last()) { self } else { self.indexed() }
    }

    /// The last column names a row of `table`, which cannot be deleted before this row.
    pub(super) fn refers(self, table: &'static str) -> Self {
        self.reference(table, ForeignKeyAction::Restrict)
    }

    /// The last column names a row of `table`; this row goes with it.
    pub(super) fn part_of(self, table: &'static str) -> Self {
        self.reference(table, ForeignKeyAction::Cascade)
    }

    /// The last column names a row of `table` and becomes NULL when that goes.
    pub(super) fn refers_weakly(self, table: &'static str) -> Self {
        self.reference(table, ForeignKeyAction::SetNull)
    }

    /// No two rows have the same values here.
    pub(super) fn unique(mut self, columns: &'static [&'static str]) -> Self {
        self.unique.push(columns);
        self
    }

    /// Index over several columns.
    pub(super) fn index(mut self, columns: &'static [&'static str]) -> Self {
        self.indexes.push(columns.to_vec());
        self
    }

    /// Characters of a column that an index holds; `None`: all.
    fn prefix(&self, name: &str) -> Option<u32> {
        self.columns.iter().any(|column| column.name == name && column.kind == Kind::Tag).then_some(191)
    }

    fn index_statement(&self, columns: &[&'static str], unique: bool, backend: DbBackend) -> IndexCreateStatement {
        let kind = if unique { "uk" } else { "ix" };
        let mut index = Index::create();
        index.name(short(format!("{kind}_{}_{}", self.name, columns.join("_")))).table(Alias::new(self.name));
        for column in columns {
            match self.prefix(column) {
                Some(length) if backend == DbBackend::MySql => index.col((Alias::new(*column), length)),
                _ => index.col(Alias::new(*column)),
            };
        }
        if unique {
            index.unique();
        }
        index
    }

    /// Creates the table. Safe to repeat: MariaDB keeps the first half of a migration that failed in the middle.
    pub(super) async fn create(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let mut create = Table::create();
        create.table(Alias::new(self.name)).if_not_exists();
        if backend == DbBackend::MySql {
            create.engine("InnoDB").character_set("utf8mb4").collate("utf8mb4_unicode_ci");
        }
        for column in &self.columns {
            let mut def = ColumnDef::new(Alias::new(column.name));
            def.custom(Alias::new(column.kind.sql(backend)));
            if column.required {
                def.not_null();
            }
            if column.kind == Kind::Auto {
                // AUTOINCREMENT on SQLite: ids of deleted rows are never given again.
                def.primary_key().auto_increment();
            }
            create.col(def);
        }
        if !self.columns.iter().any(|column| column.kind == Kind::Auto) {
            let mut key = Index::create();
            for column in &self.key {
                key.col(Alias::new(*column));
            }
            create.primary_key(&mut key);
        }
        for Reference { column, table, on_delete } in &self.references {
            create.foreign_key(
                ForeignKey::create()
                    .name(short(format!("fk_{}_{column}", self.name)))
                    .from(Alias::new(self.name), Alias::new(*column))
                    .to(Alias::new(*table), Alias::new("uuid"))
                    .on_delete(*on_delete),
            );
        }
        let plain = self.indexes.iter().filter(|columns| !self.unique.iter().any(|unique| unique.starts_with(columns)));
        let indexes: Vec<_> = (self.unique.iter().map(|columns| self.index_statement(columns, true, backend)))
            .chain(plain.map(|columns| self.index_statement(columns, false, backend)))
            .collect();
        if backend == DbBackend::MySql {
            for mut index in indexes {
                create.index(&mut index);
            }
            return manager.create_table(create).await;
        }
        manager.create_table(create).await?;
        for mut index in indexes {
            manager.create_index(index.if_not_exists().take()).await?;
        }
        Ok(())
    }
}

/// MariaDB takes names up to 64 characters; of longer ones the middle goes.
fn short(name: String) -> String {
    match name.len() {
        0..=64 => name,
        length => format!("{}_{}", &name[..40], &name[length - 23..]),
    }
}

//! Conditions as SQL: nested names, tags, fields that live elsewhere (PROTOCOL.md sections 8.2 and 8.3).

use super::{
    Condition, Op,
    compare::{Left, compare},
    plan::{Field, Link, Plan, Source, plan},
    refusal::Refusal,
    sql::{ALIASES, Sql},
    suggest, unserved,
};

/// Writes one condition on a row of `at` (table alias `ALIASES[depth]`).
pub(super) fn filter(sql: &mut Sql, at: &Plan, condition: &Condition) -> Result<(), Refusal> {
    let path: Vec<&str> = condition.name.split('.').collect();
    Filter { condition }.nested(sql, at, 0, &path)
}

struct Filter<'a> {
    condition: &'a Condition,
}

impl Filter<'_> {
    fn nested(&self, sql: &mut Sql, at: &Plan, depth: usize, path: &[&str]) -> Result<(), Refusal> {
        let Some((&first, rest)) = path.split_first() else { return Err(self.unknown(at, "")) };
        // A field with its own meaning wins over a shortcut of the same name.
        if let Some(dotted) = at.aliases.get(first)
            && at.field(first).is_none()
        {
            let dotted: Vec<&str> = dotted.split('.').chain(rest.iter().copied()).collect();
            // The alias's first name is a way of this structure, never an alias again.
            return match dotted.split_first() {
                Some((way, rest)) => self.follow(sql, at, depth, way, rest),
                None => Err(self.unknown(at, first)),
            };
        }
        if rest.is_empty() { self.leaf(sql, at, depth, first) } else { self.follow(sql, at, depth, first, rest) }
    }

    /// "There is a row over there that fits."
    fn follow(&self, sql: &mut Sql, at: &Plan, depth: usize, way: &str, rest: &[&str]) -> Result<(), Refusal> {
        let Some(&link) = at.link(way) else { return Err(self.unknown(at, way)) };
        let Some(target) = plan(link.target) else {
            // The contract knows these resources and this server has none: no row is over there to fit.
            unserved::check(link.target, rest).map_err(|what| self.refuse(what))?;
            sql.text("1 = 0");
            return Ok(());
        };
        let alias = self.alias(depth)?;
        let inner = self.alias(depth + 1)?;
        sql.column(alias, link.own).text(" IN (SELECT ").column(inner, link.key).text(" FROM ");
        sql.name(target.table.name).text(" ").text(inner).text(" WHERE ");
        if let Some((column, value)) = target.marker {
            sql.column(inner, column).text(" = ").bind(value).text(" AND ");
        }
        self.nested(sql, target, depth + 1, rest)?;
        sql.text(")");
        Ok(())
    }

    fn leaf(&self, sql: &mut Sql, at: &Plan, depth: usize, name: &str) -> Result<(), Refusal> {
        let (op, value) = (self.condition.op, self.condition.value.as_str());
        match name {
            "__systemTag__" => return self.tag(sql, at, depth, "SystemTagVO", "tag"),
            "__userTag__" => return self.tag(sql, at, depth, "UserTagVO", "tag"),
            "__tagUuid__" => return self.tag(sql, at, depth, "UserTagVO", "tagPatternUuid"),
            _ => {}
        }
        let alias = self.alias(depth)?;
        let Some(field) = at.field(name) else {
            return match at.link(name) {
                Some(&link) => self.existence(sql, depth, name, link),
                None => Err(self.unknown(at, name)),
            };
        };
        match field.source {
            Source::Own(column) => compare(sql, self.left(alias, column, field), op, value),
            Source::Beside { own, table, key, column } | Source::Values { own, table, key, column } => {
                let inner = self.alias(depth + 1)?;
                // No row over there means no value.
                let absent = op == Op::IsNull;
                sql.column(alias, own).text(if absent { " NOT IN (SELECT " } else { " IN (SELECT " });
                sql.column(inner, key).text(" FROM ").name(table.name).text(" ").text(inner).text(" WHERE ");
                compare(sql, self.left(inner, column, field), if absent { Op::NotNull } else { op }, value)?;
                sql.text(")");
                Ok(())
            }
            Source::Many(link) | Source::One(link) => self.existence(sql, depth, name, link),
            Source::Nowhere => {
                sql.text(if op == Op::IsNull { "1 = 1" } else { "1 = 0" });
                Ok(())
            }
        }
    }

    /// `vmNics is null`: there is none; `vmNics not null`: there is one.
    fn existence(&self, sql: &mut Sql, depth: usize, name: &str, link: Link) -> Result<(), Refusal> {
        let absent = match self.condition.op {
            Op::IsNull => true,
            Op::NotNull => false,
            _ => {
                let example = plan(link.target)
                    .and_then(|target| ["name", "uuid"].into_iter().find(|field| target.field(field).is_some()))
                    .unwrap_or("uuid");
                return Err(self.refuse(format!(
                    "{name} stands for whole resources ({}); compare one of its fields, for example {name}.{example}",
                    link.target
                )));
            }
        };
        let Some(target) = plan(link.target) else {
            sql.text(if absent { "1 = 1" } else { "1 = 0" });
            return Ok(());
        };
        let (alias, inner) = (self.alias(depth)?, self.alias(depth + 1)?);
        // A NULL among the rows would make NOT IN unknown for every row.
        sql.column(alias, link.own).text(if absent { " NOT IN (SELECT " } else { " IN (SELECT " });
        sql.column(inner, link.key).text(" FROM ").name(target.table.name).text(" ").text(inner);
        sql.text(" WHERE ").column(inner, link.key).text(" IS NOT NULL)");
        Ok(())
    }

    /// Tags of the row. A denied comparison means "has no such tag".
    fn tag(
        &self,
        sql: &mut Sql,
        at: &Plan,
        depth: usize,
        table: &'static str,
        column: &'static str,
    ) -> Result<(), Refusal> {
        let tags = crate::tables::table_of(table);
        let (Some(_), Some(tags)) = (at.table.column("uuid"), tags) else {
            return Err(self.refuse(format!("{} has no uuid and therefore no tags", at.name)));
        };
        let Some(column) = tags.column(column) else { return Err(self.unknown(at, column)) };
        let denied = self.condition.op.denied();
        let (alias, inner) = (self.alias(depth)?, self.alias(depth + 1)?);
        sql.column(alias, "uuid").text(if denied.is_some() { " NOT IN (SELECT " } else { " IN (SELECT " });
        sql.column(inner, "resourceUuid").text(" FROM ").name(tags.name).text(" ").text(inner).text(" WHERE ");
        let left = Left { alias: inner, column, moment: false, name: &self.condition.name };
        compare(sql, left, denied.unwrap_or(self.condition.op), &self.condition.value)?;
        sql.text(")");
        Ok(())
    }

    fn left(&self, alias: &'static str, column: crate::tables::Column, field: &Field) -> Left<'_> {
        Left { alias, column, moment: field.is_moment(), name: &self.condition.name }
    }

    fn alias(&self, depth: usize) -> Result<&'static str, Refusal> {
        let too_deep = || self.refuse(format!("more than {} names deep", ALIASES.len() - 1));
        ALIASES.get(depth).copied().ok_or_else(too_deep)
    }

    fn unknown(&self, at: &Plan, name: &str) -> Refusal {
        self.refuse(unknown_field(at, name))
    }

    fn refuse(&self, what: String) -> Refusal {
        Refusal::name(format!("query condition on {}: {what}", self.condition.name))
    }
}

/// Names the field, the structure and what the client may have meant.
pub(super) fn unknown_field(at: &Plan, name: &str) -> String {
    let near = suggest::near(name, at.names());
    let hint = if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) };
    format!("{} has no field or nested name {name:?}{hint}", at.name)
}

//! Carrying out a plan in the database.

use mn_service_types::{ApiError, ErrorCode, error::ApiResult};
use sea_orm::{
    ConnectionTrait,
    sea_query::{Alias, Expr, ExprTrait, Query},
};

use super::{
    ORDER, REFERENCES,
    plan::{CHUNK, Deletion},
};
use crate::app::OrInternal;

/// Removes the rows of a plan. The plan must have been made in the same transaction.
pub async fn remove<C: ConnectionTrait>(conn: &C, deletion: &Deletion) -> ApiResult<()> {
    for (table, columns) in &deletion.detaches {
        for (column, items) in columns {
            let uuids: Vec<String> = items.iter().map(|item| item.uuid.clone()).collect();
            for chunk in uuids.chunks(CHUNK) {
                let update = Query::update()
                    .table(Alias::new(table))
                    .value(Alias::new(column), Option::<String>::None)
                    .and_where(Expr::col(Alias::new("uuid")).is_in(chunk.iter().cloned()))
                    .to_owned();
                conn.execute(&update).await.or_internal()?;
            }
        }
    }
    for (parent, table, column) in REFERENCES {
        delete_in(conn, table, column, &deletion.deleted(parent)).await?;
    }
    if let Some(lost) = deletion.deletes.keys().find(|vo| !ORDER.contains(&vo.as_str())) {
        return Err(ApiError::new(ErrorCode::Internal, format!("the cascade has no removal order for {lost}")));
    }
    for table in ORDER {
        delete_in(conn, table, "uuid", &deletion.deleted(table)).await?;
    }
    Ok(())
}

async fn delete_in<C: ConnectionTrait>(conn: &C, table: &str, column: &str, values: &[String]) -> ApiResult<()> {
    for chunk in values.chunks(CHUNK) {
        let delete = Query::delete()
            .from_table(Alias::new(table))
            .and_where(Expr::col(Alias::new(column)).is_in(chunk.iter().cloned()))
            .to_owned();
        conn.execute(&delete).await.or_internal()?;
    }
    Ok(())
}

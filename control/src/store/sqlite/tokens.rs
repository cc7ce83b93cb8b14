//! Tokens as rows: hashes, never a token.

use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use crate::moment::Moment;
use crate::name::TokenName;
use crate::store::StoreError;
use crate::token::{Scope, TokenEntry, TokenFacts, TokenHash};

/// Every token, those that have expired with them.
pub(super) fn all(db: &Connection) -> Result<Vec<TokenEntry>, StoreError> {
    let mut statement = db.prepare(
        "SELECT id, scope, name, hash, former, former_until, created_at, expires_at, last_used_at,
                requests_per_second FROM tokens ORDER BY id",
    )?;
    let rows = statement.query_map([], |row| Ok(entry(row)))?;
    rows.map(|row| row?).collect()
}

fn entry(row: &Row<'_>) -> Result<TokenEntry, StoreError> {
    let id = Uuid::from_bytes(row.get(0)?);
    let damaged = |what: String| StoreError::Database(format!("token {id}: {what}"));
    let (scope, name): (String, String) = (row.get(1)?, row.get(2)?);
    let moment = |column| Ok::<_, StoreError>(row.get::<_, Option<i64>>(column)?.map(Moment::from_unix));
    Ok(TokenEntry {
        facts: TokenFacts {
            id,
            scope: Scope::named(&scope).ok_or_else(|| damaged(format!("there is no scope {scope}")))?,
            name: TokenName::new(&name).map_err(|error| damaged(error.to_string()))?,
            former_until: moment(5)?,
            created_at: Moment::from_unix(row.get(6)?),
            expires_at: moment(7)?,
            last_used_at: moment(8)?,
            requests_per_second: row.get(9)?,
        },
        hash: TokenHash::from_bytes(row.get(3)?),
        former: row.get::<_, Option<[u8; 32]>>(4)?.map(TokenHash::from_bytes),
    })
}

/// Makes or replaces a token.
pub(super) fn put(db: &Connection, token: &TokenEntry) -> Result<(), StoreError> {
    let facts = &token.facts;
    db.execute(
        "INSERT INTO tokens (id, scope, name, hash, former, former_until, created_at, expires_at, last_used_at,
                requests_per_second) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (id) DO UPDATE SET scope = excluded.scope, name = excluded.name, hash = excluded.hash,
                former = excluded.former, former_until = excluded.former_until,
                created_at = excluded.created_at, expires_at = excluded.expires_at,
                last_used_at = excluded.last_used_at, requests_per_second = excluded.requests_per_second",
        params![
            facts.id.as_bytes(),
            facts.scope.as_str(),
            facts.name.as_str(),
            token.hash.as_bytes(),
            token.former.as_ref().map(TokenHash::as_bytes),
            facts.former_until.map(Moment::unix),
            facts.created_at.unix(),
            facts.expires_at.map(Moment::unix),
            facts.last_used_at.map(Moment::unix),
            facts.requests_per_second,
        ],
    )?;
    Ok(())
}

/// Erases a token; one that is not there is erased already.
pub(super) fn delete(db: &Connection, id: Uuid) -> Result<(), StoreError> {
    db.execute("DELETE FROM tokens WHERE id = ?1", [id.as_bytes()])?;
    Ok(())
}

/// Notes when tokens were last used.
pub(super) fn used(db: &Connection, uses: &[(Uuid, Moment)]) -> Result<(), StoreError> {
    let mut statement = db.prepare_cached("UPDATE tokens SET last_used_at = ?2 WHERE id = ?1")?;
    for (id, at) in uses {
        statement.execute(params![id.as_bytes(), at.unix()])?;
    }
    Ok(())
}

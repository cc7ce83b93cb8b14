//! The schema, as a list of steps that only grows. `PRAGMA user_version` counts the steps that were taken.

use rusqlite::{Connection, TransactionBehavior};

use crate::store::StoreError;

/// Each step runs once, in order, in a transaction of its own.
const STEPS: [&str; 2] = [
    // `held` carries the rule: its primary key is (party, pool number), and a row may pass to another trip
    // only when its time is over. A row whose time is over says when the party last had the number.
    "CREATE TABLE counter (version INTEGER NOT NULL) STRICT;
     INSERT INTO counter VALUES (0);
     CREATE TABLE cities (name TEXT PRIMARY KEY, plan TEXT NOT NULL) STRICT, WITHOUT ROWID;
     CREATE TABLE pool_numbers (
        number INTEGER PRIMARY KEY,
        city TEXT NOT NULL REFERENCES cities (name)
     ) STRICT;
     CREATE TABLE trips (
        id TEXT PRIMARY KEY,
        city TEXT NOT NULL,
        content BLOB NOT NULL,
        version INTEGER NOT NULL,
        record INTEGER NOT NULL,
        max_seconds INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        closed_at INTEGER,
        grace INTEGER NOT NULL,
        cooling INTEGER NOT NULL,
        held_until INTEGER NOT NULL
     ) STRICT, WITHOUT ROWID;
     CREATE INDEX trips_by_end ON trips (held_until);
     CREATE TABLE parties (
        trip TEXT NOT NULL REFERENCES trips (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        role TEXT NOT NULL,
        phone BLOB NOT NULL,
        lookup BLOB NOT NULL,
        dial INTEGER NOT NULL,
        pin BLOB NOT NULL,
        PRIMARY KEY (trip, position)
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE held (
        lookup BLOB NOT NULL,
        number INTEGER NOT NULL,
        trip TEXT NOT NULL,
        until INTEGER NOT NULL,
        pin BLOB,
        PRIMARY KEY (lookup, number)
     ) STRICT, WITHOUT ROWID;
     CREATE UNIQUE INDEX held_pins ON held (number, pin);
     CREATE INDEX held_by_end ON held (until);
     CREATE TABLE recordings (
        id BLOB PRIMARY KEY,
        trip TEXT,
        call BLOB NOT NULL,
        started_at INTEGER NOT NULL
     ) STRICT, WITHOUT ROWID;
     CREATE INDEX recordings_by_trip ON recordings (trip, started_at);",
    // Parties are found through `held`.
    "ALTER TABLE parties DROP COLUMN lookup;",
];

/// Sets the connection up and takes the steps that are missing.
pub(super) fn prepare(connection: &mut Connection) -> Result<(), StoreError> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // What is deleted (a party's sealed number) is overwritten, not merely unlinked.
    connection.pragma_update(None, "secure_delete", true)?;
    loop {
        let step = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let taken: i64 = step.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        match STEPS.get(usize::try_from(taken).unwrap_or(usize::MAX)) {
            Some(statements) => {
                step.execute_batch(statements)?;
                step.pragma_update(None, "user_version", taken + 1)?;
                step.commit()?;
            }
            None if usize::try_from(taken) == Ok(STEPS.len()) => return Ok(()),
            None => {
                let newest = STEPS.len();
                return Err(StoreError::Database(format!(
                    "the database has schema {taken}, this program knows {newest}: it was written by a newer version"
                )));
            }
        }
    }
}

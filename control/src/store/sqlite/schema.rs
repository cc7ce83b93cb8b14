//! The schema, as a list of steps that only grows. `PRAGMA user_version` counts the steps that were taken.

use rusqlite::{Connection, TransactionBehavior};
use zeroize::Zeroizing;

use super::trips::{self, damaged};
use crate::city::LONGEST_SECONDS;
use crate::moment::Moment;
use crate::name::{City, Role, TripId};
use crate::number::{E164, PoolNumber};
use crate::secret::Keys;
use crate::store::StoreError;
use crate::trip::{Life, Party, Phones, Pin, Rules, Trip};

/// Memory for pages of the writing connection.
const CACHE_KIB: i64 = 8_192;
/// Pages of 4 KiB in the WAL from which on they are written back: seldom enough that pages are written back once for
/// many changes, often enough that a start after a kill reads no more than that.
const CHECKPOINT_PAGES: i64 = 4_096;

/// Each step runs once, in order, in a transaction of its own.
const STEPS: [Step; 4] = [
    // `held` carries the rule: its primary key is (party, pool number), and a row may pass to another trip
    // only when its time is over. A row whose time is over says when the party last had the number.
    Step::Sql(
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
    ),
    // Parties are found through `held`.
    Step::Sql("ALTER TABLE parties DROP COLUMN lookup;"),
    // A trip is one row, its parties' secrets one sealed value. `held` knows tombstones (`cools`), when a key was taken,
    // and when the trip before ended that had it (`freed`).
    Step::Both {
        before: "ALTER TABLE trips RENAME TO old_trips;
     ALTER TABLE parties RENAME TO old_parties;
     CREATE TABLE trips (
        id TEXT PRIMARY KEY,
        content BLOB NOT NULL,
        city TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        role_a TEXT NOT NULL,
        dial_a INTEGER NOT NULL,
        role_b TEXT NOT NULL,
        dial_b INTEGER NOT NULL,
        cooling INTEGER NOT NULL,
        version INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        ends_by INTEGER NOT NULL,
        closed_at INTEGER,
        lives INTEGER NOT NULL,
        grace INTEGER NOT NULL,
        sliding INTEGER NOT NULL,
        held_until INTEGER NOT NULL,
        record INTEGER NOT NULL,
        callers INTEGER NOT NULL,
        max_seconds INTEGER NOT NULL,
        ring_seconds INTEGER,
        max_calls INTEGER,
        calls INTEGER NOT NULL,
        blocked INTEGER NOT NULL,
        lost INTEGER NOT NULL,
        secret BLOB NOT NULL
     ) STRICT, WITHOUT ROWID;
     ALTER TABLE held ADD COLUMN cools INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE held ADD COLUMN taken INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE held ADD COLUMN freed INTEGER;
     UPDATE held SET cools = until, taken = until;
     UPDATE held SET cools = min(ifnull(t.closed_at, t.expires_at), t.expires_at) + t.grace, taken = t.created_at
        FROM old_trips t WHERE t.id = held.trip;
     CREATE TABLE blocks (
        one BLOB NOT NULL,
        other BLOB NOT NULL,
        PRIMARY KEY (one, other)
     ) STRICT, WITHOUT ROWID;",
        code: one_row_for_each_trip,
        after: "DROP TABLE old_parties;
     DROP TABLE old_trips;
     CREATE INDEX trips_by_end ON trips (held_until);
     CREATE INDEX trips_by_loss ON trips (id) WHERE lost <> 0;
     CREATE INDEX trips_by_city ON trips (city, created_at);
     DROP INDEX held_pins;
     DROP INDEX held_by_end;
     CREATE UNIQUE INDEX held_pins ON held (number, pin) WHERE pin IS NOT NULL;
     CREATE INDEX held_live ON held (until) WHERE pin IS NOT NULL;
     CREATE INDEX held_past ON held (until) WHERE pin IS NULL;
     CREATE INDEX held_by_taking ON held (taken);",
    },
    // A hash opens one token.
    Step::Sql(
        "CREATE TABLE tokens (
        id BLOB PRIMARY KEY,
        scope TEXT NOT NULL,
        name TEXT NOT NULL,
        hash BLOB NOT NULL UNIQUE,
        former BLOB,
        former_until INTEGER,
        created_at INTEGER NOT NULL,
        expires_at INTEGER,
        last_used_at INTEGER,
        requests_per_second INTEGER
     ) STRICT, WITHOUT ROWID;",
    ),
];

/// One step of the schema.
enum Step {
    /// Statements.
    Sql(&'static str),
    /// What statements cannot do, between others.
    Both { before: &'static str, code: fn(&Connection, &Keys) -> Result<(), StoreError>, after: &'static str },
}

impl Step {
    fn take(&self, db: &Connection, keys: &Keys) -> Result<(), StoreError> {
        match self {
            Self::Sql(statements) => db.execute_batch(statements)?,
            Self::Both { before, code, after } => {
                db.execute_batch(before)?;
                code(db, keys)?;
                db.execute_batch(after)?;
            }
        }
        Ok(())
    }
}

/// Phones and PINs were sealed one by one.
fn one_row_for_each_trip(db: &Connection, keys: &Keys) -> Result<(), StoreError> {
    let mut heads = db.prepare(
        "SELECT id, city, content, version, record, max_seconds, created_at, expires_at, closed_at, grace, cooling
         FROM old_trips",
    )?;
    let mut rows = heads.query([])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let wrong = |what: &dyn std::fmt::Display| damaged(&name, &what.to_string());
        let moment = |index: usize| row.get(index).map(Moment::from_unix);
        let (created_at, expires_at) = (moment(6)?, moment(7)?);
        let lives = u32::try_from(expires_at.unix() - created_at.unix()).unwrap_or(LONGEST_SECONDS);
        let parties = <[Party; 2]>::try_from(old_parties(db, keys, &name)?);
        let trip = Trip {
            id: TripId::new(&name).map_err(|e| wrong(&e))?,
            city: City::new(&row.get::<_, String>(1)?).map_err(|e| wrong(&e))?,
            version: row.get::<_, i64>(3)?.cast_unsigned(),
            life: Life {
                created_at,
                expires_at,
                ends_by: created_at.plus(LONGEST_SECONDS.into()).max(expires_at),
                closed_at: row.get::<_, Option<i64>>(8)?.map(Moment::from_unix),
                lives,
                grace: row.get(9)?,
                cooling: row.get(10)?,
                sliding: false,
            },
            parties: parties.map_err(|_| wrong(&"has not two parties"))?,
            rules: Rules {
                record: row.get(4)?,
                callers: [true; 2],
                max_seconds: row.get(5)?,
                ring_seconds: None,
                max_calls: None,
            },
            calls: 0,
            blocked: false,
            lost: [false; 2],
        };
        trips::insert(db, keys, &trip, &row.get(2)?)?;
    }
    Ok(())
}

fn old_parties(db: &Connection, keys: &Keys, trip: &str) -> Result<Vec<Party>, StoreError> {
    let mut statement = db
        .prepare_cached("SELECT role, phone, dial, pin FROM old_parties WHERE trip = ?1 ORDER BY position")?;
    let mut rows = statement.query([trip])?;
    let mut parties = Vec::with_capacity(2);
    while let Some(row) = rows.next()? {
        let wrong = |what: &dyn std::fmt::Display| damaged(trip, &what.to_string());
        let opened = |what: &str, sealed: Vec<u8>| -> Result<Zeroizing<String>, StoreError> {
            let purpose = format!("{what}/{trip}/{}", parties.len());
            let plain = keys.open(&purpose, &sealed).map_err(|e| wrong(&e))?;
            Ok(Zeroizing::new(std::str::from_utf8(&plain).map_err(|e| wrong(&e))?.to_owned()))
        };
        let phone = E164::parse(&opened("phone", row.get(1)?)?).map_err(|e| wrong(&e))?;
        let party = Party {
            role: Role::new(&row.get::<_, String>(0)?).map_err(|e| wrong(&e))?,
            phones: Phones::new(vec![phone]),
            dial: PoolNumber::try_from(row.get::<_, i64>(2)?.cast_unsigned()).map_err(|e| wrong(&e))?,
            pin: Pin::from_digits(&opened("pin", row.get(3)?)?).ok_or_else(|| wrong(&"a PIN is no PIN"))?,
        };
        parties.push(party);
    }
    Ok(parties)
}

/// Sets the connection up and takes the steps that are missing.
pub(super) fn prepare(connection: &mut Connection, keys: &Keys) -> Result<(), StoreError> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // What is deleted (a party's sealed number) is overwritten, not merely unlinked.
    connection.pragma_update(None, "secure_delete", true)?;
    // What undoes one request of a batch is not worth a file.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // KiB. A batch changes some thousand pages: with less, they would be written more than once for one commit.
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    loop {
        let step = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let taken: i64 = step.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        match STEPS.get(usize::try_from(taken).unwrap_or(usize::MAX)) {
            Some(next) => {
                next.take(&step, keys)?;
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

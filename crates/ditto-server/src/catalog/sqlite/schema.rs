//! The database file: how it is opened, and how it becomes the newest schema.

use std::fs::OpenOptions;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::{Error, ErrorKind, Result};

/// Each step once, in order; `PRAGMA user_version` counts them. Steps are only ever added.
const MIGRATIONS: &[&str] = &[
    include_str!("schema/0001.sql"),
    include_str!("schema/0002.sql"),
    include_str!("schema/0003.sql"),
    include_str!("schema/0004.sql"),
    include_str!("schema/0005.sql"),
    include_str!("schema/0006.sql"),
    include_str!("schema/0007.sql"),
    include_str!("schema/0008.sql"),
];
/// Marks the file as ours: "Dtto".
const APPLICATION_ID: i64 = 0x4474_746f;
/// Outlasts a backup tool that reads for a moment, and `ditto-batch keys`, which writes for one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Up to here every page is looked at before a catalog is opened, about a second at most; a larger
/// one is left to `doctor`, so that a restart does not wait for it.
const CHECKED_BYTES: u64 = 256 << 20;
/// Every statement there is stays prepared.
const STATEMENTS: usize = 160;
/// 8 MiB: the rows of a few thousand open segments.
const CACHE_KIB: i64 = 8 * 1024;

/// The connection that changes things; makes the file if there is none, and brings it up to date.
pub(super) fn open_writer(path: &Path) -> Result<Connection> {
    inspect(path, CHECKED_BYTES)?;
    let named = named(path);
    // Made by us first, so that nobody else may read it; SQLite gives its side files the same mode.
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| Error::storage(format!("could not open {}", path.display()), e))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags)
        .map_err(unusable)
        .map_err(named)?;
    set_up(&conn).map_err(unusable).map_err(named)?;
    migrate(&mut conn).map_err(named)?;
    Ok(conn)
}

/// Looks at a catalog before anything is changed: whether it is one, ours, of a release that we know,
/// and, unless it is larger than `most`, whole. The version of its schema; `None` if it is not there,
/// or empty, which is fine.
pub(super) fn inspect(path: &Path, most: u64) -> Result<Option<usize>> {
    let size = match std::fs::metadata(path) {
        Ok(found) => found.len(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::storage(format!("look at {}", path.display()), e)),
    };
    if size == 0 {
        return Ok(None);
    }
    let conn = open_untouched(path)
        .map_err(unusable)
        .map_err(named(path))?;
    let version = judge(&conn).map_err(named(path))?;
    if size <= most {
        check_pages(&conn, path)?;
    }
    Ok(Some(version))
}

/// Whether this release has nothing to add to a schema of this version.
pub(super) fn is_newest(version: usize) -> bool {
    version == MIGRATIONS.len()
}

/// Whether every page is where it belongs. What a page says is not compared with the others.
pub(super) fn check_pages(conn: &Connection, path: &Path) -> Result<()> {
    let found: String = conn
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(unusable)
        .map_err(named(path))?;
    match found.as_str() {
        "ok" => Ok(()),
        _ => Err(named(path)(damaged())),
    }
}

/// Without a log beside it a file is read as it is; not even a lock is left then. It is written only
/// while its owner has it open, which keeps a log beside it, and a log that is there holds commits, so
/// that it has to be read as well.
fn open_untouched(path: &Path) -> rusqlite::Result<Connection> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let mut flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = if Path::new(&log).exists() {
        Connection::open_with_flags(path, flags)?
    } else {
        flags |= OpenFlags::SQLITE_OPEN_URI;
        Connection::open_with_flags(format!("file:{}?immutable=1", escaped(path)), flags)?
    };
    conn.busy_timeout(BUSY_TIMEOUT)?;
    Ok(conn)
}

/// A path as a part of a URI.
fn escaped(path: &Path) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(byte);
    let bytes = path.as_os_str().as_bytes();
    bytes
        .iter()
        .map(|byte| match plain(byte) {
            true => char::from(*byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

/// Names the file in a sentence about it.
fn named(path: &Path) -> impl Fn(Error) -> Error + Copy {
    move |e| Error::new(e.kind(), format!("{}: {}", path.display(), e.message()))
}

/// A connection that the writer does not block, and that cannot change anything.
pub(super) fn open_reader(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.pragma_update(None, "temp_store", "memory")?;
    keep_plans(&conn)?;
    Ok(conn)
}

/// A statement is prepared once. Without this one with a bound `LIMIT` is planned anew for each value that
/// is bound, which takes longer than to run it.
fn keep_plans(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

/// The same for a catalog that another process has open, if it is of this release.
pub(super) fn open_beside(path: &Path) -> Result<Connection> {
    let conn = open_reader(path)?;
    expect_newest(&conn, path)?;
    Ok(conn)
}

/// A second writer beside the owner. The two wait for each other's transactions.
pub(super) fn open_to_change_beside(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    // Before anything is set: a setting may write.
    expect_newest(&conn, path)?;
    set_up(&conn)?;
    Ok(conn)
}

fn expect_newest(conn: &Connection, path: &Path) -> Result<()> {
    let (version, application, _) = read_version(conn).map_err(unusable)?;
    let newest = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if (version, application) != (newest, APPLICATION_ID) {
        return Err(Error::invalid(format!(
            "{}: another release has this catalog open (schema {version}, this one knows {newest}); \
             use that release",
            path.display()
        )));
    }
    Ok(())
}

/// A database without a file.
#[cfg(test)]
pub(super) fn open_memory() -> Result<Connection> {
    let mut conn = Connection::open_in_memory()?;
    set_up(&conn)?;
    migrate(&mut conn)?;
    Ok(conn)
}

fn set_up(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.pragma_update(None, "journal_mode", "wal")?;
    // In WAL mode FULL is one fsync a commit: durable when a call returns.
    conn.pragma_update(None, "synchronous", "full")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.pragma_update(None, "temp_store", "memory")?;
    // After a burst the log shrinks again.
    conn.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    keep_plans(conn)
}

/// Runs the missing steps in one transaction: a crash in between leaves the old schema.
fn migrate(conn: &mut Connection) -> Result<()> {
    let newest = MIGRATIONS.len();
    let version = judge(conn)?;
    if version == newest {
        return Ok(());
    }
    let transaction = conn.transaction()?;
    for step in &MIGRATIONS[version..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(
        None,
        "user_version",
        i64::try_from(newest).unwrap_or(i64::MAX),
    )?;
    Ok(transaction.commit()?)
}

/// The version of a schema that is ours and that we know.
fn judge(conn: &Connection) -> Result<usize> {
    let newest = MIGRATIONS.len();
    let (version, application, tables) = read_version(conn).map_err(unusable)?;
    let ours = application == APPLICATION_ID || (version == 0 && tables == 0);
    if !ours {
        return Err(Error::new(
            ErrorKind::Conflict,
            "this is the database of another program; nothing was changed: name another data folder",
        ));
    }
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if version > newest {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "a newer release wrote this catalog (schema {version}, this one knows {newest}); \
                 nothing was changed: start that release, or name another data folder"
            ),
        ));
    }
    Ok(version)
}

fn read_version(conn: &Connection) -> rusqlite::Result<(i64, i64, i64)> {
    let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
    Ok((
        number("PRAGMA user_version")?,
        number("PRAGMA application_id")?,
        number("SELECT count(*) FROM sqlite_schema")?,
    ))
}

/// What SQLite says on opening, as what to do.
fn unusable(error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => damaged(),
        _ => error.into(),
    }
}

/// A catalog is of one piece with the blobs and the journal beside it, so it is not put back alone.
fn damaged() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "this catalog is damaged or no catalog at all; nothing was changed and the files beside it \
         are safe: put the whole data folder back from a backup, or name another data folder",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use rusqlite::StatementStatus;

    use super::*;

    /// The schema as it is after all migrations; under review in `schema/snapshot.sql`.
    fn schema(conn: &Connection) -> String {
        let sql = "SELECT sql || ';' FROM sqlite_schema
            WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY tbl_name, type DESC, name";
        let mut statement = conn.prepare(sql).unwrap();
        let rows = statement
            .query_map([], |row| row.get::<_, String>(0))
            .unwrap();
        rows.map(|row| row.unwrap() + "\n").collect()
    }

    #[test]
    fn the_schema_after_all_migrations_is_the_committed_snapshot() {
        let schema = schema(&open_memory().unwrap());
        let same = schema == include_str!("schema/snapshot.sql");
        assert!(
            same,
            "the schema has changed; if it should, schema/snapshot.sql is:\n{schema}"
        );
    }

    #[test]
    fn a_statement_is_planned_once_whatever_is_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.db");
        let conns = [open_writer(&path).unwrap(), open_reader(&path).unwrap()];
        for conn in conns {
            let sql = "SELECT id FROM incarnations LIMIT :limit";
            let mut statement = conn.prepare(sql).unwrap();
            for limit in 1..4 {
                assert!(!statement.exists([limit]).unwrap());
            }
            assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
        }
    }

    #[test]
    fn only_the_owner_may_read_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.db");
        let conn = open_writer(&path).unwrap();
        conn.execute_batch("CREATE TABLE t (x)").unwrap();
        for name in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
            let mode = std::fs::metadata(folder.path().join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_catalog_that_is_open_again_has_its_rows_and_its_version() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.db");
        let sql = "INSERT INTO incarnations VALUES ('inc', 1)";
        open_writer(&path).unwrap().execute_batch(sql).unwrap();
        let conn = open_writer(&path).unwrap();
        let rows: i64 = conn
            .query_row("SELECT count(*) FROM incarnations", [], |row| row.get(0))
            .unwrap();
        assert_eq!(
            (rows, read_version(&conn).unwrap().0),
            (1, MIGRATIONS.len() as i64)
        );
    }

    #[test]
    fn creates_of_an_older_catalog_still_name_their_batches() {
        let mut conn = Connection::open_in_memory().unwrap();
        set_up(&conn).unwrap();
        for step in &MIGRATIONS[..3] {
            conn.execute_batch(step).unwrap();
        }
        conn.execute_batch(
            "INSERT INTO batches (key, id, tenant, input_file_id, endpoint, completion_window,
                options, state, created_ms)
            VALUES (7, 'batch_7', 'a', 'file-1', '/v1/x', '24h', '{}', 'running', 1);
            INSERT INTO creates VALUES (7, 'a', 'key', zeroblob(16), 1, 2);
            PRAGMA user_version = 3",
        )
        .unwrap();
        conn.pragma_update(None, "application_id", APPLICATION_ID)
            .unwrap();
        migrate(&mut conn).unwrap();
        let sql =
            "SELECT tenant || ' ' || route || ' ' || idempotency_key || ' ' || made FROM creates";
        let create: String = conn.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(create, "a batches key batch_7");
    }

    #[test]
    fn what_is_open_in_a_catalog_of_an_older_release_counts_for_its_tenant() {
        let mut conn = Connection::open_in_memory().unwrap();
        for step in &MIGRATIONS[..3] {
            conn.execute_batch(step).unwrap();
        }
        conn.pragma_update(None, "user_version", 3).unwrap();
        conn.pragma_update(None, "application_id", APPLICATION_ID)
            .unwrap();
        let rows = "INSERT INTO tenants VALUES ('a', 7, 600) ON CONFLICT DO NOTHING;
            INSERT INTO batches (id, tenant, input_file_id, endpoint, completion_window, options,
                state, created_ms, reserved_bytes)
            VALUES ('batch_1', 'a', 'f', 'e', '24h', '{}', 'running', 0, 600),
                ('batch_2', 'a', 'f', 'e', '24h', '{}', 'validating', 0, 0),
                ('batch_3', 'b', 'f', 'e', '24h', '{}', 'finalizing', 0, 300),
                ('batch_4', 'b', 'f', 'e', '24h', '{}', 'completed', 0, 0)";
        conn.execute_batch(rows).unwrap();
        migrate(&mut conn).unwrap();
        let sql = "SELECT group_concat(format('%s %d %d %d', name, stored_bytes, open_batches,
            enqueued_lines), ', ' ORDER BY name) FROM tenants";
        let counted: String = conn.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(counted, " 0 3 3, a 7 2 2, b 0 1 1");
    }

    #[test]
    fn what_is_parked_in_a_catalog_of_an_older_release_is_counted_apart() {
        let mut conn = Connection::open_in_memory().unwrap();
        for step in &MIGRATIONS[..6] {
            conn.execute_batch(step).unwrap();
        }
        conn.pragma_update(None, "user_version", 6).unwrap();
        conn.pragma_update(None, "application_id", APPLICATION_ID)
            .unwrap();
        let rows =
            "INSERT INTO batches (key, id, tenant, input_file_id, endpoint, completion_window,
                options, state, created_ms, plan_segments, cursor, open_segments)
            VALUES (1, 'batch_1', 'a', 'f', 'e', '24h', '{}', 'running', 0, 300, 256, 256),
                (2, 'batch_2', 'a', 'f', 'e', '24h', '{}', 'running', 0, 9, 1, 1);
            WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 255)
            INSERT INTO segments (batch, idx, span, filler, state, epoch, parked_until_ms)
            SELECT 1, i, 1, 0, iif(i < 100, 'parked', 'open'), 1, iif(i < 100, 5, NULL) FROM n;
            INSERT INTO segments (batch, idx, span, filler, state, epoch)
            VALUES (2, 0, 1, 0, 'open', 1)";
        conn.execute_batch(rows).unwrap();
        migrate(&mut conn).unwrap();
        let sql =
            "SELECT group_concat(format('%d %d %d', open_segments, parked_segments, leasable),
            ', ' ORDER BY key) FROM batches";
        let counted: String = conn.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(counted, "156 100 1, 1 0 1");
        let sql = "SELECT count(*) FROM segments INDEXED BY segments_parked
            WHERE state = 'parked' AND waits_for = '' AND parked_until_ms <= 5";
        let due: u32 = conn.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(due, 100);
    }

    /// Names and bytes of all files.
    fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut files: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    }

    /// What is said of such a catalog, which nothing is done to.
    fn refusal(prepare: impl FnOnce(&Path)) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.db");
        prepare(&path);
        let before = content(folder.path());
        let error = open_writer(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(content(folder.path()) == before, "something was changed");
        let message = error.message().to_owned();
        message.replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn a_newer_schema_is_refused_with_what_to_do() {
        let message = refusal(|path| {
            open_writer(path)
                .unwrap()
                .pragma_update(None, "user_version", 99)
                .unwrap();
        });
        assert_eq!(
            message,
            "catalog.db: a newer release wrote this catalog (schema 99, this one knows 8); \
             nothing was changed: start that release, or name another data folder"
        );
    }

    #[test]
    fn a_damaged_file_is_refused_with_what_to_do() {
        let message = refusal(|path| std::fs::write(path, "not a database ".repeat(500)).unwrap());
        assert_eq!(
            message,
            "catalog.db: this catalog is damaged or no catalog at all; nothing was changed and the \
             files beside it are safe: put the whole data folder back from a backup, or name \
             another data folder"
        );
    }

    /// A catalog of a few hundred rows, and what is left of it when `damage` is done.
    fn damaged_by(damage: impl FnOnce(&mut Vec<u8>)) -> String {
        refusal(|path| {
            let sql =
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)
                INSERT INTO incarnations SELECT 'incarnation-number-' || i, i FROM n";
            open_writer(path).unwrap().execute_batch(sql).unwrap();
            let mut bytes = std::fs::read(path).unwrap();
            damage(&mut bytes);
            std::fs::write(path, bytes).unwrap();
        })
    }

    #[test]
    fn a_file_that_was_cut_or_written_over_is_refused_before_it_is_used() {
        let halved = damaged_by(|bytes| bytes.truncate(bytes.len() / 2));
        assert!(halved.contains("damaged"), "{halved}");
        let odd = damaged_by(|bytes| bytes.truncate(bytes.len() - 1000));
        assert!(odd.contains("damaged"), "{odd}");
        let middle = damaged_by(|bytes| {
            let from = bytes.len() - 3 * 4096;
            bytes[from..from + 4096].fill(0xa5);
        });
        assert!(middle.contains("damaged"), "{middle}");
    }

    #[test]
    fn a_path_of_any_bytes_can_be_a_part_of_a_uri() {
        assert_eq!(
            escaped(Path::new("/a b/c?d#e%/é")),
            "/a%20b/c%3Fd%23e%25/%C3%A9"
        );
    }

    #[test]
    fn the_database_of_another_program_is_refused_untouched() {
        let message = refusal(|path| {
            Connection::open(path)
                .unwrap()
                .execute_batch("CREATE TABLE theirs (x)")
                .unwrap();
        });
        assert_eq!(
            message,
            "catalog.db: this is the database of another program; nothing was changed: name \
             another data folder"
        );
    }

    #[test]
    fn a_reader_cannot_change_anything() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.db");
        let _writer = open_writer(&path).unwrap();
        let reader = open_reader(&path).unwrap();
        assert!(reader.execute_batch("DELETE FROM files").is_err());
    }
}

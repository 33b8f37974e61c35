//! Every statement by name; the text is in `sql/`, with the index it leans on.

macro_rules! statements {
    ($($name:ident = $file:literal,)*) => {
        $(pub(super) const $name: &str = include_str!(concat!("sql/", $file, ".sql"));)*

        /// All of them with their names, for the tests.
        #[cfg(test)]
        pub(super) const ALL: &[(&str, &str)] = &[$(($file, $name)),*];
    };
}

statements! {
    ABANDON_FILE = "abandon_file",
    ABANDON_PART = "abandon_part",
    ADVANCE_BATCH = "advance_batch",
    BATCH = "batch",
    BATCH_BY_KEY = "batch_by_key",
    BATCH_CURSOR = "batch_cursor",
    BATCH_HAS_BLOBS = "batch_has_blobs",
    BATCH_LIFE = "batch_life",
    CHANGE_KEYRING = "change_keyring",
    CHARGE = "charge",
    CHARGED = "charged",
    CHOOSE_PART = "choose_part",
    CLAIM_BATCH = "claim_batch",
    CLAIM_FILE = "claim_file",
    CLAIM_PART = "claim_part",
    CLAIM_UPLOAD_PART = "claim_upload_part",
    COUNT_LIVE_KEYS = "count_live_keys",
    COUNT_PARKED = "count_parked",
    CREATE_BATCH = "create_batch",
    CREATE_BY_HASH = "create_by_hash",
    CREATE_BY_KEY = "create_by_key",
    CREATE_FILE = "create_file",
    CREATE_KEY = "create_key",
    CREATE_PART = "create_part",
    CREATE_UPLOAD = "create_upload",
    DEAD_INCARNATIONS = "dead_incarnations",
    DELETE_FILE = "delete_file",
    DROP_PARTS = "drop_parts",
    DROP_RESERVATION = "drop_reservation",
    DROP_RESULT = "drop_result",
    DROP_SEGMENTS = "drop_segments",
    DUE_BATCHES = "due_batches",
    DUE_ROWS = "due_rows",
    DUE_UPLOADS = "due_uploads",
    ENDINGS = "endings",
    END_KEY = "end_key",
    END_UPLOAD = "end_upload",
    EXPIRE_FILE = "expire_file",
    FENCE_SEGMENT = "fence_segment",
    FILE = "file",
    FILE_CURSOR = "file_cursor",
    FILE_HAS_BYTES = "file_has_bytes",
    FORGET_BATCHES = "forget_batches",
    FORGET_CREATES = "forget_creates",
    FORGET_FILES = "forget_files",
    FORGET_INCARNATION = "forget_incarnation",
    FORGET_KEYS = "forget_keys",
    FORGET_UPLOADS = "forget_uploads",
    GIVE_UP_PENDING = "give_up_pending",
    GIVE_UP_RESULT = "give_up_result",
    GROW_UPLOAD = "grow_upload",
    HELD_FINISH = "held_finish",
    HELD_VALIDATION = "held_validation",
    HOLD_BATCH = "hold_batch",
    INCARNATION_IS_LIVE = "incarnation_is_live",
    KEPT_FILE = "kept_file",
    KEY = "key",
    KEYRING = "keyring",
    LEASABLE_BATCH = "leasable_batch",
    LEASE_FINISH = "lease_finish",
    LEASE_RETURNING = "lease_returning",
    LEASE_RETURNING_OF = "lease_returning_of",
    LEASE_VALIDATION = "lease_validation",
    LEAVE_PARTS = "leave_parts",
    LET_GO_SEGMENT = "let_go_segment",
    LINK_UPLOAD = "link_upload",
    LIST_BATCHES = "list_batches",
    LIST_FILES_ASC = "list_files_asc",
    LIST_FILES_DESC = "list_files_desc",
    LIST_FILES_OF_PURPOSE_ASC = "list_files_of_purpose_asc",
    LIST_FILES_OF_PURPOSE_DESC = "list_files_of_purpose_desc",
    LIST_KEYS = "list_keys",
    LIVE_KEYS = "live_keys",
    MOVE_CURSOR = "move_cursor",
    NAME_RESULTS = "name_results",
    NEXT_BY_DEADLINE = "next_by_deadline",
    NEXT_BY_LEFT = "next_by_left",
    NEXT_FILLABLE = "next_fillable",
    NEXT_TENANT = "next_tenant",
    OPEN_BATCHES = "open_batches",
    OPEN_SEGMENT = "open_segment",
    OTHER_INCARNATIONS = "other_incarnations",
    OWNED_SEGMENTS = "owned_segments",
    PARK_SEGMENT = "park_segment",
    PART = "part",
    PARTS = "parts",
    PART_IS_NEEDED = "part_is_needed",
    PENDING_UPLOADS = "pending_uploads",
    PUBLISH_BATCH = "publish_batch",
    PUBLISH_SEGMENT = "publish_segment",
    READY_FILE = "ready_file",
    READY_PART = "ready_part",
    REGISTER = "register",
    RELEASE_BATCH = "release_batch",
    RELEASE_HELD = "release_held",
    RELEASE_OWNED = "release_owned",
    REMEMBER_CREATE = "remember_create",
    RENEW_INCARNATION = "renew_incarnation",
    REOPEN_BATCH = "reopen_batch",
    REOPEN_SEGMENT = "reopen_segment",
    RESERVATION = "reservation",
    RESERVE_FILE = "reserve_file",
    RESERVE_RESULTS = "reserve_results",
    SEALED_SEGMENTS = "sealed_segments",
    SEAL_BATCH = "seal_batch",
    SEAL_SEGMENT = "seal_segment",
    SEGMENT = "segment",
    SET_ERRORS = "set_errors",
    SET_PLAN = "set_plan",
    SUM_SEALED = "sum_sealed",
    SWEEPABLE_BATCHES = "sweepable_batches",
    SWEEPABLE_FILES = "sweepable_files",
    SWEEPABLE_PARTS = "sweepable_parts",
    SWEEPABLE_UPLOADS = "sweepable_uploads",
    SWEEP_BATCH = "sweep_batch",
    SWEEP_FILE = "sweep_file",
    SWEEP_UPLOAD = "sweep_upload",
    TAKE_SEGMENT = "take_segment",
    TRUE_COUNTS = "true_counts",
    UNPARK_BATCH = "unpark_batch",
    UPLOAD = "upload",
    UPLOAD_HAS_PARTS = "upload_has_parts",
    UPLOAD_HOLDS = "upload_holds",
    USE_KEY = "use_key",
    WAITING_SEGMENTS = "waiting_segments",
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::catalog::sqlite::schema;

    /// What SQLite would do for a statement, one step a line.
    fn plan(conn: &Connection, sql: &str) -> Vec<String> {
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        // Parameters stay unbound: the plan does not depend on them.
        let steps = statement.raw_query().mapped(|row| row.get("detail"));
        steps.collect::<Result<_, _>>().unwrap()
    }

    /// A step that reads a whole table, or an index that holds a row for each row of a table.
    fn is_scan(step: &str) -> bool {
        let table = [
            "files",
            "batches",
            "creates",
            "segments",
            "uploads",
            "upload_parts",
            "f",
            "b",
            "c",
            "s",
            "u",
            "p",
        ]
        .iter()
        .any(|table| step.split(' ').nth(1) == Some(table));
        // These hold only what is open, due or waiting, and are read up to a limit.
        let small = [
            "batches_validating",
            "batches_finalizing",
            "batches_fillable",
            "batches_unswept",
            "batches_by_input",
            "batches_due",
            "files_unswept",
            "segments_released",
            "uploads_unswept",
            "upload_parts_unused",
        ];
        step.starts_with("SCAN") && table && !small.iter().any(|index| step.ends_with(index))
    }

    #[test]
    fn no_statement_scans_a_table() {
        let conn = schema::open_memory().unwrap();
        let scans: Vec<_> = ALL
            .iter()
            .filter(|(name, _)| !matches!(*name, "other_incarnations"))
            .flat_map(|(name, sql)| plan(&conn, sql).into_iter().map(move |step| (*name, step)))
            .filter(|(_, step)| is_scan(step))
            .collect();
        assert_eq!(scans, []);
    }

    #[test]
    fn no_statement_sorts_what_an_index_could_give_in_order() {
        let conn = schema::open_memory().unwrap();
        let sorts: Vec<_> = ALL
            .iter()
            .filter(|(_, sql)| {
                plan(&conn, sql)
                    .iter()
                    .any(|step| step.contains("TEMP B-TREE"))
            })
            .map(|(name, _)| *name)
            // A worker's own batches, at most as many as it holds segments.
            .filter(|name| *name != "endings")
            .collect();
        assert_eq!(sorts, Vec::<&str>::new());
    }

    #[test]
    fn statements_lean_on_the_indexes_that_their_comments_name() {
        let conn = schema::open_memory().unwrap();
        let names: Vec<String> = {
            let sql = "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL";
            let mut statement = conn.prepare(sql).unwrap();
            statement
                .query_map([], |row| row.get(0))
                .unwrap()
                .map(Result::unwrap)
                .collect()
        };
        let mut missed = Vec::new();
        for (statement, sql) in ALL {
            let comment: String = sql.lines().filter(|line| line.starts_with("--")).collect();
            let steps = plan(&conn, sql).join("\n");
            let named = |name: &&String| {
                comment
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .any(|word| word == *name)
            };
            for name in names.iter().filter(named) {
                if !steps.split_whitespace().any(|word| word == name) {
                    missed.push((*statement, name.clone(), steps.clone()));
                }
            }
        }
        assert_eq!(missed, []);
    }
}

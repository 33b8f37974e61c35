-- Primary key. From here on leases are arithmetic on the cursor.
UPDATE batches
SET total = :total, plan_segments = :segments, model = :model,
    only_first_line = :only_first_line, only_lines = :only_lines, only_offset = :only_offset,
    only_length = :only_length, only_hash = :only_hash,
    options = CASE WHEN :bare_suffix IS NULL THEN options
        ELSE json_set(options, '$.bare_suffix', :bare_suffix) END
WHERE key = :batch

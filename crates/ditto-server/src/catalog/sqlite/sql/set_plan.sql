-- Primary key. From here on leases are arithmetic on the cursor.
UPDATE batches
SET total = :total, plan_segments = :segments, model = :model,
    options = CASE WHEN :bare_suffix IS NULL THEN options
        ELSE json_set(options, '$.bare_suffix', :bare_suffix) END
WHERE key = :batch

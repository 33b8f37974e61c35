-- Primary key, and the segments of this one batch. The tokens are those of the pieces that are there:
-- what is found of the others is counted when they are sealed.
UPDATE batches
SET reopened = 1, held_by = NULL, cursor = plan_segments,
    done_segments = plan_segments - :gaps, open_segments = :gaps, open_runs = 0,
    completed = max(completed, :answers), failed = max(failed, :errors),
    (usage_input, usage_cached, usage_output, usage_reasoning, usage_total) = (
        SELECT coalesce(sum(usage_input), 0), coalesce(sum(usage_cached), 0),
            coalesce(sum(usage_output), 0), coalesce(sum(usage_reasoning), 0),
            coalesce(sum(usage_total), 0)
        FROM segments WHERE batch = :batch AND state = 'sealed'
    )
WHERE key = :batch AND held_by = :incarnation AND state = 'finalizing' AND reopened = 0
RETURNING completed - :answers AS answers, failed - :errors AS errors

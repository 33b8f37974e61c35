-- Primary key. Counts: sealed less published. Two workers that seal the last two segments are told
-- apart by the writer: exactly one of them sees that nothing is left.
UPDATE batches
SET completed = completed + :completed, failed = failed + :failed,
    usage_input = usage_input + :usage_input, usage_cached = usage_cached + :usage_cached,
    usage_output = usage_output + :usage_output,
    usage_reasoning = usage_reasoning + :usage_reasoning, usage_total = usage_total + :usage_total,
    done_segments = done_segments + :span, open_segments = open_segments - 1,
    open_runs = open_runs - :filler
WHERE key = :batch
RETURNING done_segments = plan_segments AS last

-- Primary key. Each time is that of the first event of its kind. What the next state is was decided
-- by model::batch::advance on the row as it is in this transaction.
UPDATE batches
SET state = :state, ending = :ending,
    in_progress_ms = coalesce(in_progress_ms, CASE :state WHEN 'running' THEN :now END),
    finalizing_ms = coalesce(finalizing_ms, CASE :state WHEN 'finalizing' THEN :now END),
    completed_ms = coalesce(completed_ms, CASE :state WHEN 'completed' THEN :now END),
    failed_ms = coalesce(failed_ms, CASE :state WHEN 'failed' THEN :now END),
    expired_ms = coalesce(expired_ms, CASE :state WHEN 'expired' THEN :now END),
    cancelled_ms = coalesce(cancelled_ms, CASE :state WHEN 'cancelled' THEN :now END),
    cancelling_ms = coalesce(cancelling_ms, CASE :ending WHEN 'cancelled' THEN :now END)
WHERE key = :batch

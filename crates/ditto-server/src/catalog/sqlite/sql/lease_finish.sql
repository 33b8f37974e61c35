-- Indexes: batches_finalizing, incarnations; as lease_validation. One that cannot be finished does not
-- stand in the way of the others, nor does one of which segments were opened again.
UPDATE batches SET held_by = :incarnation
WHERE key = (
    SELECT key FROM batches b
    WHERE state = 'finalizing' AND done_segments >= plan_segments AND NOT EXISTS (
        SELECT 1 FROM incarnations i WHERE i.id = b.held_by AND i.lease_until_ms > :now
    )
    ORDER BY key LIMIT 1
)
RETURNING *

-- Indexes: batches_validating, incarnations. The oldest that no live worker holds, so that a dead one
-- does not block.
UPDATE batches SET held_by = :incarnation
WHERE key = (
    SELECT key FROM batches b
    WHERE state = 'validating' AND NOT EXISTS (
        SELECT 1 FROM incarnations i WHERE i.id = b.held_by AND i.lease_until_ms > :now
    )
    ORDER BY key LIMIT 1
)
RETURNING *

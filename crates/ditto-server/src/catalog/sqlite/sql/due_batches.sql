-- Index: batches_due.
SELECT key, id, tenant, state, ending FROM batches
WHERE ending IS NULL AND state IN ('validating', 'running') AND expires_ms <= :now

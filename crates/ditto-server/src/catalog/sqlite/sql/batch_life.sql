-- Primary key.
SELECT key, id, tenant, state, ending, held_by FROM batches WHERE key = :batch

-- As create_file, for a result: the link to its batch keeps the sweeper away however long it takes.
INSERT INTO files (id, tenant, state, created_ms, batch)
SELECT :id, tenant, 'pending', :now, key FROM batches WHERE key = :batch

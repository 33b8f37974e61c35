-- The id is in the catalog before the first byte is stored: its blobs are not litter.
INSERT INTO files (id, tenant, state, created_ms) VALUES (:id, :tenant, 'pending', :now)

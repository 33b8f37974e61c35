-- Index: keys.id.
UPDATE keys SET last_used_ms = :now WHERE id = :id

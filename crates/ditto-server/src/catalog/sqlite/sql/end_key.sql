-- Index: keys.id. An end is only ever moved forward: who rotates a key that was revoked does not bring
-- it back.
UPDATE keys SET ends_ms = min(coalesce(ends_ms, :ends), :ends) WHERE id = :id

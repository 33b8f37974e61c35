-- Primary key. Without a pause it is released: open, and of nobody.
UPDATE segments SET state = :state, owner = NULL, parked_until_ms = :until, cuts = :cuts
WHERE batch = :batch AND idx = :idx

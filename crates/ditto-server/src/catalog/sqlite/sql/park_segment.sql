-- Primary key. Without a wait it is released: open, and of nobody.
UPDATE segments
SET state = :state, owner = NULL, parked_until_ms = :until, waits_for = :waits_for,
    refused_ms = :refused, cuts = :cuts
WHERE batch = :batch AND idx = :idx

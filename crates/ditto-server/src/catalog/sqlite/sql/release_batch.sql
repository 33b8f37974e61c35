-- Primary key.
UPDATE batches SET held_by = NULL WHERE key = :batch AND held_by = :incarnation

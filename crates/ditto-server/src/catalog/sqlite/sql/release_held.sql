-- Index: batches_held.
UPDATE batches SET held_by = NULL WHERE held_by = :incarnation

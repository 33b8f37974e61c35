-- Primary key. In the transaction of its last seal, whose worker ends it.
UPDATE batches SET held_by = :incarnation WHERE key = :batch

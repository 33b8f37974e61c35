-- Primary key. New less published before.
UPDATE batches SET completed = completed + :completed, failed = failed + :failed WHERE key = :batch

-- Primary key. Nothing changes unless a count was wrong.
UPDATE batches SET completed = :answers, failed = :errors
WHERE key = :batch AND (completed, failed) <> (:answers, :errors)

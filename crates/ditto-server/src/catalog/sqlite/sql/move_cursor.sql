-- Primary key. Only the writer moves it, so nobody else has taken these entries.
UPDATE batches
SET cursor = cursor + :span, open_segments = open_segments + 1, open_runs = open_runs + :filler
WHERE key = :batch
RETURNING cursor - :span AS idx,
    (total * :span + plan_segments - 1) / plan_segments AS lines

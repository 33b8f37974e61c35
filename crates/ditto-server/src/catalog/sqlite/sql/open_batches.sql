-- Index: batches_by_input, which holds only open batches. For operators.
SELECT count(*) FROM batches WHERE state IN ('validating', 'running', 'finalizing')

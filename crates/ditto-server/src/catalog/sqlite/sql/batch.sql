-- Index: batches.id. The status call: one row, whatever the batch's size.
SELECT * FROM batches WHERE id = :id AND tenant = :tenant

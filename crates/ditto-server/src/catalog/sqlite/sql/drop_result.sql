-- Primary key. The bytes of one result file less are needed; at none the batch's blobs may go.
UPDATE batches SET files_left = files_left - 1 WHERE key = :batch

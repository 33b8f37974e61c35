-- One result file less; at none the batch's blobs may go.
UPDATE batches SET files_left = files_left - 1 WHERE key = :batch

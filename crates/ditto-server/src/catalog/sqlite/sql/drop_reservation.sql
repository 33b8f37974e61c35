-- Primary key. With the end of the batch: from here on its files count.
UPDATE batches SET reserved_bytes = 0, enqueued_lines = NULL WHERE key = :batch

-- Primary key. In the transaction that ends the batch and makes the files ready.
UPDATE batches
SET output_file_id = :output, error_file_id = :errors, files_left = :files_left,
    reserved_output_id = NULL, reserved_error_id = NULL, held_by = NULL
WHERE key = :batch

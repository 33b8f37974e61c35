-- Index: upload_parts_of. The file is made without them.
UPDATE upload_parts SET state = 'unused' WHERE upload = :upload AND state IN ('pending', 'ready')

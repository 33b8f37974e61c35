-- Primary key.
SELECT parts, part_bytes FROM uploads WHERE key = :upload

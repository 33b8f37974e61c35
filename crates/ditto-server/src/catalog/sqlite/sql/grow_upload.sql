-- Primary key. With the row of a part that comes, gets ready or goes.
UPDATE uploads SET parts = parts + :parts, part_bytes = part_bytes + :bytes WHERE key = :upload

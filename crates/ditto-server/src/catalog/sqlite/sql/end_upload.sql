-- Primary key. The one end of an upload: its parts are no longer its tenant's from here on.
UPDATE uploads SET state = :state, ended_ms = :ended, file_id = :file_id, part_bytes = 0
WHERE key = :upload AND state = 'pending'
RETURNING *

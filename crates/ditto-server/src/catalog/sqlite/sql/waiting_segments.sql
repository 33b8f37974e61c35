-- Indexes: segments_released, segments_parked_of; each holds only what waits, the primary key all.
SELECT * FROM segments INDEXED BY segments_released
WHERE batch = :batch AND state = 'open' AND owner IS NULL AND unfenced IS NULL
UNION ALL
SELECT * FROM segments INDEXED BY segments_parked_of
WHERE batch = :batch AND state = 'parked' AND unfenced IS NULL

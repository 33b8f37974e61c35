-- Indexes: segments_released, segments_parked_of.
SELECT * FROM (
    SELECT * FROM segments INDEXED BY segments_released
    WHERE batch = :batch AND state = 'open' AND owner IS NULL
    UNION ALL
    SELECT * FROM segments INDEXED BY segments_parked_of
    WHERE state = 'parked' AND batch = :batch AND waits_for IN ('', :lane)
        AND parked_until_ms <= :now
)
LIMIT :limit

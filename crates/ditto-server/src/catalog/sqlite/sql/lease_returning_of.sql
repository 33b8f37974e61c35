-- Indexes: segments_released, segments_parked_of. As for all batches, for one that ran dry.
WITH RECURSIVE lanes (lane) AS (
    SELECT min(waits_for) FROM segments INDEXED BY segments_parked_of
    WHERE state = 'parked' AND batch = :batch
    UNION ALL
    SELECT (
        SELECT min(waits_for) FROM segments INDEXED BY segments_parked_of
        WHERE state = 'parked' AND batch = :batch AND waits_for > lane
    )
    FROM lanes WHERE lane IS NOT NULL
)
SELECT * FROM (
    SELECT * FROM segments INDEXED BY segments_released
    WHERE batch = :batch AND state = 'open' AND owner IS NULL
    UNION ALL
    SELECT s.*
    FROM lanes CROSS JOIN segments s INDEXED BY segments_parked_of
        ON s.state = 'parked' AND s.batch = :batch AND s.waits_for = lane
            AND s.parked_until_ms <= :now
    WHERE lane NOT IN (SELECT value FROM json_each(:shut))
)
LIMIT :limit

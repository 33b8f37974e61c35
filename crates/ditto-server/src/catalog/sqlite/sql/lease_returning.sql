-- Indexes: segments_released, segments_parked, incarnations_by_lease with segments_owned; each holds
-- only what waits or is held. Of what waits for lanes one entry a lane is looked at, unless it is to be
-- taken. A frozen owner's row stays, so that it keeps what nobody took.
WITH RECURSIVE lanes (lane) AS (
    SELECT min(waits_for) FROM segments INDEXED BY segments_parked WHERE state = 'parked'
    UNION ALL
    SELECT (
        SELECT min(waits_for) FROM segments INDEXED BY segments_parked
        WHERE state = 'parked' AND waits_for > lane
    )
    FROM lanes WHERE lane IS NOT NULL
)
SELECT * FROM (
    SELECT * FROM segments INDEXED BY segments_released
    WHERE state = 'open' AND owner IS NULL
    UNION ALL
    SELECT s.*
    FROM lanes CROSS JOIN segments s INDEXED BY segments_parked
        ON s.state = 'parked' AND s.waits_for = lane AND s.parked_until_ms <= :now
    WHERE lane NOT IN (SELECT value FROM json_each(:shut))
    UNION ALL
    SELECT s.*
    FROM incarnations i CROSS JOIN segments s ON s.owner = i.id AND s.state = 'open'
    WHERE i.lease_until_ms <= :now
)
LIMIT :limit

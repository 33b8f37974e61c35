-- Primary key: the segments of one batch, when one of them is missing.
SELECT coalesce(sum(answers), 0) AS answers, coalesce(sum(errors - ended), 0) AS errors
FROM segments WHERE batch = :batch AND state = 'sealed'

-- Primary key. Owner and epoch stay: a renewal that was under way is not told that it lost it.
UPDATE segments
SET state = 'sealed', answers = :answers, errors = :errors, ended = :ended,
    answers_bytes = :answers_bytes, errors_bytes = :errors_bytes, usage_input = :usage_input,
    usage_cached = :usage_cached, usage_output = :usage_output,
    usage_reasoning = :usage_reasoning, usage_total = :usage_total
WHERE batch = :batch AND idx = :idx

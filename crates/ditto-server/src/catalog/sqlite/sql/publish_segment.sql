-- Primary key. The caller has compared owner and epoch in this transaction.
UPDATE segments SET published_answers = :answers, published_errors = :errors
WHERE batch = :batch AND idx = :idx

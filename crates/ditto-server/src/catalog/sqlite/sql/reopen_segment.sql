-- Primary key.
INSERT INTO segments (batch, idx, span, filler, state, owner, epoch, cuts,
    published_answers, published_errors)
VALUES (:batch, :idx, 1, 0, 'open', NULL, :epoch, :cuts, :answers, :errors)

INSERT INTO segments (batch, idx, span, filler, state, owner, epoch)
VALUES (:batch, :idx, :span, :filler, 'open', :incarnation, 1)

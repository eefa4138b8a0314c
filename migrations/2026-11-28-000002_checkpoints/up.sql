-- What became of each checkpoint, so that a list need not look at the disk. Those that were deleted before count as
-- complete until the job is worked on again or somebody asks for one.
ALTER TABLE checkpoints ADD COLUMN state TEXT NOT NULL DEFAULT 'COMPLETE'
    CHECK (state IN ('COMPLETE', 'DAMAGED', 'REMOVED'));
-- What is wrong with it.
ALTER TABLE checkpoints ADD COLUMN damage TEXT CHECK ((damage IS NOT NULL) = (state = 'DAMAGED'));
ALTER TABLE checkpoints ADD COLUMN verified_unix_ms INTEGER;
-- Of the evaluation after the same step; NULL: there is none, or it is NaN, which is nobody's best.
ALTER TABLE checkpoints ADD COLUMN eval_loss_nats REAL;
ALTER TABLE checkpoints ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1));

-- Where a page of a job's checkpoints ends.
CREATE INDEX checkpoints_by_seq ON checkpoints (job, seq);

-- The evaluation after a step. Of evaluations alone: steps are a hundred times as many and are never looked for so.
CREATE INDEX evaluations_by_step ON metrics (job, step) WHERE kind = 'evaluated';

-- One pass over the new index, which needed one over all metrics.
UPDATE checkpoints SET eval_loss_nats = latest.loss_nats
FROM (
    SELECT job, step, loss_nats, max(seq) FROM metrics WHERE kind = 'evaluated' GROUP BY job, step
) AS latest
WHERE latest.job = checkpoints.job AND latest.step = checkpoints.step;

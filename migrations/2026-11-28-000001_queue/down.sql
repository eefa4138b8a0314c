-- Lost: the order that people gave the queue, why jobs wait, and which checkpoints of other jobs jobs began with (their copies stay
-- in the jobs' directories).
DROP INDEX jobs_by_order;
DROP INDEX jobs_by_state_and_order;
ALTER TABLE jobs DROP COLUMN parent_step;
ALTER TABLE jobs DROP COLUMN parent_job;
ALTER TABLE jobs DROP COLUMN waiting;
ALTER TABLE jobs DROP COLUMN device;
ALTER TABLE jobs DROP COLUMN queue_order;

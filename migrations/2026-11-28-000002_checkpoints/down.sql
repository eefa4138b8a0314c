-- What became of checkpoints is lost, and which are pinned; the files that pin them stay and hold.
DROP INDEX evaluations_by_step;
DROP INDEX checkpoints_by_seq;
ALTER TABLE checkpoints DROP COLUMN pinned;
ALTER TABLE checkpoints DROP COLUMN eval_loss_nats;
ALTER TABLE checkpoints DROP COLUMN verified_unix_ms;
ALTER TABLE checkpoints DROP COLUMN damage;
ALTER TABLE checkpoints DROP COLUMN state;

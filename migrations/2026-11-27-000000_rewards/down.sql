-- What was said of preference pairs is lost.
ALTER TABLE metrics DROP COLUMN reward_accuracy;
ALTER TABLE metrics DROP COLUMN reward_margin;
ALTER TABLE metrics DROP COLUMN rewards_rejected;
ALTER TABLE metrics DROP COLUMN rewards_chosen;

-- Means over preference pairs, of steps and of evaluations. All four are there or none: where `reward_accuracy` is NULL
-- the method knows no pairs; in the other three NULL is NaN, as elsewhere. Adding columns touches no row.
ALTER TABLE metrics ADD COLUMN rewards_chosen REAL;
ALTER TABLE metrics ADD COLUMN rewards_rejected REAL;
ALTER TABLE metrics ADD COLUMN reward_margin REAL;
ALTER TABLE metrics ADD COLUMN reward_accuracy REAL;

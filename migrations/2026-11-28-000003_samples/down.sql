-- Samples can't be brought back; predictions can, from the events.
DROP TABLE gpu_samples;
DROP TABLE predictions;

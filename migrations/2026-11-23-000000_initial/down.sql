-- Removes everything: nothing was there before.
DROP TABLE settings;
DROP TABLE configs;
DROP TABLE models;
DROP TABLE datasets;
DROP TABLE artifacts;
DROP TABLE checkpoints;
DROP TABLE metrics;
DROP TABLE job_events;
DROP TABLE attempts;
DROP TABLE jobs;
DROP TABLE last_write;

-- All reports are lost, and which files are the service's: they stay on the disk when their datasets are forgotten.
DROP TABLE dataset_reports;
ALTER TABLE datasets DROP COLUMN report;
ALTER TABLE datasets DROP COLUMN owner;

-- Whose a dataset's file is: 'user', as all were so far, or 'service'. And what its report comes to, as JSON; NULL for
-- those of before, which were refused where they had an error. Adding columns touches no row.
ALTER TABLE datasets ADD COLUMN owner TEXT NOT NULL DEFAULT 'user' CHECK (owner IN ('user', 'service'));
ALTER TABLE datasets ADD COLUMN report TEXT;

-- The last reports of each dataset. With rowids, since a report has hundreds of KiB.
CREATE TABLE dataset_reports (
    dataset TEXT NOT NULL REFERENCES datasets (id) ON DELETE CASCADE,
    number INTEGER NOT NULL CHECK (number >= 1),
    -- What it comes to, as JSON: all that lists need.
    summary TEXT NOT NULL,
    -- What the data were held against, as JSON.
    settings TEXT NOT NULL,
    -- JSON. Last, since it is long and lists stop before it.
    report TEXT NOT NULL,
    PRIMARY KEY (dataset, number)
) STRICT;

-- Every job is a row that comes, changes twice and goes: dead rows are cleared by their number, as in the outbox.
alter table jobs.job_common set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

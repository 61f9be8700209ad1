-- How far an import has come is in the job of its next step.
drop table imports;

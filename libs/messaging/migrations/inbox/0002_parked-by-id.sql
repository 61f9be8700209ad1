-- Parked events are listed by id, as jobs that were given up are, so that the lists of all services can be merged.
create index parked_events_failed_by_id on parked_events (id) where error is not null;
drop index parked_events_failed;

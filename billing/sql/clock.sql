-- The one clock of money: the database's. Tests replace this function to travel in time.
create or replace function billing_now() returns timestamptz
language sql volatile as $$ select clock_timestamp() $$;

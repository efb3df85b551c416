-- The audit log is append-only, whoever asks.

create or replace function accounts_refuse_change() returns trigger
language plpgsql as $$
begin
    raise exception '% is append-only: % refused', tg_table_name, tg_op
        using errcode = 'restrict_violation';
end $$;

create or replace trigger accounts_auditevent_append_only
before update or delete or truncate on accounts_auditevent
for each statement execute function accounts_refuse_change();

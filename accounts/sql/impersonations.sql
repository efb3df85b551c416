-- A look at somebody's dashboard is written down for good; all that can change is its end.

create or replace function accounts_impersonation_guard() returns trigger
language plpgsql as $$
begin
    if tg_op <> 'UPDATE' or old.ended_at is not null or
       (new.public_id, new.staff_id, new.customer_id, new.reason, new.started_at, new.expires_at)
       is distinct from
       (old.public_id, old.staff_id, old.customer_id, old.reason, old.started_at, old.expires_at)
    then
        raise exception '% is kept: % refused', tg_table_name, tg_op
            using errcode = 'restrict_violation';
    end if;
    return new;
end $$;

create or replace trigger accounts_impersonation_kept
before update or delete on accounts_impersonation
for each row execute function accounts_impersonation_guard();

create or replace trigger accounts_impersonation_not_truncated
before truncate on accounts_impersonation
for each statement execute function accounts_refuse_change();

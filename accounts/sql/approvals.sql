-- What was asked stays as it was asked; what was decided stays decided; nothing is deleted.

create or replace function accounts_approval_guard() returns trigger
language plpgsql as $$
begin
    if tg_op <> 'UPDATE' then
        raise exception '% refuses %', tg_table_name, tg_op using errcode = 'restrict_violation';
    end if;
    if (new.public_id, new.kind, new.payload, new.summary, new.reason, new.workspace_id,
        new.amount_nanos, new.source, new.requester_id, new.requested_at, new.expires_at)
       is distinct from
       (old.public_id, old.kind, old.payload, old.summary, old.reason, old.workspace_id,
        old.amount_nanos, old.source, old.requester_id, old.requested_at, old.expires_at)
    then
        raise exception 'what was asked cannot be changed' using errcode = 'restrict_violation';
    end if;
    if old.state <> 'pending' and
       (new.state, new.approver_id, new.note, new.outcome, new.decided_at)
       is distinct from (old.state, old.approver_id, old.note, old.outcome, old.decided_at)
    then
        raise exception 'this was decided: %', old.state using errcode = 'restrict_violation';
    end if;
    return new;
end $$;

create or replace trigger accounts_approval_kept
before update or delete on accounts_approval
for each row execute function accounts_approval_guard();

create or replace trigger accounts_approval_not_truncated
before truncate on accounts_approval
for each statement execute function accounts_refuse_change();

create or replace trigger accounts_soledecision_append_only
before update or delete or truncate on accounts_soledecision
for each statement execute function accounts_refuse_change();

-- Whoever ends a generation (a gateway, a worker, the sweep) tells it in the same transaction.

create or replace function proxy_tell_generation() returns trigger
language plpgsql as $$
begin
    perform accounts_tell_webhooks(new.workspace_id, 'generation.finished', jsonb_build_object(
        'id', accounts_request_form('gen_', new.id),
        'status', new.status,
        'model', new.model,
        'tokens_used', new.tokens_used,
        'balance_remaining', new.balance_remaining,
        'reason', new.error ->> 'reason'
    ));
    return null;
end $$;

create or replace trigger tell_generation
after update of status on proxy_generation
for each row when (old.status = 'pending' and new.status <> 'pending')
execute function proxy_tell_generation();

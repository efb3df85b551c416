-- Moves money that is not usage: top-ups, refunds, grants, disputes, conversions.
--
-- items: [{kind, source, debit, credit, asset, amount, reference, reason, created_by}], all
-- or nothing, answered in order by [{v: ok | already}]. Raises TG001 when a (kind, source)
-- was booked before with another amount or other accounts, TG002 when more would leave a
-- customer's account than its open holds leave of what is really there, TG003 for an unusable
-- item. A floor below zero is credit for calls: no refund or purchase is paid from it.
create or replace function billing_post(items jsonb)
returns jsonb
language plpgsql
set search_path = pg_catalog, public, pg_temp
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
set jit = off
set lock_timeout = '5s'
as $$
#variable_conflict use_column
declare
    ids bigint[];
    homes bigint[];
    debited bigint[];
    item record;
    booked billing_transfer;
    new_id bigint;
    answers jsonb := '[]';
begin
    -- Homes by id, then their granted accounts by id: the one lock order. The conditions
    -- beside the ids are such that no index could serve them (see admit.sql).
    select array_agg(debit) || array_agg(credit) into ids
    from jsonb_to_recordset(items) as i (debit bigint, credit bigint);
    select array_agg(id) into homes from billing_account where granted_id = any(ids);
    perform 1 from billing_account
    where id = any(ids || homes) and coalesce(granted_id, 0) > 0
    order by id + 0 for no key update;
    perform 1 from billing_account
    where id = any(ids) and bounded and coalesce(granted_id, 0) = 0
    order by id + 0 for no key update;

    for item in
        select *
        from rows from (
            jsonb_to_recordset(items) as (
                kind text, source uuid, debit bigint, credit bigint, asset text,
                amount numeric, reference text, reason text, created_by bigint
            )
        ) with ordinality
        order by ordinality
    loop
        if (
            item.kind <> '' and item.kind not like 'usage.%' and item.source is not null
            and item.amount >= 1 and item.amount = trunc(item.amount)
            and item.debit <> item.credit and item.asset is not null
        ) is not true then
            raise exception 'not a transfer: %', item using errcode = 'TG003';
        end if;

        insert into billing_transfer
            (kind, source, debit_id, credit_id, asset, amount, reference, reason,
             created_by_id, at)
        values
            (item.kind, item.source, item.debit, item.credit, item.asset, item.amount,
             coalesce(item.reference, ''), coalesce(item.reason, ''),
             item.created_by, billing_now())
        on conflict (kind, source) do nothing
        returning id into new_id;

        if new_id is null then
            select * into booked from billing_transfer
            where kind = item.kind and source = item.source;
            if (booked.debit_id, booked.credit_id, booked.asset, booked.amount)
                is distinct from (item.debit, item.credit, item.asset, item.amount)
            then
                raise exception '% % was booked before with another amount or other accounts',
                    item.kind, item.source using errcode = 'TG001';
            end if;
            answers := answers || '[{"v": "already"}]'::jsonb;
        else
            update billing_account
            set credits_posted = credits_posted + item.amount::bigint
            where id = item.credit and bounded;
            update billing_account
            set debits_posted = debits_posted + item.amount::bigint
            where id = item.debit and bounded;
            debited := debited || item.debit;
            answers := answers || '[{"v": "ok"}]'::jsonb;
        end if;
    end loop;

    -- What open calls have set aside is not to be had.
    perform 1 from billing_account
    where id = any(debited) and bounded
        and credits_posted - debits_posted - debits_pending < 0;
    if found then
        raise exception 'a customer account has not got that much that nothing holds'
            using errcode = 'TG002';
    end if;
    return answers;
end $$;

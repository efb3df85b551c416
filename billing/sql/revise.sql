-- Puts evidence in the place of what a sweep had to guess, and books the difference: one call,
-- once. It is asked only where billing_settle found that a call had been closed before; no call
-- that goes well comes here. For lock order see admit.sql.
--
-- item: one of billing_settle's. Answers {v, charged, uncollected, day, returned}; `returned`
-- is granted money that came back, for which the caller makes a lot in the same transaction.
-- v: corrected  the record says what the item says, the difference is booked
--    already    it said so before
--    conflict   what it says is as good as the item, or better; nothing changes
--    unknown    no usage record
--    bad_item   a field is missing or out of range
--
-- What gives way is only what a sweep wrote: its estimates, to the provider's own word (and one
-- by an old checkpoint also to the gateway's last count); a call that it found nothing of, to the
-- provider's own word; a call that it knew nothing of, also to the gateway's word that there was
-- nothing to pay. Decisions of staff stay. The charge stays within the hold, and takes no money
-- that is not there or that another call has set aside: what is missing is our loss, as always. So
-- is all of a call that was made again under its Idempotency-Key (billing_repeat).
create or replace function billing_revise(item jsonb)
returns jsonb
language plpgsql
set search_path = pg_catalog, public, pg_temp
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
set jit = off
set lock_timeout = '100ms'
as $$
#variable_conflict use_column
declare
    most constant bigint := 100000000000000000;
    told record;
    was billing_usage;
    home billing_account;
    gift billing_account;
    homes bigint[];
    verdict text;
    now_ timestamptz;
    difference bigint; from_granted bigint; from_paid bigint; over bigint; nanos bigint;
begin
    select * into told
    from jsonb_to_record(item) as asked (id uuid, day date, state text, cost bigint, source text);
    if (
        told.id is not null and told.day is not null and told.cost between 0 and most
        and (told.state = 'settled' or (told.state = 'voided' and told.cost = 0))
    ) is not true then
        return jsonb_build_object('v', 'bad_item', 'charged', 0, 'uncollected', 0);
    end if;

    -- Whose is it? The record itself is read under the lock of its home, which every change of
    -- it takes first.
    select * into was from billing_usage where id = told.id and day = told.day;
    if was.id is null then
        return jsonb_build_object('v', 'unknown', 'charged', 0, 'uncollected', 0);
    end if;
    select array_agg(id) into homes
    from billing_account
    where workspace_id = was.workspace_id and kind = 'paid' and asset = any(array[was.asset, 'USD']);
    perform 1 from billing_account where id = any(homes) order by id + 0 for no key update;
    now_ := billing_now();
    select * into was from billing_usage where id = told.id and day = told.day;

    verdict := case
        when told.state = 'voided' and was.state = 'expired' then 'corrected'
        when told.state = 'settled' and told.source = any(array['provider', 'lookup']) and (
            (was.reason = 'swept' and was.source = any(array['checkpoint', 'count']))
            or (was.state = 'voided'
                and was.reason = any(array['never_arrived', 'no_output', 'repeated']))
        ) then 'corrected'
        when told.state = 'settled' and told.source = 'count'
            and was.reason = 'swept' and was.source = 'checkpoint' then 'corrected'
        when told.cost = was.cost then 'already'
        else 'conflict'
    end;
    if verdict <> 'corrected' then
        return jsonb_build_object('v', verdict, 'charged', was.charged,
                                  'uncollected', was.uncollected, 'day', was.day);
    end if;

    select * into home from billing_account where id = was.account_id;
    select * into gift from billing_account where id = home.granted_id;
    difference := told.cost / was.unit_nanos + (told.cost % was.unit_nanos > 0)::int
        - was.charged - was.uncollected;
    if difference > 0 then
        -- Granted money first, as at an admission; only what no other call has set aside.
        over := case when was.reason = 'repeated' then 0
                     else least(difference, was.hold - was.charged) end;
        from_granted := least(over, greatest(
            gift.credits_posted - gift.debits_posted - gift.floor - gift.debits_pending, 0));
        from_paid := least(over - from_granted, greatest(
            home.credits_posted - home.debits_posted - home.floor - home.debits_pending, 0));
    else
        -- Our loss is undone first, then what was paid, then what was granted.
        over := greatest(difference, -was.uncollected);
        from_paid := greatest(difference - over, was.granted - was.charged);
        from_granted := difference - over - from_paid;
    end if;
    over := difference - from_granted - from_paid;

    insert into billing_transfer (kind, source, debit_id, credit_id, asset, amount, at)
    select case when units > 0 then 'usage.further.' else 'usage.refund.' end || leg,
        was.id,
        case when units > 0 then account else house end,
        case when units > 0 then house else account end, was.asset, abs(units), now_
    from unnest(
        array['granted', 'paid', 'uncollected'],
        array[gift.id, home.id, billing_house_account('uncollected_usage', was.asset)],
        array[from_granted, from_paid, over]
    ) as moved (leg, account, units),
        billing_house_account('revenue', was.asset) as house
    where units <> 0;

    -- Windows learn of the difference as they learned of the charge: those of the call's own day
    -- and month only. Counters that had drifted stop nothing.
    nanos := least(
        told.cost, (was.charged + from_granted + from_paid) * was.unit_nanos
    ) - least(was.cost, was.charged * was.unit_nanos);
    update billing_account
    set debits_posted = debits_posted + greatest(from_paid, 0),
        credits_posted = credits_posted + greatest(-from_paid, 0)
    where id = home.id;
    update billing_account
    set debits_posted = debits_posted + greatest(from_granted, 0),
        credits_posted = credits_posted + greatest(-from_granted, 0)
    where id = gift.id;
    update billing_account
    set day_used = greatest(day_used + nanos * (day = was.day)::int, 0),
        month_used = greatest(
            month_used + nanos * (date_trunc('month', day) = date_trunc('month', was.day))::int, 0)
    where id = any(homes) and asset = 'USD';
    update billing_keymeter
    set day_used = greatest(day_used + nanos * (day = was.day)::int, 0),
        month_used = greatest(
            month_used + nanos * (date_trunc('month', day) = date_trunc('month', was.day))::int, 0),
        spent = spent + nanos
    where key_id = was.key_id;

    perform billing_usage_late(
        item || case when was.reason = 'repeated' then '{"reason": "repeated"}' else '{}' end::jsonb,
        was.day, was.granted + from_granted, was.charged + from_granted + from_paid,
        was.uncollected + over, now_);
    insert into billing_revision
    values (
        was.id, was.day, was.workspace_id, was.asset, was.unit_nanos, was.state, was.source,
        was.cost, was.granted, was.charged, was.uncollected, coalesce(told.source, 'none'),
        told.cost, was.granted + from_granted, was.charged + from_granted + from_paid,
        was.uncollected + over, now_
    );
    return jsonb_build_object(
        'v', 'corrected', 'charged', was.charged + from_granted + from_paid,
        'uncollected', was.uncollected + over, 'day', was.day,
        'returned', greatest(-from_granted, 0)
    );
end $$;


-- Says of a call which a sweep had found nothing of that its Idempotency-Key is free again: a
-- caller may make it once more and pay for that. Evidence of the first one may still come; under
-- the lock that billing_revise takes too, so it is charged before this or never.
create or replace function billing_repeat(call uuid, call_day date)
returns void
language plpgsql
set search_path = pg_catalog, public, pg_temp
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
set jit = off
set lock_timeout = '100ms'
as $$
declare
    homes bigint[];
begin
    select array_agg(account_id) into homes
    from billing_usage where id = call and day = call_day;
    perform 1 from billing_account where id = any(homes) order by id + 0 for no key update;
    update billing_usage set reason = 'repeated'
    where id = call and day = call_day and state = 'voided'
        and reason = any(array['never_arrived', 'no_output']);
end $$;

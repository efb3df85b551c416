-- The facts of a settlement that came after its hold had expired.
create or replace function billing_usage_late(
    item jsonb, item_day date, from_granted bigint, total bigint, over bigint, at timestamptz
) returns void
language sql
set search_path = pg_catalog, public, pg_temp
as $$
    update billing_usage set
        state = 'late',
        granted = from_granted,
        charged = total,
        uncollected = over,
        closed_at = at,
        cost = f.cost,
        unknown = coalesce(f.unknown, false),
        source = coalesce(f.source, 'none'),
        served = coalesce(f.served, billing_usage.served),
        provider = coalesce(f.provider, billing_usage.provider),
        price_id = coalesce(f.price_id, billing_usage.price_id),
        surface = coalesce(f.surface, billing_usage.surface),
        stream = coalesce(f.stream, billing_usage.stream),
        cancelled = coalesce(f.cancelled, billing_usage.cancelled),
        status = coalesce(f.status, billing_usage.status),
        reason = coalesce(f.reason, billing_usage.reason),
        input_tokens = coalesce(f.input_tokens, 0),
        cached_tokens = coalesce(f.cached_tokens, 0),
        cache_write_tokens = coalesce(f.cache_write_tokens, 0),
        output_tokens = coalesce(f.output_tokens, 0),
        reasoning_tokens = coalesce(f.reasoning_tokens, 0),
        pictures = coalesce(f.pictures, 0),
        picture_size = coalesce(f.picture_size, ''),
        picture_quality = coalesce(f.picture_quality, ''),
        searches = coalesce(f.searches, 0),
        first_byte_ms = coalesce(f.first_byte_ms, billing_usage.first_byte_ms),
        latency_ms = coalesce(f.latency_ms, billing_usage.latency_ms),
        upstream_cost = coalesce(f.upstream_cost, 0)
    from jsonb_to_record(item) as f (
        cost bigint, unknown boolean, source text, served text,
        provider text, price_id bigint, surface text, stream boolean, cancelled boolean,
        status smallint, reason text, input_tokens bigint, cached_tokens bigint,
        cache_write_tokens bigint, output_tokens bigint, reasoning_tokens bigint,
        pictures bigint, picture_size text, picture_quality text, searches bigint,
        first_byte_ms int, latency_ms int, upstream_cost bigint
    )
    where billing_usage.id = (item ->> 'id')::uuid and billing_usage.day = item_day
$$;


-- Closes holds: one round trip for a batch. The hold is deleted, its usage row is the
-- closed hold; transfers are written; balances and windows move. For form and lock order
-- see admit.sql.
--
-- items: [{id, day, state, cost, …facts of the usage row}], answered in order by
--        [{v, charged, uncollected, day}].
-- state: settled | voided | expired. cost: nano-dollars, exact, before any bound.
-- v: ok        closed now
--    late      was expired without a charge; this evidence is charged as far as there is money
--    already   closed before with this cost
--    conflict  closed before with another cost; nothing changes
--    unknown   neither an open hold nor a usage row
--    busy      somebody keeps one of its rows locked (careful only): try again
--    bad_item  a field is missing or out of range
--
-- A charge is never above its hold: the excess is booked as uncollected usage, an
-- operator's loss. So this never fails for want of money.
create or replace function billing_settle(items jsonb, careful boolean default false)
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
    n int := jsonb_array_length(items);
    now_ timestamptz;
    -- items
    i_id uuid[]; i_state text[]; i_cost bigint[]; i_good boolean[];
    first_day date; last_day date;
    -- open holds: their rows to lock, then what was deleted
    h_id uuid[]; h_account bigint[]; h_usd bigint[]; h_key bigint[]; h_granted bigint[];
    d_id uuid[]; d_account bigint[]; d_usd bigint[]; d_key bigint[]; d_workspace bigint[];
    d_asset text[]; d_amount bigint[]; d_granted bigint[]; d_unit bigint[]; d_day date[];
    d_model text[]; d_price bigint[]; d_created timestamptz[];
    -- closed before
    z_id uuid[]; z_day date[]; z_state text[]; z_account bigint[]; z_key bigint[];
    z_workspace bigint[]; z_asset text[]; z_hold bigint[]; z_unit bigint[]; z_cost bigint[];
    z_charged bigint[]; z_uncollected bigint[];
    -- home accounts, granted accounts, meters: what is there, and how it moves
    a_id bigint[]; a_workspace bigint[]; a_asset text[]; a_granted bigint[]; a_money bigint[];
    a_pending bigint[]; a_day date[]; a_month date[];
    a_debit bigint[]; a_release bigint[]; a_held bigint[]; a_day_used bigint[];
    a_month_used bigint[]; a_touched boolean[];
    g_id bigint[]; g_money bigint[]; g_pending bigint[]; g_debit bigint[]; g_release bigint[];
    m_id bigint[]; m_day date[]; m_month date[];
    m_held bigint[]; m_day_used bigint[]; m_month_used bigint[]; m_touched boolean[];
    m_spent bigint[];
    -- the house's accounts
    r_key text[]; r_id bigint[];
    -- answers
    o_verdict text[]; o_hold int[]; o_charged bigint[]; o_granted bigint[]; o_over bigint[];
    o_day date[];
    -- legs of transfers
    t_kind text[]; t_source uuid[]; t_debit bigint[]; t_credit bigint[]; t_asset text[];
    t_amount bigint[];
    late_items int[];
    go uuid[];
    a int; u int; g int; m int; p int; i int;
    unit bigint; day_ date; month date;
    charge bigint; from_granted bigint; from_paid bigint; nanos bigint; released bigint;
    revenue bigint;
    moved boolean := false;
    any_granted boolean := false;
    any_late boolean := false;
begin
    if n = 0 then
        return '[]';
    end if;

    -- The bounds let other months be skipped; for want of a day, every month is asked.
    select array_agg(id), array_agg(state), array_agg(cost),
           case when bool_or(day is null) then '-infinity' else min(day) end,
           case when bool_or(day is null) then 'infinity' else max(day) end
    into i_id, i_state, i_cost, first_day, last_day
    from (
        select *
        from rows from (
            jsonb_to_recordset(items) as (id uuid, day date, state text, cost bigint)
        ) with ordinality
        order by ordinality
    ) item;

    -- Which rows will move? Read without a lock, checked again under it.
    select array_agg(id), array_agg(account_id), array_agg(usd_account_id), array_agg(key_id),
           array_agg(granted)
    into h_id, h_account, h_usd, h_key, h_granted
    from billing_hold where id = any(i_id);
    if coalesce(cardinality(h_id), 0) < n then
        select array_agg(account_id), array_agg(key_id), array_agg(workspace_id)
        into z_account, z_key, z_workspace
        from billing_usage
        where id = any(i_id) and day between first_day and last_day and state = 'expired';
        if z_account is not null then
            any_late := true;
            h_account := h_account || z_account;
            h_key := h_key || z_key;
            select h_usd || array_agg(id) filter (where kind = 'paid' and asset = 'USD')
            into h_usd
            from billing_account where workspace_id = any(z_workspace);
        end if;
    end if;

    -- Lock and read.
    if h_account is not null and careful then
        select array_agg(id), array_agg(workspace_id), array_agg(asset), array_agg(granted_id),
               array_agg(credits_posted - debits_posted - floor), array_agg(debits_pending),
               array_agg(day), array_agg(date_trunc('month', day)::date)
        into a_id, a_workspace, a_asset, a_granted, a_money, a_pending, a_day, a_month
        from (
            select * from billing_account where id = any(h_account || h_usd)
            order by id + 0 for no key update skip locked
        ) home;
        select array_agg(id), array_agg(credits_posted - debits_posted - floor),
               array_agg(debits_pending)
        into g_id, g_money, g_pending
        from (
            select * from billing_account where id = any(a_granted)
            order by id + 0 for no key update skip locked
        ) granted;
        select array_agg(key_id), array_agg(day), array_agg(date_trunc('month', day)::date)
        into m_id, m_day, m_month
        from (
            select * from billing_keymeter where key_id = any(h_key)
            order by key_id + 0 for no key update skip locked
        ) meter;
    elsif h_account is not null then
        select array_agg(id), array_agg(workspace_id), array_agg(asset), array_agg(granted_id),
               array_agg(credits_posted - debits_posted - floor), array_agg(debits_pending),
               array_agg(day), array_agg(date_trunc('month', day)::date)
        into a_id, a_workspace, a_asset, a_granted, a_money, a_pending, a_day, a_month
        from (
            select * from billing_account where id = any(h_account || h_usd)
            order by id + 0 for no key update
        ) home;
        if any_late or 0 < any(h_granted) then
            select array_agg(id), array_agg(credits_posted - debits_posted - floor),
                   array_agg(debits_pending)
            into g_id, g_money, g_pending
            from (
                select * from billing_account
                where id = any(a_granted)
                order by id + 0 for no key update
            ) granted;
        end if;
        select array_agg(key_id), array_agg(day), array_agg(date_trunc('month', day)::date)
        into m_id, m_day, m_month
        from (
            select * from billing_keymeter where key_id = any(h_key)
            order by key_id + 0 for no key update
        ) meter;
    end if;
    now_ := billing_now();

    -- Take the holds whose rows are all ours now. Whoever deletes a hold has closed it.
    i_good := array_fill(false, array[n]);
    for i in 1 .. n loop
        i_good[i] := (
            i_id[i] is not null and i_cost[i] between 0 and most
            and (i_state[i] = 'settled' or (i_state[i] in ('voided', 'expired') and i_cost[i] = 0))
        ) is true;
        p := array_position(h_id, i_id[i]);
        if i_good[i] and p is not null then
            a := array_position(a_id, h_account[p]);
            if a is not null and array_position(a_id, h_usd[p]) is not null
                and array_position(m_id, h_key[p]) is not null
                and (h_granted[p] = 0 or array_position(g_id, a_granted[a]) is not null)
            then
                go := go || i_id[i];
            end if;
        end if;
    end loop;
    if go is not null then
        with closed as (delete from billing_hold where id = any(go) returning *)
        select array_agg(id), array_agg(account_id), array_agg(usd_account_id),
               array_agg(key_id), array_agg(workspace_id), array_agg(asset),
               array_agg(amount), array_agg(granted), array_agg(unit_nanos), array_agg(day),
               array_agg(model), array_agg(price_id), array_agg(created_at)
        into d_id, d_account, d_usd, d_key, d_workspace, d_asset, d_amount, d_granted, d_unit,
             d_day, d_model, d_price, d_created
        from closed;
    end if;

    -- What is left was closed before, is unknown, or has to wait.
    if coalesce(cardinality(d_id), 0) < n then
        select array_agg(id), array_agg(day), array_agg(state), array_agg(account_id),
               array_agg(key_id), array_agg(workspace_id), array_agg(asset), array_agg(hold),
               array_agg(unit_nanos), array_agg(cost), array_agg(charged),
               array_agg(uncollected)
        into z_id, z_day, z_state, z_account, z_key, z_workspace, z_asset, z_hold, z_unit,
             z_cost, z_charged, z_uncollected
        from billing_usage
        where id = any(i_id) and day between first_day and last_day;
    end if;

    select array_agg(kind || ' ' || asset), array_agg(id) into r_key, r_id
    from billing_account
    where workspace_id is null and kind = any(array['revenue', 'uncollected_usage']);

    a := coalesce(cardinality(a_id), 0);
    a_debit := array_fill(0::bigint, array[a]);
    a_release := a_debit;
    a_held := a_debit;
    a_day_used := a_debit;
    a_month_used := a_debit;
    a_touched := array_fill(false, array[a]);
    g := coalesce(cardinality(g_id), 0);
    g_debit := array_fill(0::bigint, array[g]);
    g_release := g_debit;
    m := coalesce(cardinality(m_id), 0);
    m_held := array_fill(0::bigint, array[m]);
    m_day_used := m_held;
    m_month_used := m_held;
    m_spent := m_held;
    m_touched := array_fill(false, array[m]);

    -- Decide.
    o_verdict := array_fill(null::text, array[n]);
    o_hold := array_fill(0, array[n]);
    o_charged := array_fill(0::bigint, array[n]);
    o_granted := o_charged;
    o_over := o_charged;
    o_day := array_fill(null::date, array[n]);
    for i in 1 .. n loop
        if not i_good[i] then
            o_verdict[i] := 'bad_item';
            continue;
        end if;
        p := array_position(d_id, i_id[i]);
        if p is not null then
            -- This batch closed it. Was it by an earlier item of the same id?
            m := array_position(o_hold, p);
            if m is not null then
                o_verdict[i] := case when i_cost[m] = i_cost[i] then 'already'
                                     else 'conflict' end;
                o_charged[i] := o_charged[m];
                o_over[i] := o_over[m];
                o_day[i] := d_day[p];
                continue;
            end if;
            a := array_position(a_id, d_account[p]);
            u := array_position(a_id, d_usd[p]);
            m := array_position(m_id, d_key[p]);
            g := array_position(g_id, a_granted[a]);
            unit := d_unit[p];
            day_ := d_day[p];
            charge := i_cost[i] / unit + (i_cost[i] % unit > 0)::int;
            released := d_amount[p] * unit;
            -- The hold's split is used: what was granted first, then what was paid. The
            -- bounds by what is posted only matter where an operator raised the floor.
            from_granted := least(charge, d_granted[p], greatest(coalesce(g_money[g], 0), 0));
            from_paid := least(least(charge, d_amount[p]) - from_granted,
                               greatest(a_money[a], 0));
            o_verdict[i] := 'ok';
            o_hold[i] := p;
            o_day[i] := d_day[p];
            a_release[a] := a_release[a] + d_amount[p] - d_granted[p];
            a_pending[a] := a_pending[a] - (d_amount[p] - d_granted[p]);
            if d_granted[p] > 0 then
                any_granted := true;
                g_release[g] := g_release[g] + d_granted[p];
                g_pending[g] := g_pending[g] - d_granted[p];
            end if;
        else
            p := array_position(z_id, i_id[i]);
            if p is null then
                o_verdict[i] := case
                    when array_position(h_id, i_id[i]) is null then 'unknown' else 'busy' end;
                continue;
            end if;
            o_charged[i] := z_charged[p];
            o_over[i] := z_uncollected[p];
            o_day[i] := z_day[p];
            if z_state[p] <> 'expired' or i_state[i] <> 'settled' then
                o_verdict[i] := case when z_cost[p] = i_cost[i] then 'already'
                                     else 'conflict' end;
                continue;
            end if;
            a := array_position(a_id, z_account[p]);
            u := null;
            for j in 1 .. coalesce(cardinality(a_id), 0) loop
                if a_workspace[j] = z_workspace[p] and a_asset[j] = 'USD' then
                    u := j;
                end if;
            end loop;
            m := array_position(m_id, z_key[p]);
            g := array_position(g_id, a_granted[a]);
            if a is null or u is null or m is null
                or (careful and g is null and a_granted[a] is not null)
            then
                o_verdict[i] := 'busy';
                continue;
            end if;
            -- Its hold is gone: only what no other hold has set aside can be taken.
            unit := z_unit[p];
            day_ := z_day[p];
            charge := i_cost[i] / unit + (i_cost[i] % unit > 0)::int;
            released := 0;
            from_granted := least(charge, z_hold[p],
                                  greatest(coalesce(g_money[g] - g_pending[g], 0), 0));
            from_paid := least(least(charge, z_hold[p]) - from_granted,
                               greatest(a_money[a] - a_pending[a], 0));
            o_verdict[i] := 'late';
            z_state[p] := 'late';
            z_cost[p] := i_cost[i];
            z_charged[p] := from_granted + from_paid;
            z_uncollected[p] := charge - from_granted - from_paid;
            late_items := late_items || i;
        end if;

        moved := true;
        o_granted[i] := from_granted;
        o_charged[i] := from_granted + from_paid;
        o_over[i] := charge - from_granted - from_paid;
        a_touched[a] := true;
        a_touched[u] := true;
        m_touched[m] := true;
        a_debit[a] := a_debit[a] + from_paid;
        a_money[a] := a_money[a] - from_paid;
        if from_granted > 0 then
            any_granted := true;
            g_debit[g] := g_debit[g] + from_granted;
            g_money[g] := g_money[g] - from_granted;
        end if;
        if charge > 0 then
            p := array_position(r_key, 'revenue ' || a_asset[a]);
            if p is null then
                r_key := r_key || ('revenue ' || a_asset[a]);
                r_id := r_id || billing_house_account('revenue', a_asset[a]);
                p := cardinality(r_key);
            end if;
            revenue := r_id[p];
            if from_granted > 0 then
                t_kind := t_kind || 'usage.granted'::text;
                t_source := t_source || i_id[i];
                t_debit := t_debit || g_id[g];
                t_credit := t_credit || revenue;
                t_asset := t_asset || a_asset[a];
                t_amount := t_amount || from_granted;
            end if;
            if from_paid > 0 then
                t_kind := t_kind || 'usage.paid'::text;
                t_source := t_source || i_id[i];
                t_debit := t_debit || a_id[a];
                t_credit := t_credit || revenue;
                t_asset := t_asset || a_asset[a];
                t_amount := t_amount || from_paid;
            end if;
            if o_over[i] > 0 then
                p := array_position(r_key, 'uncollected_usage ' || a_asset[a]);
                if p is null then
                    r_key := r_key || ('uncollected_usage ' || a_asset[a]);
                    r_id := r_id || billing_house_account('uncollected_usage', a_asset[a]);
                    p := cardinality(r_key);
                end if;
                t_kind := t_kind || 'usage.uncollected'::text;
                t_source := t_source || i_id[i];
                t_debit := t_debit || r_id[p];
                t_credit := t_credit || revenue;
                t_asset := t_asset || a_asset[a];
                t_amount := t_amount || o_over[i];
            end if;
        end if;

        -- Midnight moves no money between windows: one only learns of holds admitted in it.
        nanos := least(i_cost[i], o_charged[i] * unit) - released;
        month := date_trunc('month', day_);
        a_held[u] := a_held[u] - released;
        if day_ = a_day[u] then
            a_day_used[u] := a_day_used[u] + nanos;
        end if;
        if month = a_month[u] then
            a_month_used[u] := a_month_used[u] + nanos;
        end if;
        m_held[m] := m_held[m] - released;
        m_spent[m] := m_spent[m] + nanos + released;
        if day_ = m_day[m] then
            m_day_used[m] := m_day_used[m] + nanos;
        end if;
        if month = m_month[m] then
            m_month_used[m] := m_month_used[m] + nanos;
        end if;
    end loop;

    -- Write.
    if d_id is not null then
        insert into billing_usage (
            id, day, workspace_id, key_id, account_id, asset, unit_nanos, hold,
            granted, charged, uncollected, cost, state, unknown, source,
            model, served, provider, price_id, surface, stream, cancelled, status, reason,
            input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
            pictures, picture_size, picture_quality, searches,
            created_at, closed_at, first_byte_ms, latency_ms, upstream_cost
        )
        select
            id, d_day[o_hold[n]], d_workspace[o_hold[n]], d_key[o_hold[n]],
            d_account[o_hold[n]], d_asset[o_hold[n]], d_unit[o_hold[n]], d_amount[o_hold[n]],
            o_granted[n], o_charged[n], o_over[n], cost, state, coalesce(unknown, false),
            coalesce(source, 'none'), d_model[o_hold[n]], coalesce(served, ''),
            coalesce(provider, ''), coalesce(item.price_id, d_price[o_hold[n]]),
            coalesce(surface, ''), coalesce(stream, false), coalesce(cancelled, false),
            status, coalesce(reason, ''),
            coalesce(input_tokens, 0), coalesce(cached_tokens, 0),
            coalesce(cache_write_tokens, 0), coalesce(output_tokens, 0),
            coalesce(reasoning_tokens, 0), coalesce(pictures, 0), coalesce(picture_size, ''),
            coalesce(picture_quality, ''), coalesce(searches, 0),
            d_created[o_hold[n]], now_, first_byte_ms, latency_ms, coalesce(upstream_cost, 0)
        from rows from (
            jsonb_to_recordset(items) as (
                id uuid, state text, cost bigint, unknown boolean, source text, served text,
                provider text, price_id bigint, surface text, stream boolean, cancelled boolean,
                status smallint, reason text, input_tokens bigint, cached_tokens bigint,
                cache_write_tokens bigint, output_tokens bigint, reasoning_tokens bigint,
                pictures bigint, picture_size text, picture_quality text, searches bigint,
                first_byte_ms int, latency_ms int, upstream_cost bigint
            )
        ) with ordinality as item (
            id, state, cost, unknown, source, served, provider, price_id, surface, stream,
            cancelled, status, reason, input_tokens, cached_tokens, cache_write_tokens,
            output_tokens, reasoning_tokens, pictures, picture_size, picture_quality,
            searches, first_byte_ms, latency_ms, upstream_cost, n
        )
        where o_hold[n] > 0
        -- An admission that the server finished after its answer was given up, and after the
        -- call was closed, leaves a hold of a closed id: giving it back adds no record.
        on conflict (id, day) do nothing;
    end if;

    if late_items is not null then
        foreach i in array late_items loop
            perform billing_usage_late(items -> (i - 1), o_day[i], o_granted[i], o_charged[i],
                                       o_over[i], now_);
        end loop;
    end if;

    if t_kind is not null then
        insert into billing_transfer (kind, source, debit_id, credit_id, asset, amount, at)
        select kind, source, debit, credit, asset, amount, now_
        from unnest(t_kind, t_source, t_debit, t_credit, t_asset, t_amount)
            as leg (kind, source, debit, credit, asset, amount);
    end if;

    -- Never negative: a counter that had drifted must not stop settlements. Drift is what
    -- verify_ledger looks for.
    if moved then
        update billing_account
        set debits_posted = debits_posted + a_debit[array_position(a_id, id)],
            debits_pending
                = greatest(debits_pending - a_release[array_position(a_id, id)], 0),
            held = greatest(held + a_held[array_position(a_id, id)], 0),
            day_used = greatest(day_used + a_day_used[array_position(a_id, id)], 0),
            month_used = greatest(month_used + a_month_used[array_position(a_id, id)], 0)
        where id = any(a_id) and a_touched[array_position(a_id, id)];

        if any_granted then
            update billing_account
            set debits_posted = debits_posted + g_debit[array_position(g_id, id)],
                debits_pending
                    = greatest(debits_pending - g_release[array_position(g_id, id)], 0)
            where id = any(g_id)
                and g_debit[array_position(g_id, id)] + g_release[array_position(g_id, id)] > 0;
        end if;

        update billing_keymeter
        set held = greatest(held + m_held[array_position(m_id, key_id)], 0),
            day_used = greatest(day_used + m_day_used[array_position(m_id, key_id)], 0),
            month_used = greatest(month_used + m_month_used[array_position(m_id, key_id)], 0),
            spent = spent + m_spent[array_position(m_id, key_id)]
        where key_id = any(m_id) and m_touched[array_position(m_id, key_id)];
    end if;

    return (
        select jsonb_agg(jsonb_build_object(
            'v', v, 'charged', charged, 'uncollected', uncollected, 'day', day
        ))
        from unnest(o_verdict, o_charged, o_over, o_day) as answer (v, charged, uncollected, day)
    );
end $$;

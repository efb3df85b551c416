-- Sets money aside for calls that are about to be made: one round trip for a batch.
--
-- The form is deliberate, because the natural ways of writing this pass every functional
-- test and collapse under load: lock and read into arrays, decide in memory, write
-- set-based with `where id = any(…)`. No joins (a stale plan scans the whole table), no
-- EXCEPTION blocks (subtransactions make multixacts on hot rows), no update per item
-- (row versions pile up on the page that everybody waits for).
--
-- Lock order, here and everywhere: home accounts by id, their granted accounts by id, key
-- meters by id, FOR NO KEY UPDATE; holds only under their account's lock.
--
-- items: [{id, account, usd_account, workspace, key, version, want, need, unit, ttl,
--          process, model, price, legs, surface, stream}], answered in order by
--          [{v, granted, day}].
-- want and need are in the asset's units, `unit` is what one of them is worth in
-- nano-dollars, ttl is in seconds. `legs` says where the call may go and at which prices,
-- `surface` and `stream` how it was asked: kept with the hold as they came. A window's `used` is spent + held.
-- careful: rows that somebody keeps locked are passed over and their items are `busy`.
create or replace function billing_admit(items jsonb, careful boolean default false)
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
    today date;
    month date;
    -- items
    i_id uuid[]; i_account bigint[]; i_usd bigint[]; i_workspace bigint[]; i_key bigint[];
    i_version bigint[]; i_want bigint[]; i_need bigint[]; i_unit bigint[]; i_ttl int[];
    i_process bigint[]; i_model text[]; i_price bigint[]; i_legs text[];
    i_surface text[]; i_stream boolean[];
    -- home accounts: balance above the floor, free of holds; windows as of today
    a_id bigint[]; a_workspace bigint[]; a_asset text[]; a_granted bigint[]; a_frozen boolean[];
    a_posted bigint[]; a_free bigint[]; a_day date[]; a_day_used bigint[]; a_month_used bigint[];
    a_held bigint[]; a_day_cap bigint[]; a_month_cap bigint[];
    a_pending bigint[]; a_touched boolean[];
    -- granted accounts
    g_id bigint[]; g_posted bigint[]; g_free bigint[]; g_pending bigint[];
    -- key meters and the versions of keys that are active
    m_id bigint[]; m_day date[]; m_day_used bigint[]; m_month_used bigint[];
    m_held bigint[]; m_day_cap bigint[]; m_month_cap bigint[]; m_touched boolean[];
    k_id bigint[]; k_version bigint[];
    -- holds that exist already
    h_id uuid[]; h_account bigint[]; h_key bigint[]; h_amount bigint[]; h_day date[];
    -- answers
    o_verdict text[]; o_amount bigint[]; o_granted bigint[]; o_day date[]; o_new boolean[];
    a int; u int; g int; m int; p int;
    room bigint; free bigint; amount bigint; nanos bigint; part bigint;
    any_new boolean := false;
    any_granted boolean := false;
begin
    if n = 0 then
        return '[]';
    end if;

    select array_agg(id), array_agg(account), array_agg(usd_account), array_agg(workspace),
           array_agg(key), array_agg(version), array_agg(want), array_agg(need),
           array_agg(unit), array_agg(ttl), array_agg(process), array_agg(model),
           array_agg(price), array_agg(legs), array_agg(surface), array_agg(stream)
    into i_id, i_account, i_usd, i_workspace, i_key, i_version, i_want, i_need,
         i_unit, i_ttl, i_process, i_model, i_price, i_legs, i_surface, i_stream
    from (
        select *
        from rows from (
            jsonb_to_recordset(items) as (
                id uuid, account bigint, usd_account bigint, workspace bigint, key bigint,
                version bigint, want bigint, need bigint, unit bigint, ttl int,
                process bigint, model text, price bigint, legs text, surface text,
                stream boolean
            )
        ) with ordinality
        order by ordinality
    ) item;

    -- Lock and read. The ids are all that an index may serve here: a plan made while the
    -- table is small would take any other chance (a second condition, the order), and walk
    -- a whole index ever after. So there is no other condition, and the order is of id + 0.
    if careful then
        select array_agg(id), array_agg(workspace_id), array_agg(asset), array_agg(granted_id),
               array_agg(frozen), array_agg(credits_posted - debits_posted - floor),
               array_agg(credits_posted - debits_posted - floor - debits_pending),
               array_agg(day), array_agg(day_used), array_agg(month_used), array_agg(held),
               array_agg(day_cap), array_agg(month_cap)
        into a_id, a_workspace, a_asset, a_granted, a_frozen, a_posted, a_free,
             a_day, a_day_used, a_month_used, a_held, a_day_cap, a_month_cap
        from (
            select * from billing_account where id = any(i_account || i_usd)
            order by id + 0 for no key update skip locked
        ) home;
        select array_agg(id), array_agg(credits_posted - debits_posted - floor),
               array_agg(credits_posted - debits_posted - floor - debits_pending)
        into g_id, g_posted, g_free
        from (
            select * from billing_account where id = any(a_granted)
            order by id + 0 for no key update skip locked
        ) granted;
        select array_agg(key_id), array_agg(day), array_agg(day_used), array_agg(month_used),
               array_agg(held), array_agg(day_cap), array_agg(month_cap)
        into m_id, m_day, m_day_used, m_month_used, m_held, m_day_cap, m_month_cap
        from (
            select * from billing_keymeter where key_id = any(i_key)
            order by key_id + 0 for no key update skip locked
        ) meter;
    else
        select array_agg(id), array_agg(workspace_id), array_agg(asset), array_agg(granted_id),
               array_agg(frozen), array_agg(credits_posted - debits_posted - floor),
               array_agg(credits_posted - debits_posted - floor - debits_pending),
               array_agg(day), array_agg(day_used), array_agg(month_used), array_agg(held),
               array_agg(day_cap), array_agg(month_cap)
        into a_id, a_workspace, a_asset, a_granted, a_frozen, a_posted, a_free,
             a_day, a_day_used, a_month_used, a_held, a_day_cap, a_month_cap
        from (
            select * from billing_account where id = any(i_account || i_usd)
            order by id + 0 for no key update
        ) home;
        -- Under the home's lock nobody changes these: an empty one needs no lock of its own.
        select array_agg(id), array_agg(credits_posted - debits_posted - floor),
               array_agg(credits_posted - debits_posted - floor - debits_pending)
        into g_id, g_posted, g_free
        from (
            select * from billing_account
            where id = any(a_granted) and credits_posted > debits_posted
            order by id + 0 for no key update
        ) granted;
        select array_agg(key_id), array_agg(day), array_agg(day_used), array_agg(month_used),
               array_agg(held), array_agg(day_cap), array_agg(month_cap)
        into m_id, m_day, m_day_used, m_month_used, m_held, m_day_cap, m_month_cap
        from (
            select * from billing_keymeter where key_id = any(i_key)
            order by key_id + 0 for no key update
        ) meter;
    end if;

    -- The clock is read after the locks: read before them, a transaction that waited over
    -- midnight would turn the windows back and a cap could be spent twice.
    now_ := billing_now();
    today := (now_ at time zone 'UTC')::date;
    if today + 1 = any(a_day) or today + 1 = any(m_day) then
        today := today + 1;
    end if;
    month := date_trunc('month', today);

    select array_agg(id), array_agg(version) into k_id, k_version
    from accounts_apikey
    where id = any(i_key) and disabled_at is null and deleted_at is null
        and (expires_at is null or expires_at > now_);

    select array_agg(id), array_agg(account_id), array_agg(key_id), array_agg(amount),
           array_agg(day)
    into h_id, h_account, h_key, h_amount, h_day
    from billing_hold where id = any(i_id);

    -- A window that was last written on another day begins anew.
    a_pending := array_fill(0::bigint, array[coalesce(cardinality(a_id), 0)]);
    a_touched := array_fill(false, array[coalesce(cardinality(a_id), 0)]);
    for j in 1 .. coalesce(cardinality(a_id), 0) loop
        if a_day[j] < today then
            a_day_used[j] := 0;
            if a_day[j] < month then
                a_month_used[j] := 0;
            end if;
        end if;
    end loop;
    g_pending := array_fill(0::bigint, array[coalesce(cardinality(g_id), 0)]);
    m_touched := array_fill(false, array[coalesce(cardinality(m_id), 0)]);
    for j in 1 .. coalesce(cardinality(m_id), 0) loop
        if m_day[j] < today then
            m_day_used[j] := 0;
            if m_day[j] < month then
                m_month_used[j] := 0;
            end if;
        end if;
    end loop;

    -- Decide.
    o_verdict := array_fill(null::text, array[n]);
    o_amount := array_fill(0::bigint, array[n]);
    o_granted := array_fill(0::bigint, array[n]);
    o_day := array_fill(null::date, array[n]);
    o_new := array_fill(false, array[n]);
    for i in 1 .. n loop
        if (
            i_id[i] is not null and i_workspace[i] is not null and i_version[i] is not null
            and i_process[i] is not null and i_model[i] is not null
            and i_account[i] is not null and i_usd[i] is not null and i_key[i] is not null
            and i_need[i] >= 1 and i_want[i] >= i_need[i] and i_unit[i] >= 1
            and i_want[i] <= most / greatest(i_unit[i], 1) and i_ttl[i] between 1 and 604800
        ) is not true then
            o_verdict[i] := 'bad_item';
            continue;
        end if;

        -- An id that holds already, from before or from this batch, gets its first answer;
        -- asked before there is a look at room, or a retry would be refused for its own hold.
        p := array_position(h_id, i_id[i]);
        if p is not null then
            if h_account[p] = i_account[i] and h_key[p] = i_key[i] then
                o_verdict[i] := 'ok';
                o_amount[i] := h_amount[p];
                o_day[i] := h_day[p];
            else
                o_verdict[i] := 'bad_item';
            end if;
            continue;
        end if;

        a := array_position(a_id, i_account[i]);
        u := array_position(a_id, i_usd[i]);
        m := array_position(m_id, i_key[i]);
        g := array_position(g_id, a_granted[a]);
        if a is null or u is null or m is null then
            o_verdict[i] := 'unknown_account';
            if careful then
                -- Passed over because it is locked, or not there at all?
                if exists (select from billing_account where id = i_account[i])
                    and exists (select from billing_account where id = i_usd[i])
                    and exists (select from billing_keymeter where key_id = i_key[i])
                then
                    o_verdict[i] := 'busy';
                end if;
            end if;
            continue;
        end if;
        -- Only a home has a granted account.
        if a_granted[a] is null or a_granted[u] is null then
            o_verdict[i] := 'unknown_account';
            continue;
        end if;
        if careful and g is null then
            o_verdict[i] := 'busy';
            continue;
        end if;
        if a_workspace[a] <> i_workspace[i] or a_workspace[u] <> i_workspace[i]
            or a_asset[u] <> 'USD' or a_day[u] > today or m_day[m] > today
            or (a = u and i_unit[i] <> 1) or (a <> u and a_asset[a] = 'USD')
        then
            o_verdict[i] := 'bad_item';
            continue;
        end if;
        p := array_position(k_id, i_key[i]);
        if p is null or k_version[p] <> i_version[i] then
            o_verdict[i] := 'stale';
            continue;
        end if;
        if a_frozen[u] then
            o_verdict[i] := 'frozen';
            continue;
        end if;

        free := a_free[a] + coalesce(g_free[g], 0);
        room := least(a_day_cap[u] - a_day_used[u], a_month_cap[u] - a_month_used[u],
                      m_day_cap[m] - m_day_used[m], m_month_cap[m] - m_month_used[m]);
        amount := least(i_want[i], free, greatest(room, 0) / i_unit[i]);
        if room is null then
            amount := least(i_want[i], free);
        end if;
        if amount >= i_need[i] then
            nanos := amount * i_unit[i];
            part := greatest(least(amount, coalesce(g_free[g], 0)), 0);
            o_verdict[i] := 'ok';
            o_amount[i] := amount;
            o_granted[i] := part;
            o_day[i] := today;
            o_new[i] := true;
            any_new := true;
            -- A later item with this id finds it here.
            h_id := h_id || i_id[i];
            h_account := h_account || i_account[i];
            h_key := h_key || i_key[i];
            h_amount := h_amount || amount;
            h_day := h_day || today;
            if part > 0 then
                any_granted := true;
                g_free[g] := g_free[g] - part;
                g_pending[g] := g_pending[g] + part;
            end if;
            a_free[a] := a_free[a] - (amount - part);
            a_pending[a] := a_pending[a] + (amount - part);
            a_touched[a] := true;
            a_touched[u] := true;
            a_day_used[u] := a_day_used[u] + nanos;
            a_month_used[u] := a_month_used[u] + nanos;
            a_held[u] := a_held[u] + nanos;
            m_touched[m] := true;
            m_day_used[m] := m_day_used[m] + nanos;
            m_month_used[m] := m_month_used[m] + nanos;
            m_held[m] := m_held[m] + nanos;
            continue;
        end if;

        -- Refused: first what no open hold can change, then what waits for one.
        nanos := i_need[i] * i_unit[i];
        o_amount[i] := greatest(amount, 0);
        o_verdict[i] := case
            when a_posted[a] + coalesce(g_posted[g], 0) < i_need[i] then 'insufficient_balance'
            when a_day_cap[u] - greatest(a_day_used[u] - a_held[u], 0) < nanos then 'ws_day'
            when a_month_cap[u] - greatest(a_month_used[u] - a_held[u], 0) < nanos
                then 'ws_month'
            when m_day_cap[m] - greatest(m_day_used[m] - m_held[m], 0) < nanos then 'key_day'
            when m_month_cap[m] - greatest(m_month_used[m] - m_held[m], 0) < nanos
                then 'key_month'
            when free < i_need[i] then 'balance_reserved'
            when a_day_cap[u] - a_day_used[u] < nanos then 'ws_day_held'
            when a_month_cap[u] - a_month_used[u] < nanos then 'ws_month_held'
            when m_day_cap[m] - m_day_used[m] < nanos then 'key_day_held'
            else 'key_month_held'
        end;
    end loop;

    -- Write.
    if any_new then
        insert into billing_hold (
            id, account_id, usd_account_id, workspace_id, key_id, asset, amount, granted,
            unit_nanos, day, process_id, model, price_id, legs, surface, stream, created_at,
            expires_at
        )
        select id, account, usd, workspace, key, a_asset[array_position(a_id, account)],
               amount, granted, unit, today, process, model, price, coalesce(legs, ''),
               coalesce(surface, ''), coalesce(stream, false), now_,
               now_ + make_interval(secs => ttl)
        from unnest(i_id, i_account, i_usd, i_workspace, i_key, i_unit, i_process, i_model,
                    i_price, i_legs, i_surface, i_stream, i_ttl, o_amount, o_granted, o_new)
            as item (id, account, usd, workspace, key, unit, process, model,
                     price, legs, surface, stream, ttl, amount, granted, fresh)
        where fresh;

        update billing_account
        set debits_pending = debits_pending + a_pending[array_position(a_id, id)],
            day = today,
            day_used = a_day_used[array_position(a_id, id)],
            month_used = a_month_used[array_position(a_id, id)],
            held = a_held[array_position(a_id, id)]
        where id = any(a_id) and a_touched[array_position(a_id, id)];

        if any_granted then
            update billing_account
            set debits_pending = debits_pending + g_pending[array_position(g_id, id)]
            where id = any(g_id) and g_pending[array_position(g_id, id)] > 0;
        end if;

        update billing_keymeter
        set day = today,
            day_used = m_day_used[array_position(m_id, key_id)],
            month_used = m_month_used[array_position(m_id, key_id)],
            held = m_held[array_position(m_id, key_id)],
            last_used_at = now_
        where key_id = any(m_id) and m_touched[array_position(m_id, key_id)];
    end if;

    return (
        select jsonb_agg(jsonb_build_object('v', v, 'granted', granted, 'day', day))
        from unnest(o_verdict, o_amount, o_day) as answer (v, granted, day)
    );
end $$;

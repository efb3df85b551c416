-- A workspace's paid and granted account of one asset; made once, whoever asks first.
create or replace function billing_open_account(
    workspace bigint, wanted_asset text, daily bigint, monthly bigint
) returns void
language plpgsql
set search_path = pg_catalog, public, pg_temp
as $$
declare
    granted bigint;
begin
    -- One opener at a time: without it a second one could find the granted account of a
    -- transaction that then rolls back.
    perform 1 from accounts_workspace where id = workspace for no key update;
    if exists (
        select from billing_account
        where workspace_id = workspace and kind = 'paid' and asset = wanted_asset
    ) then
        return;
    end if;
    insert into billing_account (workspace_id, kind, asset, bounded)
    values (workspace, 'granted', wanted_asset, true)
    returning id into granted;
    insert into billing_account
        (workspace_id, kind, asset, bounded, granted_id, day_cap, month_cap)
    values (workspace, 'paid', wanted_asset, true, granted, daily, monthly);
end $$;


-- The house's account of a kind and an asset, made when it is first needed.
create or replace function billing_house_account(wanted_kind text, wanted_asset text)
returns bigint
language plpgsql
set search_path = pg_catalog, public, pg_temp
as $$
declare
    found_id bigint;
begin
    select id into found_id from billing_account
    where workspace_id is null and kind = wanted_kind and asset = wanted_asset;
    if found_id is null then
        insert into billing_account (kind, asset) values (wanted_kind, wanted_asset)
        on conflict do nothing
        returning id into found_id;
        if found_id is null then
            select id into found_id from billing_account
            where workspace_id is null and kind = wanted_kind and asset = wanted_asset;
        end if;
    end if;
    return found_id;
end $$;

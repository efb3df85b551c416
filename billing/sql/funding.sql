-- Sets paid money aside for a refund under way, once per source: true where it is new.
--
-- Raises TG002 where what no call and no other refund holds does not suffice (a floor below
-- zero is credit for calls, not money to give back), TG001 where the source set another amount
-- aside, TG003 for an unusable amount.
create or replace function billing_reserve(wanted_source uuid, home bigint, wanted bigint)
returns boolean
language plpgsql
set search_path = pg_catalog, public, pg_temp
set lock_timeout = '5s'
as $$
declare
    before billing_fundhold;
begin
    if wanted is null or wanted < 1 then
        raise exception 'not an amount: %', wanted using errcode = 'TG003';
    end if;
    perform 1 from billing_account
    where id = home and bounded and kind = 'paid' for no key update;
    if not found then
        raise exception 'account % is no paid account', home using errcode = 'TG003';
    end if;
    select * into before from billing_fundhold where source = wanted_source;
    if before.source is not null then
        if (before.account_id, before.amount) is distinct from (home, wanted) then
            raise exception '% set another amount aside', wanted_source using errcode = 'TG001';
        end if;
        return false;
    end if;
    update billing_account set debits_pending = debits_pending + wanted
    where id = home and credits_posted - debits_posted - debits_pending - wanted >= 0;
    if not found then
        raise exception 'the paid money that nothing holds does not suffice'
            using errcode = 'TG002';
    end if;
    insert into billing_fundhold (source, account_id, amount)
    values (wanted_source, home, wanted);
    return true;
end $$;


-- Ends what billing_reserve set aside; the amount, or 0 where nothing was.
create or replace function billing_release(wanted_source uuid)
returns bigint
language plpgsql
set search_path = pg_catalog, public, pg_temp
set lock_timeout = '5s'
as $$
declare
    before billing_fundhold;
begin
    perform 1 from billing_account
    where id = (select account_id from billing_fundhold where source = wanted_source)
    for no key update;
    delete from billing_fundhold where source = wanted_source returning * into before;
    if before.source is null then
        return 0;
    end if;
    update billing_account set debits_pending = debits_pending - before.amount
    where id = before.account_id;
    return before.amount;
end $$;

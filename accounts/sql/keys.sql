-- Keys: the version that caches are checked against, and rules that span rows.
--
-- accounts_apikey.version rises whenever anything changes that decides what a key may do: the
-- key itself, its workspaces, its owner's standing, a workspace or a tier. A copy of a key with
-- an older version is stale. Functions that touch several keys lock them in the order of their
-- ids first, so that two of them never wait for each other in a circle.

create or replace function accounts_apikey_changed() returns trigger
language plpgsql as $$
begin
    if (new.user_id, new.service_account_id, new.public_id)
        is distinct from (old.user_id, old.service_account_id, old.public_id)
        or (new.digest <> old.digest and new.pepper_id = old.pepper_id) then
        raise exception 'an API key never changes its secret or its owner'
            using errcode = 'integrity_constraint_violation';
    end if;
    if old.deleted_at is not null and new.deleted_at is null then
        raise exception 'a deleted API key stays deleted'
            using errcode = 'integrity_constraint_violation';
    end if;
    if new.pepper_id <> old.pepper_id then
        -- The same secret under another pepper: nothing that it opens changes, so no copy is stale.
        if to_jsonb(new) - '{digest,pepper_id}'::text[]
            <> to_jsonb(old) - '{digest,pepper_id}'::text[] then
            raise exception 'an API key that is hashed anew changes in nothing else'
                using errcode = 'integrity_constraint_violation';
        end if;
        return new;
    end if;
    new.version := old.version + 1;
    return new;
end $$;

create or replace trigger accounts_apikey_changed
before update on accounts_apikey
for each row execute function accounts_apikey_changed();


create or replace function accounts_touch_keys(key_ids bigint[]) returns void
language plpgsql as $$
begin
    perform 1 from accounts_apikey where id = any (key_ids) order by id for no key update;
    update accounts_apikey set version = version where id = any (key_ids);
end $$;


-- A person's key enters a workspace only while the person is a member, a service account's key
-- only its own workspace. FOR KEY SHARE makes a removal that runs at the same time wait, so that
-- it sees the new row and deletes it.
create or replace function accounts_apikeyworkspace_allowed() returns trigger
language plpgsql as $$
begin
    perform 1
    from accounts_apikey k
    join accounts_membership m on m.user_id = k.user_id and m.workspace_id = new.workspace_id
    where k.id = new.key_id
    for key share of m;
    if not found then
        perform 1
        from accounts_apikey k
        join accounts_serviceaccount s
            on s.id = k.service_account_id and s.workspace_id = new.workspace_id
        where k.id = new.key_id;
        if not found then
            raise exception 'the owner of the API key has no role in the workspace'
                using errcode = 'integrity_constraint_violation';
        end if;
    end if;
    return new;
end $$;

create or replace trigger accounts_apikeyworkspace_allowed
before insert or update on accounts_apikeyworkspace
for each row execute function accounts_apikeyworkspace_allowed();


create or replace function accounts_apikeyworkspace_changed() returns trigger
language plpgsql as $$
begin
    -- OLD is null on insert and NEW on delete: any() passes over nulls.
    perform accounts_touch_keys(array[old.key_id, new.key_id]);
    return null;
end $$;

create or replace trigger accounts_apikeyworkspace_changed
after insert or update or delete on accounts_apikeyworkspace
for each row execute function accounts_apikeyworkspace_changed();


create or replace function accounts_membership_changed() returns trigger
language plpgsql as $$
begin
    perform accounts_touch_keys(array(
        select k.id
        from accounts_apikey k
        join accounts_apikeyworkspace w on w.key_id = k.id
        where k.user_id = new.user_id and w.workspace_id = new.workspace_id
    ));
    return null;
end $$;

create or replace trigger accounts_membership_changed
after update on accounts_membership
for each row when (old.role is distinct from new.role)
execute function accounts_membership_changed();


create or replace function accounts_membership_removed() returns trigger
language plpgsql as $$
begin
    -- In the order of ids, before the rows' own trigger takes the keys in any order.
    perform 1
    from accounts_apikey k
    join accounts_apikeyworkspace w on w.key_id = k.id
    where k.user_id = old.user_id and w.workspace_id = old.workspace_id
    order by k.id
    for no key update of k;
    delete from accounts_apikeyworkspace w
    using accounts_apikey k
    where k.id = w.key_id and k.user_id = old.user_id and w.workspace_id = old.workspace_id;
    return null;
end $$;

create or replace trigger accounts_membership_removed
after delete on accounts_membership
for each row execute function accounts_membership_removed();


create or replace function accounts_never_moves() returns trigger
language plpgsql as $$
begin
    raise exception '% rows never move to another workspace or person', tg_table_name
        using errcode = 'integrity_constraint_violation';
end $$;

create or replace trigger accounts_membership_never_moves
before update on accounts_membership
for each row when (
    (old.workspace_id, old.user_id) is distinct from (new.workspace_id, new.user_id)
) execute function accounts_never_moves();

create or replace trigger accounts_serviceaccount_never_moves
before update on accounts_serviceaccount
for each row when (old.workspace_id is distinct from new.workspace_id)
execute function accounts_never_moves();


create or replace function accounts_serviceaccount_changed() returns trigger
language plpgsql as $$
begin
    perform accounts_touch_keys(array(
        select id from accounts_apikey where service_account_id = new.id
    ));
    return null;
end $$;

create or replace trigger accounts_serviceaccount_changed
after update on accounts_serviceaccount
for each row when ((old.role, old.disabled_at) is distinct from (new.role, new.disabled_at))
execute function accounts_serviceaccount_changed();


create or replace function accounts_user_changed() returns trigger
language plpgsql as $$
begin
    perform accounts_touch_keys(array(select id from accounts_apikey where user_id = new.id));
    return null;
end $$;

create or replace trigger accounts_user_changed
after update on accounts_user
for each row when (old.is_active is distinct from new.is_active)
execute function accounts_user_changed();


create or replace function accounts_workspace_changed() returns trigger
language plpgsql as $$
begin
    perform accounts_touch_keys(array(
        select key_id from accounts_apikeyworkspace where workspace_id = new.id
    ));
    return null;
end $$;

-- The last by its name: the first migration that loads this file has no such column yet.
create or replace trigger accounts_workspace_changed
after update on accounts_workspace
for each row when (
    (old.closed_at, old.external_id, old.tier_id, to_jsonb(old) -> 'prompt_logging')
    is distinct from
    (new.closed_at, new.external_id, new.tier_id, to_jsonb(new) -> 'prompt_logging')
) execute function accounts_workspace_changed();


create or replace function accounts_tier_changed() returns trigger
language plpgsql as $$
begin
    perform accounts_touch_keys(array(
        select distinct w.key_id
        from accounts_apikeyworkspace w
        join accounts_workspace s on s.id = w.workspace_id
        where s.tier_id = new.id
    ));
    return null;
end $$;

create or replace trigger accounts_tier_changed
after update on accounts_tier
for each row when (old.default_rpm is distinct from new.default_rpm)
execute function accounts_tier_changed();

-- The audit log is append-only, whoever asks. When an account has ended, what names the person
-- may be blanked, and nothing else: who did what, when and to which id stays.

create or replace function accounts_refuse_change() returns trigger
language plpgsql as $$
begin
    raise exception '% is append-only: % refused', tg_table_name, tg_op
        using errcode = 'restrict_violation';
end $$;

create or replace trigger accounts_auditevent_append_only
before delete or truncate on accounts_auditevent
for each statement execute function accounts_refuse_change();

-- Whether a text names a mail address: that address, not one that only contains it. What stands
-- around it may be no part of an address; an apostrophe is one after a letter (o'neil@…).
create or replace function accounts_names_address(said text, address text) returns boolean
language sql immutable
as $$
    select strpos(lower(said), address) > 0 and lower(said) ~ (
        '(?<![[:alnum:].!#$%&+_~-])(?<![[:alnum:]]'')'
        || regexp_replace(address, '([^[:alnum:]@])', '\\\1', 'g')
        || '(?![[:alnum:]_-]|\.[[:alnum:]])'
    )
$$;

-- The same for any text within a document.
create or replace function accounts_names_address(said jsonb, address text) returns boolean
language sql immutable
as $$
    select strpos(lower(said::text), substring(address from '@[^@]*$')) > 0 and exists (
        select from jsonb_path_query(said, 'strict $.**') part
        where jsonb_typeof(part) = 'string' and accounts_names_address(part #>> '{}', address)
    )
$$;

-- Whether an id is that of a seat of somebody's, now or once, or of an invitation they took:
-- a name alone is anybody's.
create or replace function accounts_is_place_of(place text, person accounts_user) returns boolean
language plpgsql stable
as $$
begin
    if place like 'inv\_%' then
        return exists (select from accounts_invitation i
                       where i.public_id = place and i.accepted_by_id = person.id);
    end if;
    return place like 'mem\_%' and (
        exists (select from accounts_membership m
                where m.public_id = place and m.user_id = person.id)
        or exists (select from accounts_auditevent e
                   where e.target = place
                     and ((e.action = 'member.left' and e.user_id = person.id)
                          or person.public_id in (e.before ->> 'user_id', e.after ->> 'user_id'))));
end $$;

-- Blanked is only what accounts_audit_forget blanks, in events that are the erased person's: of
-- their personal workspace, about them or a place of theirs, with their mail address or network
-- address.
create or replace function accounts_auditevent_guard() returns trigger
language plpgsql as $$
declare
    person accounts_user;
    theirs boolean;
    named boolean;
begin
    select u.* into person from accounts_user u
    where u.id = nullif(current_setting('tollgate.erased_user', true), '')::bigint
      and not u.is_active and not u.is_staff;
    theirs := old.target = person.public_id
        or accounts_names_address(old.before, person.email)
        or accounts_names_address(old.after, person.email)
        or exists (select from accounts_workspace w
                   where w.id = old.workspace_id and w.personal_of_id = person.id);
    named := theirs or accounts_names_address(old.target_name, person.email)
        or accounts_is_place_of(old.target, person);
    if person.id is null
       or (new.id, new.public_id, new.at, new.workspace_id, new.action, new.actor, new.user_id,
           new.key_id, new.service_account_id, new.impersonator_id, new.target, new.request_id)
          is distinct from
          (old.id, old.public_id, old.at, old.workspace_id, old.action, old.actor, old.user_id,
           old.key_id, old.service_account_id, old.impersonator_id, old.target, old.request_id)
       or (new.target_name <> old.target_name and (new.target_name <> '' or named is not true))
       or (new.before is distinct from old.before
           and (new.before is not null or theirs is not true))
       or (new.after is distinct from old.after
           and (new.after is not null or theirs is not true))
       or (new.address <> old.address
           and (new.address <> ''
                or (old.user_id = person.id or old.target = person.public_id) is not true))
    then
        raise exception '% is append-only: % refused', tg_table_name, tg_op
            using errcode = 'restrict_violation';
    end if;
    return new;
end $$;

create or replace trigger accounts_auditevent_kept
before update on accounts_auditevent
for each row execute function accounts_auditevent_guard();

-- Blank what names somebody whose account ends, while their address is still known: all of their
-- personal workspace, and elsewhere the names of their places, their mail address and their
-- network addresses.
create or replace function accounts_audit_forget(person_id bigint) returns void
language plpgsql as $$
declare
    person accounts_user;
    home bigint;
begin
    select * into strict person from accounts_user where id = person_id;
    select w.id into home from accounts_workspace w where w.personal_of_id = person_id;
    perform set_config('tollgate.erased_user', person_id::text, true);

    -- Before what the events of a seat say of whose it is may be gone.
    update accounts_auditevent e set target_name = ''
    where e.target_name <> ''
      and (accounts_names_address(e.target_name, person.email)
           or (e.target like any (array['mem\_%', 'inv\_%'])
               and accounts_is_place_of(e.target, person)));

    update accounts_auditevent e set target_name = '', before = null, after = null
    where e.workspace_id = home or e.target = person.public_id
       or accounts_names_address(e.before, person.email)
       or accounts_names_address(e.after, person.email);

    update accounts_auditevent e set address = ''
    where e.address <> '' and (e.user_id = person_id or e.target = person.public_id);

    perform set_config('tollgate.erased_user', '', true);
end $$;

-- Gateways poll one number. Statement triggers raise it in the transaction that changes the
-- catalogue, so a committed change is always a higher number, and nothing has to remember to.
create or replace function proxy_raise_catalogue_version() returns trigger
language plpgsql as $$
begin
    insert into proxy_catalogueversion as v (id, version) values (1, 2)
    on conflict (id) do update set version = v.version + 1;
    return null;
end
$$;

create or replace trigger raise_catalogue_version
after insert or update or delete or truncate on proxy_provider
for each statement execute function proxy_raise_catalogue_version();

create or replace trigger raise_catalogue_version
after insert or update or delete or truncate on proxy_model
for each statement execute function proxy_raise_catalogue_version();

create or replace trigger raise_catalogue_version
after insert or update or delete or truncate on proxy_modelalias
for each statement execute function proxy_raise_catalogue_version();

create or replace trigger raise_catalogue_version
after insert or update or delete or truncate on proxy_route
for each statement execute function proxy_raise_catalogue_version();

-- A new price version changes what gateways sell; prices are append-only, so inserts suffice.
create or replace trigger raise_catalogue_version
after insert on billing_price
for each statement execute function proxy_raise_catalogue_version();

insert into proxy_catalogueversion (id, version) values (1, 1) on conflict do nothing;

-- A new price version changes what gateways sell; prices are append-only, so inserts suffice.
create trigger raise_catalogue_version
after insert on billing_price
for each statement execute function proxy_raise_catalogue_version();

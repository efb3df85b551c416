-- What each key spent in all in a workspace, only to rank keys: it bounds what one can have spent
-- in any range, so of ten thousand only those are looked at that ever spent as much as the dearest.
create table billing_usagelife (
    workspace_id bigint not null,
    key_id bigint not null,
    requests bigint not null,
    spent bigint not null,
    primary key (workspace_id, key_id)
) with (fillfactor = 70);

insert into billing_usagelife
select workspace_id, key_id, sum(requests), sum(spent) from billing_usageday group by 1, 2;

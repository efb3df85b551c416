-- What keys spent per week (from Monday), only to rank them: ten thousand keys have that many
-- rows per week here, and many times as many per day and model. Their sums are read by index.
create table billing_usagekey (
    workspace_id bigint not null,
    week date not null,
    key_id bigint not null,
    requests bigint not null,
    spent bigint not null,
    primary key (workspace_id, week, key_id)
) with (fillfactor = 80);

insert into billing_usagekey
select workspace_id, day - (extract(isodow from day)::integer - 1), key_id, sum(requests), sum(spent)
from billing_usageday
group by 1, 2, 3;

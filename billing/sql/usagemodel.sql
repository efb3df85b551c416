-- Sums of usage per day without the key: what most pages ask for, in a few rows per day however
-- many keys a workspace has. Kept by the same roll-up, in the same commit, as those with the key.
create table billing_usagemodel (
    like billing_usageday,
    primary key (workspace_id, day, model, provider, asset)
);
alter table billing_usagemodel drop column key_id;
alter table billing_usagemodel set (fillfactor = 80);
create index billing_usagemodel_day on billing_usagemodel using brin (day)
    with (pages_per_range = 32, autosummarize = on);

insert into billing_usagemodel
select workspace_id, day, model, provider, asset, sum(requests), sum(errors), sum(cancelled),
    sum(unknown), sum(charged), sum(spent), sum(uncollected), sum(cost), sum(upstream_cost),
    sum(input_tokens), sum(cached_tokens), sum(cache_write_tokens), sum(output_tokens),
    sum(reasoning_tokens), sum(pictures), sum(searches), sum(first_bytes), sum(first_byte_ms),
    sum(latencies), sum(latency_ms)
from billing_usageday
group by workspace_id, day, model, provider, asset;

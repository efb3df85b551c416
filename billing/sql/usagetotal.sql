-- Sums of usage per day over all workspaces: what the house earns, in as many rows per day as
-- models were sold by providers. Kept by the same roll-up, in the same commit, as the others.
create table billing_usagetotal (
    like billing_usagemodel,
    primary key (day, model, provider, asset)
);
alter table billing_usagetotal drop column workspace_id;
-- The few rows of today are written again and again: room for that on their own pages.
alter table billing_usagetotal set (fillfactor = 50);

insert into billing_usagetotal
select day, model, provider, asset, sum(requests), sum(errors), sum(cancelled),
    sum(unknown), sum(charged), sum(spent), sum(uncollected), sum(cost), sum(upstream_cost),
    sum(input_tokens), sum(cached_tokens), sum(cache_write_tokens), sum(output_tokens),
    sum(reasoning_tokens), sum(pictures), sum(searches), sum(first_bytes), sum(first_byte_ms),
    sum(latencies), sum(latency_ms)
from billing_usagemodel
group by day, model, provider, asset;

-- What every stored partition was made of: one row for each partition that it was made from, with the data version that
-- was read then and the one that is stored now.
-- grain: table_name, partition, parent_table, parent_partition
-- inputs: provenance
-- column table_name: table of the partition
-- column partition: its key, as `mbt status` writes it: `dataset|variant`; empty for a mart
-- column dataset: dataset of the partition; NULL where it has none
-- column variant: variant of the partition; NULL where it has none
-- column parent_table: table of a partition that it was made from
-- column parent_partition: that partition's key
-- column parent_dataset: that partition's dataset
-- column parent_variant: that partition's variant
-- column version_used: the parent's data version when it was read
-- column version_stored: the parent's data version now; NULL where it is not stored
-- column is_current: the parent's rows are still those that were read
with
made as (
    select
        provenance.*,
        regexp_extract(used.key, '^[^\[]+') as parent_table,
        regexp_extract(used.key, '\[(.*)\]$', 1) as parent_partition,
        used.value ->> '$' as version_used
    from provenance
    cross join json_each(provenance.inputs) as used
)

select
    made.table_name,
    made.partition,
    made.dataset,
    made.variant,
    made.parent_table,
    made.parent_partition,
    parent.dataset as parent_dataset,
    parent.variant as parent_variant,
    made.version_used,
    parent.data_version as version_stored,
    coalesce(parent.data_version = made.version_used, false) as is_current
from made
left join provenance as parent
    on made.parent_table = parent.table_name and made.parent_partition = parent.partition

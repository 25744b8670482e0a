// Numbers the subgroups of a workgroup, in whatever order they come: nothing says which threads form one. Every thread
// has to call it.
var<workgroup> subgroups_seen: atomic<u32>;
var<private> subgroup_number: u32;
var<private> subgroup_count: u32;

fn count_subgroups(thread: u32) {
    if thread == 0u {
        atomicStore(&subgroups_seen, 0u);
    }
    workgroupBarrier();
    var number = 0u;
    if subgroupBroadcastFirst(thread) == thread {
        number = atomicAdd(&subgroups_seen, 1u);
    }
    subgroup_number = subgroupBroadcastFirst(number);
    workgroupBarrier();
    subgroup_count = atomicLoad(&subgroups_seen);
}

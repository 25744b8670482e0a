// The linear number of a workgroup: a device splits more groups than its limit over two dimensions.
// Groups past the last one exist then, so every shader compares the number with a size of its own.
fn group_number(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.x + group.y * groups.x;
}

// What an operation that goes element by element takes at a time: a vector, so that every load and store has 16 bytes, or 8
// in halves. realn is a vector too.
alias number = vec4<f32>;
const together = 4u;

fn sum_of(value: number) -> f32 {
    return (value.x + value.y) + (value.z + value.w);
}

fn part_of(four: vec4<f32>, place: u32) -> number {
    return four;
}

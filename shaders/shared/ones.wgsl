// What an operation that goes element by element takes at a time where there is no multiple of four of them: one.
alias number = f32;
const together = 1u;

fn sum_of(value: number) -> f32 {
    return value;
}

// The number of this place among four.
fn part_of(four: vec4<f32>, place: u32) -> number {
    return four[place];
}

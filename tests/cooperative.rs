//! The shaders that multiply cooperative matrices, on a GPU that has none: every operation on such a matrix is replaced by
//! loops over arrays that compute the same. That holds where the shaders read and write, and what they sum up, to the twins.

mod devices;

use aquatint::check::{Position, build_in, compare};
use aquatint::kernels::cases;
use aquatint::plan::{Binding, Bindings, Call, Element, Kernel, Needs, Shader, Twin, Variant};
use std::sync::Arc;

/// A kernel that has one variant.
#[derive(Debug)]
struct Only {
    kernel: Arc<dyn Kernel>,
    variant: Variant,
}

impl Twin<f32> for Only {
    fn twin(&self, io: &mut Bindings<f32>) {
        Twin::<f32>::twin(&*self.kernel, io);
    }
}

impl Twin<f64> for Only {
    fn twin(&self, io: &mut Bindings<f64>) {
        Twin::<f64>::twin(&*self.kernel, io);
    }
}

impl Kernel for Only {
    fn shader(&self) -> Shader {
        self.variant.shader
    }
    fn parameters(&self) -> Vec<u32> {
        self.kernel.parameters()
    }
    fn bindings(&self) -> Vec<Binding> {
        self.kernel.bindings()
    }
    fn groups(&self) -> usize {
        self.variant.groups
    }
    fn variants(&self) -> Vec<Variant> {
        vec![self.variant.clone()]
    }
}

/// Every thread has the whole of its subgroup's matrices. What is loaded without a T lies column by column.
const MATRICES: &str = "
const area = side * side;
alias Left = array<f32, area>;
alias Right = array<f32, area>;
alias Sums = array<f32, area>;
fn load_left(place: u32, line: u32) -> Left {
    var m = Left();
    for (var i = 0u; i < area; i++) { m[i] = f32(left[place + i % side * line + i / side]); }
    return m;
}
fn load_right(place: u32, line: u32) -> Right {
    var m = Right();
    for (var i = 0u; i < area; i++) { m[i] = f32(right[place + i / side * line + i % side]); }
    return m;
}
fn multiply_add(a: Left, b: Right, c: Sums) -> Sums {
    var m = c; var l = a; var r = b;
    for (var i = 0u; i < area; i++) {
        for (var k = 0u; k < side; k++) { m[i] += l[i / side * side + k] * r[k * side + i % side]; }
    }
    return m;
}
fn store_matrix(c: Sums, place: u32, line: u32) {
    var m = c;
    for (var i = 0u; i < area; i++) { sums[place + i / side * line + i % side] = m[i]; }
}
";

/// Subgroups of `SIZE` threads.
const SUBGROUPS: &str = "
var<private> subgroup_number: u32;
var<private> subgroup_count: u32;
fn count_subgroups(thread: u32) {
    subgroup_number = thread / SIZE;
    subgroup_count = 128u / SIZE;
}
";

/// One shared file of a shader with everything cooperative taken out of it.
fn emulated(source: &'static str, side: u32) -> &'static str {
    // In two rounds and in one.
    let threads = if side == 16 { "64u" } else { "32u" };
    let text = if source.contains("alias Left = coop_mat") {
        format!("const side = {side}u;{MATRICES}")
    } else if source.contains("fn count_subgroups") {
        SUBGROUPS.replace("SIZE", threads)
    } else if source.contains("coopLoad") {
        let text =
            source.replace("coopLoad<Left>(&left[", "load_left(").replace("coopLoadT<Right>(&right[", "load_right(");
        let text = text.replace("], tile)", ", tile)").replace("coopMultiplyAdd(", "multiply_add(");
        let text =
            text.replace("coopStoreT(", "store_matrix(").replace(", &sums[", ", ").replace("], side)", ", side)");
        assert!(!text.contains("coop"), "{text}");
        text
    } else {
        return source;
    };
    text.leak()
}

/// The call with its cooperative variant of this size, if it has one.
fn with_matrices(call: &Call, side: u32) -> Option<Call> {
    let variant = call.variants().into_iter().find(|v| v.needs == Needs::CooperativeMatrices(side))?;
    let sources: Vec<&str> = variant.shader.sources.iter().map(|source| emulated(source, side)).collect();
    let shader = Shader { sources: sources.leak(), ..variant.shader };
    let variant = Variant { shader, needs: Needs::Nothing, ..variant };
    Some(Call { kernel: Arc::new(Only { kernel: Arc::clone(&call.kernel), variant }), ..call.clone() })
}

#[test]
#[ignore = "long: make test-long"]
fn shaders_with_cooperative_matrices_agree_with_the_twins() {
    /// As for every case in half precision: see `check`.
    const TOLERANCE: f64 = 2e-3;
    let options = aquatint::device::gpu::Options { guarded: true, ..Default::default() };
    let Some(mut gpu) = devices::gpu_with_half_precision(options) else { return };
    let mut replaced = std::collections::BTreeMap::new();
    // The loops are slow: what only repeats other cases is left out.
    let wanted =
        |name: &str| name.starts_with("matmul/") || name.starts_with("convolution/") && !name.ends_with("without bias");
    for case in cases().into_iter().filter(|case| wanted(&case.name)) {
        for side in [8, 16] {
            let mut built = build_in(&case, Position::Alone, Element::F16).unwrap();
            let mut any = false;
            for call in &mut built.plan.calls {
                if let Some(other) = with_matrices(call, side) {
                    any = true;
                    *replaced.entry((call.kernel.shader().name, side)).or_insert(0) += 1;
                    *call = other;
                }
            }
            if any {
                let outcome = compare(&case, &built, &mut gpu).unwrap();
                assert!(gpu.guards_are_intact().unwrap(), "{} {side}: wrote outside its buffers", case.name);
                assert!(outcome.difference <= TOLERANCE, "{} {side}: {:.2e}", case.name, outcome.difference);
            }
        }
    }
    println!("{replaced:?}");
    for kernel in ["matmul", "convolution_forward", "convolution_grad_input", "convolution_grad_weight"] {
        assert!([8, 16].into_iter().all(|side| replaced.contains_key(&(kernel, side))), "no case for {kernel}");
    }
}

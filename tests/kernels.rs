//! Every case of the kernel registry: host against twins, gradients against central differences, GPU against twins.

mod devices;

use aquatint::check::{
    Built, Outcome, Position, Tensor, build, build_in, compare_variants, compare_variants_in, run, upload,
};
use aquatint::device::gpu::{Gpu, Options};
use aquatint::device::{Device, Host};
use aquatint::kernels::attention::attention;
use aquatint::kernels::{Case, Fill, cases};
use aquatint::plan::{Element, Step, Storage};

/// Runs `check` on every case, or those whose names begin with `AQUATINT_CASES`, and reports all failures at once.
fn for_every_case(mut check: impl FnMut(&Case) -> Result<(), String>) {
    let wanted = std::env::var("AQUATINT_CASES").unwrap_or_default();
    let failures: Vec<String> = cases()
        .iter()
        .filter(|case| case.name.starts_with(&wanted))
        .filter_map(|case| check(case).err().map(|why| format!("{}: {why}", case.name)))
        .collect();
    assert!(failures.is_empty(), "{} cases failed:\n{}", failures.len(), failures.join("\n"));
}

/// All of a case's outcomes that are wrong, in one line.
fn all_passed(outcomes: &[Outcome]) -> Result<(), String> {
    let wrong = outcomes.iter().filter(|outcome| !outcome.passed());
    let wrong: Vec<String> = wrong.map(|o| format!("{}: {:.2e} > {:.0e}", o.name, o.difference, o.tolerance)).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join(", ")) }
}

fn within_tolerance(case: &Case, device: &mut dyn Device) -> Result<(), String> {
    all_passed(&compare_variants(case, device).map_err(|error| error.to_string())?)
}

#[test]
fn cases_have_names_of_their_own() {
    let mut names = std::collections::HashSet::new();
    for_every_case(|case| names.insert(case.name.clone()).then_some(()).ok_or("a second case of this name".into()));
}

#[test]
fn the_host_agrees_with_the_twins() {
    for_every_case(|case| within_tolerance(case, &mut Host::<f32>::new()));
}

/// sum(output * upstream), the scalar whose gradient the backward calls compute.
fn loss(host: &mut Host<f64>, plan: aquatint::device::PlanId, built: &Built, step: &Step) -> f64 {
    host.run(plan, step).unwrap();
    let upstream = host.floats(built.upstream.as_ref().unwrap());
    host.floats(&built.outputs[0]).iter().zip(upstream).map(|(y, g)| y * g).sum()
}

fn gradients_agree(case: &Case, position: Position) -> Result<(), String> {
    const H: f64 = 1e-4;
    let built = build(case, position).map_err(|error| error.to_string())?;
    let mut host = Host::<f64>::reference();
    let plan = host.load(&built.plan).unwrap();
    upload(case, &built, &mut host).unwrap();
    host.run(plan, &case.step).unwrap();
    let differentiated = case.inputs.iter().filter(|input| input.differentiate).count();
    if built.gradients.len() != differentiated {
        return Err(format!("{} gradients of {differentiated}", built.gradients.len()));
    }
    for (number, storage) in &built.gradients {
        let gradient = host.floats(storage).to_vec();
        let largest = gradient.iter().fold(1e-3f64, |largest, g| largest.max(g.abs()));
        // At most thirty elements of an input, spread over it.
        for index in (0..gradient.len()).step_by(gradient.len().div_ceil(30)) {
            let input = &built.inputs[*number];
            let before = host.floats(input)[index];
            let mut at = |value: f64| {
                host.floats_mut(input).unwrap()[index] = value;
                loss(&mut host, plan, &built, &case.step)
            };
            // Four points: the error is of fourth order in H.
            let near = at(before + H) - at(before - H);
            let far = at(before + 2.0 * H) - at(before - 2.0 * H);
            at(before);
            let expected = (8.0 * near - far) / (12.0 * H);
            if ((gradient[index] - expected) / largest).abs() > 1e-6 || !expected.is_finite() {
                return Err(format!("input {number}[{index}]: {}, differences give {expected}", gradient[index]));
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_agree_with_central_differences() {
    let differentiable = |case: &Case| case.differentiable();
    for_every_case(|case| if differentiable(case) { gradients_agree(case, Position::Alone) } else { Ok(()) });
}

#[test]
fn gradients_agree_in_the_middle_of_a_graph() {
    let differentiable = |case: &Case| case.differentiable();
    for_every_case(|case| if differentiable(case) { gradients_agree(case, Position::MidGraph) } else { Ok(()) });
}

/// The same shaders twice: unchecked between guards, which is what ships, and with bounds checks.
struct Pair {
    guarded: Gpu,
    checked: Gpu,
}

impl Pair {
    fn open(open: impl Fn(Options) -> Option<Gpu>) -> Option<Self> {
        let guarded = open(Options { guarded: true, ..Options::default() })?;
        Some(Self { guarded, checked: open(Options { checked: true, ..Options::default() })? })
    }

    /// Every variant of a case against the twins, within its buffers, and the same bits with checks on.
    fn agree(&mut self, case: &Case, activations: Element) -> Result<(), String> {
        let Self { guarded, checked } = self;
        let text = |error: aquatint::Error| error.to_string();
        let outcomes = compare_variants_in(case, guarded, activations).map_err(text)?;
        all_passed(&outcomes)?;
        let built = build_in(case, Position::Alone, activations).map_err(text)?;
        for variant in guarded.variant_numbers(&built.plan) {
            let names = guarded.variant_names(&built.plan, variant);
            guarded.force_variant(Some(variant));
            checked.force_variant(Some(variant));
            let unchecked = run(case, &built, guarded).map_err(text)?;
            // Slots of halves lie between guards that are NaN in both precisions.
            if !guarded.guards_are_intact().map_err(text)? {
                return Err(format!("{names:?} wrote outside its buffers"));
            }
            let with_checks = run(case, &built, checked).map_err(text)?;
            built.release(guarded);
            built.release(checked);
            let same = unchecked.iter().zip(&with_checks).all(|pair| match pair {
                (Tensor::Floats(a), Tensor::Floats(b)) => {
                    a.iter().map(|x| x.to_bits()).eq(b.iter().map(|x| x.to_bits()))
                }
                (a, b) => a == b,
            });
            if !same {
                return Err(format!("{names:?}: checked and unchecked shaders differ"));
            }
        }
        guarded.force_variant(None);
        checked.force_variant(None);
        Ok(())
    }
}

#[test]
fn the_gpu_agrees_with_the_twins_within_its_buffers_and_with_checks_on() {
    let Some(mut pair) = Pair::open(devices::gpu) else { return };
    for_every_case(|case| pair.agree(case, Element::F32));
}

#[test]
fn in_half_precision_the_gpu_agrees_with_the_twins_within_its_buffers_and_with_checks_on() {
    let Some(mut pair) = Pair::open(devices::gpu_with_half_precision) else { return };
    for_every_case(|case| if case.differentiable() { pair.agree(case, Element::F16) } else { Ok(()) });
}

/// Sums over the tokens, before they are divided by the softmax's, that are past what half precision holds.
#[test]
fn attention_over_many_tokens_does_not_overflow_in_half_precision() {
    let Some(mut gpu) = devices::gpu_with_half_precision(Default::default()) else { return };
    let case = Case::new("attention/large sums")
        .input(&[1, 300, 8], Fill::Normal(0.05))
        .input(&[1, 1800, 8], Fill::Normal(0.5))
        .input(&[1, 1800, 8], Fill::Uniform(30.0, 70.0))
        .records(|r, v| Ok(vec![attention(r, v[0], v[1], v[2], 1)?]));
    for outcome in compare_variants_in(&case, &mut gpu, Element::F16).unwrap() {
        println!("{}: {:.2e}", outcome.name, outcome.difference);
        assert!(outcome.passed(), "{}: {:.2e} > {:.0e}", outcome.name, outcome.difference, outcome.tolerance);
    }
}

#[test]
fn dispatches_split_over_two_dimensions_give_the_same() {
    let options = Options { group_limit: Some(3), ..Default::default() };
    let Some(mut split) = devices::gpu(options) else { return };
    for_every_case(|case| within_tolerance(case, &mut split));
}

/// Halves are written two at a time.
#[test]
fn an_upload_of_halves_leaves_its_neighbours_alone_or_is_refused() {
    let Some(mut gpu) = devices::gpu(Default::default()) else { return };
    let storage = Storage::f16("halves", 7);
    gpu.upload(&storage, 0, &[1.0; 7]).unwrap();
    gpu.upload(&storage, 2, &[2.0; 2]).unwrap();
    gpu.upload(&storage, 4, &[3.0; 3]).unwrap();
    for (offset, data) in [(0, &[9.0; 1][..]), (2, &[9.0; 3]), (1, &[9.0; 2])] {
        let error = gpu.upload(&storage, offset, data).unwrap_err().to_string();
        assert!(error.contains("halves") && !error.contains('\n'), "{error}");
    }
    assert_eq!(gpu.download(&storage).unwrap(), [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 3.0]);
}

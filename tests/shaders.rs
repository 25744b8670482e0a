//! Every shader, without a GPU: it is used, naga validates it with nothing but WebGPU's core, it translates to SPIR-V,
//! MSL and HLSL, it stays within the limits that every device has, and its bindings are what its kernel says.

use aquatint::check::{Position, build_in};
use aquatint::kernels::cases;
use aquatint::plan::{Access, Call, Element, Needs, Shader, Step, Variant};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, GlobalVariable, Module, ScalarKind, ShaderStage, StorageAccess, TypeInner};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// Every call of every registered case, those of what is differentiated in both precisions.
fn calls() -> Vec<Call> {
    let mut calls = Vec::new();
    for case in cases() {
        calls.extend(build_in(&case, Position::Alone, Element::F32).unwrap().plan.calls);
        if case.differentiable() {
            calls.extend(build_in(&case, Position::Alone, Element::F16).unwrap().plan.calls);
        }
    }
    calls
}

/// The WGSL files of a folder: names without the ending, and texts.
fn files(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let wgsl = paths.filter(|path| path.extension().is_some_and(|ending| ending == "wgsl"));
    wgsl.map(|path| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_string();
        (name, std::fs::read_to_string(&path).unwrap())
    })
    .collect()
}

#[test]
fn every_shader_is_used_by_a_case() {
    let variants = calls().into_iter().flat_map(|call| call.variants());
    let shaders: Vec<Shader> = variants.map(|variant| variant.shader).collect();
    let used: BTreeSet<&str> = shaders.iter().map(|shader| shader.name).collect();
    let there = files("shaders");
    assert_eq!(used, there.iter().map(|(name, _)| name.as_str()).collect());
    for (name, text) in files("shaders/shared") {
        let uses = |shader: &Shader| shader.sources.contains(&text.as_str());
        assert!(shaders.iter().any(uses), "no shader uses shared/{name}.wgsl");
    }
}

/// A variant's module as a device compiles it: validated, with its override constants.
fn specialize(variant: Variant, halves: u32) -> (Module, ModuleInfo) {
    let name = variant.shader.name;
    let source = variant.shader.source(halves);
    let module = naga::front::wgsl::parse_str(&source)
        .unwrap_or_else(|e| panic!("{}", e.emit_to_string_with_path(&source, name)));
    let mut capabilities = Capabilities::empty();
    capabilities.set(Capabilities::SUBGROUP, variant.needs != Needs::Nothing);
    capabilities.set(Capabilities::COOPERATIVE_MATRIX, matches!(variant.needs, Needs::CooperativeMatrices(_)));
    capabilities.set(Capabilities::SHADER_FLOAT16, halves != 0);
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .unwrap_or_else(|e| panic!("{}", e.emit_to_string_with_path(&source, name)));
    let constants = variant.constants.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
    let entry = Some((ShaderStage::Compute, "main"));
    let (module, info) = naga::back::pipeline_constants::process_overrides(&module, &info, entry, &constants).unwrap();
    (module.into_owned(), info.into_owned())
}

/// One module for every shader and set of constants: the shader's name, the module, the calls that run it.
fn specializations() -> Vec<(&'static str, Module, ModuleInfo, Vec<Call>)> {
    let mut all: HashMap<_, (&'static str, Module, ModuleInfo, Vec<Call>)> = HashMap::new();
    for call in calls() {
        for variant in call.variants() {
            let name = variant.shader.name;
            let constants = variant.constants.iter().map(|&(name, value)| (name, value.to_bits()));
            let (.., users) =
                all.entry((variant.shader.sources, constants.collect::<Vec<_>>(), call.halves)).or_insert_with(|| {
                    let (module, info) = specialize(variant, call.halves);
                    (name, module, info, Vec::new())
                });
            users.push(call.clone());
        }
    }
    all.into_values().collect()
}

/// Bytes of a variable.
fn size(module: &Module, variable: &GlobalVariable) -> u32 {
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).unwrap();
    layouter[variable.ty].size
}

fn has_cooperative_matrices(module: &Module) -> bool {
    module.types.iter().any(|(_, ty)| matches!(ty.inner, TypeInner::CooperativeMatrix { .. }))
}

#[test]
fn every_shader_translates_to_spirv_msl_and_hlsl() {
    for (name, module, info, _) in specializations() {
        naga::back::spv::write_vec(&module, &info, &Default::default(), None)
            .unwrap_or_else(|error| panic!("{name} to SPIR-V: {error}"));
        let cooperates = has_cooperative_matrices(&module);
        // What wgpu asks of Metal before it offers them.
        let lang_version = if cooperates { (2, 3) } else { (1, 0) };
        let options = naga::back::msl::Options { lang_version, ..Default::default() };
        naga::back::msl::write_string(&module, &info, &options, &Default::default())
            .unwrap_or_else(|error| panic!("{name} to MSL: {error}"));
        if cooperates {
            // DX12 has none, and naga no HLSL for them.
            continue;
        }
        // What wgpu's compiler for DX12 takes; halves are there from 6.2 on.
        let shader_model = naga::back::hlsl::ShaderModel::V6_2;
        let (options, mut text) = (naga::back::hlsl::Options { shader_model, ..Default::default() }, String::new());
        naga::back::hlsl::Writer::new(&mut text, &options, &Default::default())
            .write(&module, &info, None)
            .unwrap_or_else(|error| panic!("{name} to HLSL: {error}"));
    }
}

#[test]
fn every_shader_stays_within_the_limits_of_every_device() {
    for (name, module, ..) in specializations() {
        let [entry] = &module.entry_points[..] else { panic!("{name}: not one entry point") };
        assert_eq!((entry.stage, entry.name.as_str()), (ShaderStage::Compute, "main"), "{name}");
        let threads: u32 = entry.workgroup_size.iter().product();
        assert!((1..=256).contains(&threads), "{name}: {threads} threads");
        let variables = || module.global_variables.iter().map(|(_, variable)| variable);
        let in_workgroup = variables().filter(|variable| variable.space == AddressSpace::WorkGroup);
        let memory: u32 = in_workgroup.map(|variable| size(&module, variable).next_multiple_of(16)).sum();
        assert!(memory <= 16 << 10, "{name}: {memory} bytes of workgroup memory");
        let storage = variables().filter(|variable| matches!(variable.space, AddressSpace::Storage { .. })).count();
        assert!(storage <= 8, "{name}: {storage} storage bindings");
    }
}

#[test]
fn bindings_are_what_the_kernels_say() {
    for (_, module, _, users) in specializations() {
        let variables: HashMap<(u32, u32), &GlobalVariable> = (module.global_variables.iter())
            .filter_map(|(_, variable)| variable.binding.as_ref().map(|place| ((place.group, place.binding), variable)))
            .collect();
        for call in users {
            let elements: Vec<Element> = call.elements().collect();
            let kernel = call.kernel;
            let bindings = kernel.bindings();
            let mut expected: BTreeSet<(u32, u32)> = (0..=bindings.len() as u32).map(|number| (0, number)).collect();
            if let Some(step) = variables.get(&(1, 0)) {
                expected.insert((1, 0));
                assert_eq!(step.space, AddressSpace::Uniform, "{kernel:?}: step");
                assert_eq!(size(&module, step) as usize, size_of::<Step>(), "{kernel:?}: step");
            }
            assert_eq!(variables.keys().copied().collect::<BTreeSet<_>>(), expected, "{kernel:?}");

            let parameters = variables[&(0, 0)];
            assert_eq!(parameters.space, AddressSpace::Uniform, "{kernel:?}: parameters");
            let (declared, given) = (size(&module, parameters), 4 * kernel.parameters().len() as u32);
            assert_eq!(declared.next_multiple_of(16), given.next_multiple_of(16), "{kernel:?}: parameters");

            for ((binding, element), number) in bindings.iter().zip(elements).zip(1..) {
                let variable = variables[&(0, number)];
                let access = match binding.access {
                    Access::Read => StorageAccess::LOAD,
                    Access::Write | Access::ReadWrite => StorageAccess::LOAD | StorageAccess::STORE,
                };
                assert_eq!(variable.space, AddressSpace::Storage { access }, "{kernel:?}: binding {number}");
                let TypeInner::Array { base, stride, .. } = module.types[variable.ty].inner else {
                    panic!("{kernel:?}: binding {number} is not an array");
                };
                let kind = match element {
                    Element::F32 | Element::F16 => ScalarKind::Float,
                    Element::U32 => ScalarKind::Uint,
                };
                let scalar = module.types[base].inner.scalar().unwrap();
                assert_eq!(
                    (scalar.kind, usize::from(scalar.width)),
                    (kind, element.bytes()),
                    "{kernel:?}: binding {number}"
                );
                assert!(
                    (element.bytes() * binding.len).is_multiple_of(stride as usize),
                    "{kernel:?}: binding {number} ends mid-vector"
                );
            }
        }
    }
}

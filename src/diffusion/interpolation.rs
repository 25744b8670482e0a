//! Between two pictures' noise.

/// The noise so far, 0 to 1, on the way from one to the other along the sphere (Shoemake 1985; Song et al. 2021, appendix
/// D.5): normal noise stays as large as it is, which a mean of two does not. Where both are one, that one.
///
/// # Panics
/// If they are not of one length.
pub fn slerp(from: &[f32], to: &[f32], part: f64) -> Vec<f32> {
    assert_eq!(from.len(), to.len(), "noise of two lengths");
    let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    let cosine = dot(from, to) / (dot(from, from) * dot(to, to)).sqrt();
    let angle = cosine.clamp(-1.0, 1.0).acos();
    let sine = angle.sin();
    // On one line there is no plane to turn in.
    let [of_from, of_to] = if sine < 1e-6 || !sine.is_finite() {
        [1.0 - part, part]
    } else {
        [((1.0 - part) * angle).sin() / sine, (part * angle).sin() / sine]
    };
    from.iter().zip(to).map(|(a, b)| (of_from * f64::from(*a) + of_to * f64::from(*b)) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_turns_evenly_from_one_to_the_other() {
        let (a, b) = ([3.0, 0.0, 4.0], [0.0, 5.0, 0.0]);
        assert_eq!((slerp(&a, &b, 0.0), slerp(&a, &b, 1.0)), (a.to_vec(), b.to_vec()));
        for step in 0..=10 {
            let part = f64::from(step) / 10.0;
            let between = slerp(&a, &b, part);
            let length = between.iter().map(|x| x * x).sum::<f32>().sqrt();
            assert!((length - 5.0).abs() < 1e-5, "{length}");
            let angle = f64::from(between[1] / 5.0).asin();
            assert!((angle - part * std::f64::consts::FRAC_PI_2).abs() < 1e-5, "{angle}");
        }
    }

    #[test]
    fn what_lies_on_one_line_is_no_reason_for_nan() {
        let a = [0.5, -1.0];
        assert_eq!(slerp(&a, &a, 0.3), a);
        assert_eq!(slerp(&a, &[-0.5, 1.0], 0.5), [0.0, 0.0]);
        assert_eq!(slerp(&[0.0; 2], &a, 1.0), a);
    }
}

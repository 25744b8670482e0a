//! The table of a variational bound, as `aquatint eval --bpd` prints it.

use super::output::say;
use crate::diffusion::likelihood::Bound;

/// Rows of single terms, at the most.
const ROWS: usize = 10;

/// A line of the table: what it is, which part of the bound, bits per dimension.
pub(super) fn say_line(name: &str, part: &str, bits: f64, standard_error: Option<f64>) {
    let error = standard_error.map_or(String::new(), |error| format!(" ± {error:.4}"));
    say!("  {name:<8} {part:<14} {bits:>10.5}{error}");
}

/// Indices from the first to the last, as parts of the bound.
fn parts(first: usize, last: usize) -> String {
    if first == last { format!("L_{first}") } else { format!("L_{first} to L_{last}") }
}

/// First and last index of those terms that are means of as many drawn timesteps; nothing where all were taken.
pub(super) fn stretches_of_terms(bound: &Bound) -> Vec<[usize; 2]> {
    let drawn = bound.stretches.iter().any(|stretch| stretch.len() > 1);
    let terms = bound.stretches.iter().skip(1).filter(|_| drawn);
    terms.map(|stretch| [stretch.start, stretch.end - 1]).collect()
}

/// Which of so many rows are printed: all of few, else some at about equal distances, with both ends.
fn rows(of: usize) -> Vec<usize> {
    match of {
        0..=ROWS => (0..of).collect(),
        _ => (0..ROWS).map(|row| (row * (of - 1) + (ROWS - 1) / 2) / (ROWS - 1)).collect(),
    }
}

/// The prior, the terms in all and at about ten timesteps, the decoder and the total.
pub(super) fn say_bound(bound: &Bound, timesteps: usize) {
    say_line("prior", &format!("L_{timesteps}"), bound.prior, None);
    let all = if timesteps == 1 { "none".into() } else { parts(1, timesteps - 1) };
    say_line("terms", &all, bound.terms.iter().sum(), None);
    let of_terms = &bound.stretches[1..];
    for row in rows(of_terms.len()) {
        let stretch = &of_terms[row];
        let (name, first) = (if stretch.len() > 1 { "  each" } else { "  t" }, stretch.start - 1);
        let part = parts(stretch.start, stretch.end - 1);
        say_line(name, &part, bound.terms[first], bound.terms_standard_error[first]);
    }
    say_line("decoder", "L_0", bound.decoder, bound.decoder_standard_error);
    say_line("total", "", bound.total, bound.standard_error);
    if !stretches_of_terms(bound).is_empty() {
        say!("each: the mean of a stretch of timesteps, of which every picture drew one");
    }
}

#[cfg(test)]
mod tests {
    use super::rows;

    #[test]
    fn rows_have_both_ends_and_no_two_alike() {
        for of in 0..60 {
            let found = rows(of);
            assert_eq!(found.len(), of.min(10));
            assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "{of}: {found:?}");
            assert!(of == 0 || (found[0], found[found.len() - 1]) == (0, of - 1), "{of}: {found:?}");
        }
    }
}

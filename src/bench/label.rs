//! A kernel's sizes in a few characters, taken from how it prints itself.

use crate::plan::Kernel;

/// The sizes of a kernel, such as `16x32x32x64-64` for a convolution, and the options that it has switched on.
pub fn label(kernel: &dyn Kernel) -> String {
    let fields = fields(&format!("{kernel:?}"));
    let find = |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let geometry = ["pictures", "height", "width", "inputs", "outputs", "kernel", "stride"];
    let sizes = match (geometry.map(|name| find(&format!("geometry.{name}"))), ["rows", "columns", "depth"].map(find)) {
        ([Some(pictures), Some(height), Some(width), Some(inputs), Some(outputs), Some(kernel), Some(stride)], _) => {
            let kernel = if kernel == "3" { String::new() } else { format!("k{kernel}") };
            let stride = if stride == "1" { String::new() } else { format!("s{stride}") };
            format!("{pictures}x{height}x{width}x{inputs}-{outputs}{kernel}{stride}")
        }
        (_, [Some(rows), Some(columns), Some(depth)]) => {
            let batches = fields.iter().filter(|(name, _)| name == "batches");
            let batches: usize = batches.filter_map(|(_, value)| value.parse::<usize>().ok()).product();
            let letter = |operand: &str| if find(&format!("{operand}.column")) == Some("1") { "n" } else { "t" };
            format!("{batches}x{rows}x{columns}x{depth}{}{}", letter("a"), letter("b"))
        }
        _ => {
            let sizes = fields.iter().filter(|(_, value)| value.parse::<usize>().is_ok());
            sizes.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join("x")
        }
    };
    let options = fields.iter().filter(|(_, value)| value == "true");
    options.fold(sizes, |label, (name, _)| label + "+" + name.rsplit('.').next().unwrap_or(name))
}

/// The fields of a printed struct, those of structs in it as `outer.inner`, with their values as they are printed; the
/// elements of an array all have its name.
fn fields(text: &str) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut path: Vec<String> = Vec::new();
    let (mut field, mut token) = (String::new(), String::new());
    for c in text.chars() {
        match c {
            ':' => field = std::mem::take(&mut token),
            '{' => {
                path.push(std::mem::take(&mut field));
                token.clear();
            }
            '(' | '[' => token.clear(),
            ',' | '}' | ')' | ']' => {
                if !token.is_empty() {
                    let name: Vec<&str> =
                        path.iter().map(String::as_str).chain([&*field]).filter(|n| !n.is_empty()).collect();
                    fields.push((name.join("."), std::mem::take(&mut token)));
                }
                if c == '}' {
                    path.pop();
                }
            }
            c if c.is_whitespace() => {}
            c => token.push(c),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::{fields, label};
    use crate::kernels::matmul::Matmul;

    #[test]
    fn fields_of_nested_structs() {
        let found = fields("A { b: B { c: 1, d: Some(2.5) }, e: [3, 4], f: true }");
        let found: Vec<(&str, &str)> = found.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(found, [("b.c", "1"), ("b.d", "2.5"), ("e", "3"), ("e", "4"), ("f", "true")]);
    }

    #[test]
    fn labels_are_short() {
        let product = Matmul::dense(5, 6, 7);
        assert_eq!(label(&product), "1x5x6x7nn");
        let b = product.b.transposed();
        assert_eq!(label(&Matmul { b, batches: [2, 3], accumulate: true, ..product }), "6x5x6x7nt+accumulate");
    }
}

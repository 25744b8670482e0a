//! The names that diffusers gave to attention's weights before its version 0.17.

/// Old and new names of the projections.
const PROJECTIONS: [(&str, &str); 4] =
    [("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")];

/// The new name of a tensor that has an old one.
pub(super) fn renamed(name: &str) -> Option<String> {
    let (layer, kind) = name.rsplit_once('.').filter(|(_, kind)| matches!(*kind, "weight" | "bias"))?;
    let (block, old) = layer.rsplit_once('.')?;
    let in_attention = block.split('.').any(|part| part == "attentions");
    let (_, new) = PROJECTIONS.iter().find(|(from, _)| *from == old && in_attention)?;
    Some(format!("{block}.{new}.{kind}"))
}

/// Whether a tensor is a projection's weight, which may have been saved as that of a 1x1 convolution.
pub(super) fn is_projection(name: &str) -> bool {
    let layer = name.strip_suffix(".weight").filter(|_| name.split('.').any(|part| part == "attentions"));
    layer.is_some_and(|layer| PROJECTIONS.iter().any(|(_, new)| layer.ends_with(&format!(".{new}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_names_become_new_ones() {
        let new = |name: &str| renamed(&format!("mid_block.attentions.0.{name}"));
        assert_eq!(new("query.weight").as_deref(), Some("mid_block.attentions.0.to_q.weight"));
        assert_eq!(new("proj_attn.bias").as_deref(), Some("mid_block.attentions.0.to_out.0.bias"));
        assert_eq!(new("to_q.weight"), None);
        assert_eq!(new("group_norm.weight"), None);
        assert_eq!(renamed("key.weight"), None);
        assert!(is_projection("mid_block.attentions.0.to_out.0.weight"));
        assert!(!is_projection("mid_block.attentions.0.to_q.bias"));
    }
}

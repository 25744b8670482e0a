//! Tensors whose elements do not lie one after the other: transposed, channels last, slices of others.

use super::element_type::ElementType;

/// Elements of a shape; `None` if there are too many to count.
pub(super) fn count(shape: &[usize]) -> Option<usize> {
    // Zero first, so that an empty tensor of absurd sizes does not overflow.
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size))
}

/// Whether a tensor's elements, which can be counted, lie one after the other.
pub(super) fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    if shape.contains(&0) {
        return true;
    }
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&size, &stride)| {
        let fits = size == 1 || stride == expected;
        expected *= size;
        fits
    })
}

/// The storage's elements up to the tensor's last one; `None` if there are too many to count.
pub(super) fn end(offset: usize, shape: &[usize], strides: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(offset);
    }
    let last = shape
        .iter()
        .zip(strides)
        .try_fold(offset, |place, (size, stride)| place.checked_add((size - 1).checked_mul(*stride)?))?;
    last.checked_add(1)
}

/// A tensor's bytes one element after the other. The caller has checked that all of them lie in the storage.
pub(super) fn gather(of: ElementType, storage: &[u8], offset: usize, shape: &[usize], strides: &[usize]) -> Vec<u8> {
    match of.size() {
        1 => gather_sized::<1>(storage, offset, shape, strides),
        2 => gather_sized::<2>(storage, offset, shape, strides),
        4 => gather_sized::<4>(storage, offset, shape, strides),
        _ => gather_sized::<8>(storage, offset, shape, strides),
    }
}

fn gather_sized<const N: usize>(storage: &[u8], offset: usize, shape: &[usize], strides: &[usize]) -> Vec<u8> {
    let storage = storage.as_chunks::<N>().0;
    let elements = count(shape).unwrap_or(0);
    let mut gathered = Vec::with_capacity(elements * N);
    let (Some((&row, outer)), Some((&step, outer_strides))) = (shape.split_last(), strides.split_last()) else {
        return storage[offset].to_vec();
    };
    if elements == 0 {
        return gathered;
    }
    let mut index = vec![0; outer.len()];
    let mut place = offset;
    loop {
        for column in 0..row {
            gathered.extend_from_slice(&storage[place + column * step]);
        }
        // The next row, as an odometer counts.
        let mut axis = outer.len();
        loop {
            if axis == 0 {
                return gathered;
            }
            axis -= 1;
            index[axis] += 1;
            place += outer_strides[axis];
            if index[axis] < outer[axis] {
                break;
            }
            place -= outer[axis] * outer_strides[axis];
            index[axis] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gathers_what_is_transposed() {
        let storage: Vec<u8> = (0..24u16).flat_map(u16::to_le_bytes).collect();
        // [2, 3, 4] with the axes turned round, from element 0.
        let gathered = gather(ElementType::I16, &storage, 0, &[4, 3, 2], &[1, 4, 12]);
        let expected: Vec<u8> =
            (0..24).map(|i| (i / 6, i / 2 % 3, i % 2)).flat_map(|(x, y, z)| [x + 4 * y + 12 * z, 0]).collect();
        assert_eq!(gathered, expected);
        assert_eq!(gather(ElementType::I16, &storage, 5, &[], &[]), [5, 0]);
        assert_eq!(gather(ElementType::I16, &storage, 1, &[2, 2], &[6, 3]), [1, 0, 4, 0, 7, 0, 10, 0]);
        assert!(gather(ElementType::I16, &storage, 0, &[3, 0], &[1, 1]).is_empty());
    }

    #[test]
    fn counts_without_overflow() {
        assert_eq!(count(&[usize::MAX, 2]), None);
        assert_eq!(count(&[usize::MAX, usize::MAX, 0]), Some(0));
        assert_eq!(end(1, &[2, 3], &[3, 1]), Some(7));
        assert_eq!(end(0, &[3], &[usize::MAX]), None);
        assert!(is_contiguous(&[2, 1, 3], &[3, 99, 1]));
        assert!(!is_contiguous(&[2, 3], &[1, 2]));
    }
}

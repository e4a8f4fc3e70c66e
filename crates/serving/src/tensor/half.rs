//! Half-precision numbers (IEEE 754 binary16) and bfloat16, as bits.

/// The value of a half-precision number: exact.
pub fn half_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let exponent = u32::from(bits >> 10 & 0x1f);
    let fraction = u32::from(bits & 0x3ff);
    match (exponent, fraction) {
        // Subnormal: fraction * 2^-24, exact in f32.
        (0, _) => f32::from_bits(sign | (fraction_as_f32(fraction) * 2.0_f32.powi(-24)).to_bits()),
        (0x1f, _) => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 127 - 15) << 23 | fraction << 13),
    }
}

fn fraction_as_f32(fraction: u32) -> f32 {
    // At most 10 bits: exact.
    f32::from(u16::try_from(fraction).unwrap_or_default())
}

/// The nearest half-precision number, ties to even; too large ones become
/// infinite.
pub fn half_from_f32(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = low_half(bits >> 16) & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return sign | 0x7e00 | low_half(magnitude >> 13) & 0x3ff;
    }
    // 65520 and above round to infinity.
    if magnitude >= 0x477f_f000 {
        return sign | 0x7c00;
    }
    // Normal in half precision: from 2^-14.
    if magnitude >= 0x3880_0000 {
        let rebased = magnitude - ((127 - 15) << 23);
        return sign | low_half(round_shift(rebased, 13));
    }
    // Subnormal, or zero below 2^-25.
    let exponent = magnitude >> 23;
    if exponent < 102 {
        return sign;
    }
    let significand = magnitude & 0x7f_ffff | 0x80_0000;
    sign | low_half(round_shift(significand, 126 - exponent))
}

/// `value / 2^shift`, ties to even.
fn round_shift(value: u32, shift: u32) -> u32 {
    let kept = value >> shift;
    let rest = value & ((1 << shift) - 1);
    let half = 1 << (shift - 1);
    kept + u32::from(rest > half || (rest == half && kept & 1 == 1))
}

fn low_half(value: u32) -> u16 {
    u16::try_from(value & 0xffff).unwrap_or_default()
}

/// The value of a bfloat16: exact.
pub fn bfloat16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The nearest bfloat16, ties to even.
pub fn bfloat16_from_f32(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return low_half(bits >> 16) | 0x40;
    }
    low_half(round_shift(bits & 0x7fff_ffff, 16)) | low_half(bits >> 16) & 0x8000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_the_way_through_f32() {
        for bits in 0..=u16::MAX {
            let value = half_to_f32(bits);
            if value.is_nan() {
                assert!(half_to_f32(half_from_f32(value)).is_nan());
            } else {
                assert_eq!(half_from_f32(value), bits, "{value}");
            }
            let value = bfloat16_to_f32(bits);
            if value.is_nan() {
                assert!(bfloat16_to_f32(bfloat16_from_f32(value)).is_nan());
            } else {
                assert_eq!(bfloat16_from_f32(value), bits, "{value}");
            }
        }
    }

    #[test]
    fn known_values() {
        assert_eq!(half_to_f32(0x3c00), 1.0);
        assert_eq!(half_to_f32(0x0001), 2.0_f32.powi(-24));
        assert_eq!(half_to_f32(0xfbff), -65504.0);
        assert_eq!(half_from_f32(65519.0), 0x7bff);
        assert_eq!(half_from_f32(65520.0), 0x7c00);
        assert_eq!(half_from_f32(2.0_f32.powi(-25)), 0, "a tie goes to even");
        assert_eq!(half_from_f32(2.0_f32.powi(-25) * 1.001), 1);
        assert_eq!(half_from_f32(1.0 + 2.0_f32.powi(-11)), 0x3c00, "a tie goes to even");
        assert_eq!(bfloat16_from_f32(1.0), 0x3f80);
        assert_eq!(bfloat16_from_f32(f32::MAX), 0x7f80);
    }
}

//! Code for each of several element types, chosen at load or at run by a type's name.

/// Runs an expression with a type's alias, for the type of `$type` among those listed.
macro_rules! for_types {
    ($type:expr, [$($rust:ty),* $(,)?], $alias:ident => $body:expr, $otherwise:expr) => {{
        let element_type: $crate::tensor::ElementType = $type;
        $(
            if element_type == <$rust as $crate::tensor::Element>::TYPE {
                #[allow(dead_code, reason = "not every body needs the type's name")]
                type $alias = $rust;
                $body
            } else
        )* {
            $otherwise
        }
    }};
}

/// [`for_types`] over float, double, float16, bfloat16 and all whole numbers.
macro_rules! for_numbers {
    ($type:expr, $alias:ident => $body:expr, $otherwise:expr) => {
        $crate::operators::types::for_types!(
            $type,
            [f32, f64, half::f16, half::bf16, i8, i16, i32, i64, u8, u16, u32, u64],
            $alias => $body,
            $otherwise
        )
    };
}

/// [`for_types`] over all whole numbers.
macro_rules! for_integers {
    ($type:expr, $alias:ident => $body:expr, $otherwise:expr) => {
        $crate::operators::types::for_types!(
            $type, [i8, i16, i32, i64, u8, u16, u32, u64], $alias => $body, $otherwise
        )
    };
}

/// [`for_types`] over float and double. The 16-bit floats are computed as floats
/// ([`in_float`](crate::operators::widen::in_float)).
macro_rules! for_reals {
    ($type:expr, $alias:ident => $body:expr, $otherwise:expr) => {
        $crate::operators::types::for_types!($type, [f32, f64], $alias => $body, $otherwise)
    };
}

/// [`for_types`] over every type.
macro_rules! for_every_type {
    ($type:expr, $alias:ident => $body:expr, $otherwise:expr) => {
        $crate::operators::types::for_types!(
            $type,
            [
                f32,
                f64,
                half::f16,
                half::bf16,
                i8,
                i16,
                i32,
                i64,
                u8,
                u16,
                u32,
                u64,
                bool,
                $crate::tensor::Text
            ],
            $alias => $body,
            $otherwise
        )
    };
}

pub(crate) use {for_every_type, for_integers, for_numbers, for_reals, for_types};

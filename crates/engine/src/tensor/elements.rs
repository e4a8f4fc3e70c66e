//! The types of a tensor's elements, and shared vectors of them.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use half::{bf16, f16};

/// A text of a tensor: UTF-8 where an operator reads letters, otherwise any bytes.
pub type Text = Bytes;

/// A Rust type that tensors may hold.
pub trait Element: Clone + Default + PartialEq + fmt::Debug + Send + Sync + 'static {
    /// Its element type.
    const TYPE: ElementType;

    /// Elements of this type.
    fn wrap(values: Arc<Vec<Self>>) -> Elements;

    /// The values, if they are of this type.
    fn unwrap_ref(elements: &Elements) -> Option<&Arc<Vec<Self>>>;

    /// The values, if they are of this type; otherwise the elements as they were.
    fn unwrap_owned(elements: Elements) -> Result<Arc<Vec<Self>>, Elements>;
}

macro_rules! element_types {
    ($( $(#[$documentation:meta])* $variant:ident($rust:ty), $name:literal, onnx $onnx:literal; )*) => {
        /// The type of a tensor's elements.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ElementType {
            $( $(#[$documentation])* $variant, )*
        }

        impl ElementType {
            /// All types.
            pub const ALL: &'static [Self] = &[$( Self::$variant ),*];

            /// The type by the number of ONNX's `TensorProto.DataType`; `None` for one
            /// that we do not compute with (complex, 8-bit and 4-bit floats, 4-bit integers).
            pub fn from_onnx(number: i32) -> Option<Self> {
                match number {
                    $( $onnx => Some(Self::$variant), )*
                    _ => None,
                }
            }

            /// The number of ONNX's `TensorProto.DataType`.
            pub fn to_onnx(self) -> i32 {
                match self {
                    $( Self::$variant => $onnx, )*
                }
            }

            /// Bytes of an element in memory.
            pub fn size(self) -> usize {
                match self {
                    $( Self::$variant => size_of::<$rust>(), )*
                }
            }
        }

        impl fmt::Display for ElementType {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self {
                    $( Self::$variant => $name, )*
                })
            }
        }

        /// Elements, all of one type. Copies share them.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Elements {
            $( $(#[$documentation])* $variant(Arc<Vec<$rust>>), )*
        }

        impl Elements {
            /// How many there are.
            pub fn len(&self) -> usize {
                match self {
                    $( Self::$variant(values) => values.len(), )*
                }
            }

            /// Whether there are none.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Their type.
            pub fn element_type(&self) -> ElementType {
                match self {
                    $( Self::$variant(_) => ElementType::$variant, )*
                }
            }

            /// Where they are: equal for copies, which share them.
            pub fn address(&self) -> usize {
                match self {
                    $( Self::$variant(values) => Arc::as_ptr(values).addr(), )*
                }
            }

            /// Whether no copy shares them.
            pub fn is_unshared(&self) -> bool {
                match self {
                    $( Self::$variant(values) => Arc::strong_count(values) == 1, )*
                }
            }

            /// Zeros, false, or empty texts.
            pub fn zeros(element_type: ElementType, count: usize) -> Self {
                match element_type {
                    $( ElementType::$variant => Self::$variant(Arc::new(vec![<$rust>::default(); count])), )*
                }
            }
        }

        $(
            impl Element for $rust {
                const TYPE: ElementType = ElementType::$variant;

                fn wrap(values: Arc<Vec<Self>>) -> Elements {
                    Elements::$variant(values)
                }

                fn unwrap_ref(elements: &Elements) -> Option<&Arc<Vec<Self>>> {
                    match elements {
                        Elements::$variant(values) => Some(values),
                        _ => None,
                    }
                }

                fn unwrap_owned(elements: Elements) -> Result<Arc<Vec<Self>>, Elements> {
                    match elements {
                        Elements::$variant(values) => Ok(values),
                        other => Err(other),
                    }
                }
            }
        )*
    };
}

impl Elements {
    /// Floating point numbers of any size, in 64 bits; `None` for other types.
    pub fn reals(&self) -> Option<Vec<f64>> {
        Some(match self {
            Self::Float(values) => values.iter().map(|value| f64::from(*value)).collect(),
            Self::Double(values) => values.to_vec(),
            Self::Half(values) => values.iter().map(|value| value.to_f64()).collect(),
            Self::Bfloat16(values) => values.iter().map(|value| value.to_f64()).collect(),
            _ => return None,
        })
    }
}

element_types! {
    /// 32-bit floating point.
    Float(f32), "float", onnx 1;
    /// 64-bit floating point.
    Double(f64), "double", onnx 11;
    /// IEEE 754 half precision.
    Half(f16), "float16", onnx 10;
    /// The upper half of a 32-bit floating point number.
    Bfloat16(bf16), "bfloat16", onnx 16;
    /// 8-bit signed.
    Int8(i8), "int8", onnx 3;
    /// 16-bit signed.
    Int16(i16), "int16", onnx 5;
    /// 32-bit signed.
    Int32(i32), "int32", onnx 6;
    /// 64-bit signed.
    Int64(i64), "int64", onnx 7;
    /// 8-bit unsigned.
    Uint8(u8), "uint8", onnx 2;
    /// 16-bit unsigned.
    Uint16(u16), "uint16", onnx 4;
    /// 32-bit unsigned.
    Uint32(u32), "uint32", onnx 12;
    /// 64-bit unsigned.
    Uint64(u64), "uint64", onnx 13;
    /// True or false.
    Bool(bool), "bool", onnx 9;
    /// Texts.
    Text(Text), "string", onnx 8;
}

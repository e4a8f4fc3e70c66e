//! The types of a tensor's elements, and vectors of them.

use std::fmt;

use adytum_api::tensorflow::DataType;

macro_rules! element_types {
    ($( $(#[$documentation:meta])* $variant:ident($rust:ty), $name:literal, tensorflow $tensorflow:ident, onnx $onnx:literal; )*) => {
        /// The type of a tensor's elements.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ElementType {
            $( $(#[$documentation])* $variant, )*
        }

        impl ElementType {
            /// All types.
            pub const ALL: &'static [Self] = &[$( Self::$variant ),*];

            /// The type of an ONNX tensor, by the number of its
            /// `TensorProto.DataType`; `None` for texts and complex numbers.
            pub fn from_onnx(number: u64) -> Option<Self> {
                match number {
                    $( $onnx => Some(Self::$variant), )*
                    _ => None,
                }
            }

            /// TensorFlow's name of the type in the API.
            pub fn to_tensorflow(self) -> DataType {
                match self {
                    $( Self::$variant => DataType::$tensorflow, )*
                }
            }

            /// Bytes of an element.
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

        /// Elements, all of one type.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Elements {
            $( $(#[$documentation])* $variant(Vec<$rust>), )*
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

            /// Zeros.
            pub fn zeros(element_type: ElementType, count: usize) -> Self {
                match element_type {
                    $( ElementType::$variant => Self::$variant(vec![<$rust>::default(); count]), )*
                }
            }
        }
    };
}

element_types! {
    /// 32-bit floating point.
    Float(f32), "float", tensorflow DtFloat, onnx 1;
    /// 64-bit floating point.
    Double(f64), "double", tensorflow DtDouble, onnx 11;
    /// IEEE 754 half precision, as its bits.
    Half(u16), "half", tensorflow DtHalf, onnx 10;
    /// The upper half of a 32-bit floating point number, as its bits.
    Bfloat16(u16), "bfloat16", tensorflow DtBfloat16, onnx 16;
    /// 8-bit signed.
    Int8(i8), "int8", tensorflow DtInt8, onnx 3;
    /// 16-bit signed.
    Int16(i16), "int16", tensorflow DtInt16, onnx 5;
    /// 32-bit signed.
    Int32(i32), "int32", tensorflow DtInt32, onnx 6;
    /// 64-bit signed.
    Int64(i64), "int64", tensorflow DtInt64, onnx 7;
    /// 8-bit unsigned.
    Uint8(u8), "uint8", tensorflow DtUint8, onnx 2;
    /// 16-bit unsigned.
    Uint16(u16), "uint16", tensorflow DtUint16, onnx 4;
    /// 32-bit unsigned.
    Uint32(u32), "uint32", tensorflow DtUint32, onnx 12;
    /// 64-bit unsigned.
    Uint64(u64), "uint64", tensorflow DtUint64, onnx 13;
    /// True or false.
    Bool(bool), "bool", tensorflow DtBool, onnx 9;
}

impl ElementType {
    /// The type of a tensor in a request; `None` for texts, complex numbers,
    /// resources and variants. TensorFlow's quantized types are stored as
    /// their integers, and ONNX knows only these.
    pub fn from_tensorflow(data_type: DataType) -> Option<Self> {
        match data_type {
            DataType::DtQint8 => Some(Self::Int8),
            DataType::DtQuint8 => Some(Self::Uint8),
            DataType::DtQint16 => Some(Self::Int16),
            DataType::DtQuint16 => Some(Self::Uint16),
            DataType::DtQint32 => Some(Self::Int32),
            other => Self::ALL.iter().copied().find(|known| known.to_tensorflow() == other),
        }
    }
}

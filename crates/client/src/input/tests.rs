use ::image::{Rgb, RgbImage};

use super::*;
use crate::image;

fn signature(dtype: DataType, shape: Option<&[i64]>) -> Signature {
    let shape = shape.map(|sizes| sizes.iter().map(|&size| usize::try_from(size).ok()).collect());
    let tensor = TensorSpecification { element_type: dtype, shape };
    Signature { inputs: [("x".to_owned(), tensor)].into(), outputs: Default::default() }
}

fn input(dtype: DataType, shape: &[i64]) -> Result<ImageInput, ClientError> {
    ImageInput::of(&signature(dtype, Some(shape)), None)
}

/// Two pixels side by side: (0, 51, 102) and (153, 204, 255).
fn picture() -> DecodedImage {
    let pixels = RgbImage::from_fn(2, 1, |x, _| {
        let start = x as u8 * 153;
        Rgb([start, start + 51, start + 102])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    pixels.write_to(&mut bytes, ::image::ImageFormat::Png).unwrap();
    image::decode(bytes.get_ref(), "picture").unwrap()
}

fn sizes(tensor: &TensorProto) -> Vec<i64> {
    tensor.tensor_shape.as_ref().unwrap().dim.iter().map(|dim| dim.size).collect()
}

fn floats(tensor: &TensorProto) -> Vec<f32> {
    tensor.tensor_content.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

#[test]
fn the_channels_are_where_the_model_wants_them() {
    let last = input(DataType::DtFloat, &[-1, 1, 2, 3]).unwrap().tensor(&picture()).unwrap();
    assert_eq!(sizes(&last), [1, 1, 2, 3]);
    assert_eq!(floats(&last), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
    assert_eq!(last.dtype, DataType::DtFloat as i32);

    let first = input(DataType::DtFloat, &[1, 3, 1, 2]).unwrap().tensor(&picture()).unwrap();
    assert_eq!(sizes(&first), [1, 3, 1, 2]);
    assert_eq!(floats(&first), [0.0, 0.6, 0.2, 0.8, 0.4, 1.0]);

    let grey = input(DataType::DtFloat, &[-1, 1, 2]).unwrap().tensor(&picture()).unwrap();
    assert_eq!(sizes(&grey), [1, 1, 2]);
    assert_eq!(floats(&grey).len(), 2);
    let grey_last = input(DataType::DtFloat, &[-1, 1, 2, 1]).unwrap().tensor(&picture()).unwrap();
    assert_eq!((sizes(&grey_last), floats(&grey_last)), (vec![1, 1, 2, 1], floats(&grey)));
}

#[test]
fn elements_are_of_the_models_type() {
    let bytes = input(DataType::DtUint8, &[-1, 1, 2, 3]).unwrap().tensor(&picture()).unwrap();
    assert_eq!(&bytes.tensor_content[..], [0, 51, 102, 153, 204, 255]);
    let double = input(DataType::DtDouble, &[-1, 1, 2, 3]).unwrap().tensor(&picture()).unwrap();
    assert_eq!(double.tensor_content.as_chunks().0.last().map(|&last| f64::from_le_bytes(last)), Some(1.0));
}

#[test]
fn images_are_brought_to_the_models_size_or_keep_theirs() {
    let resized = input(DataType::DtFloat, &[-1, 8, 8, 3]).unwrap().tensor(&picture()).unwrap();
    assert_eq!((sizes(&resized), floats(&resized).len()), (vec![1, 8, 8, 3], 192));
    let own = input(DataType::DtFloat, &[-1, -1, -1, 3]).unwrap().tensor(&picture()).unwrap();
    assert_eq!(sizes(&own), [1, 1, 2, 3]);
}

#[test]
fn other_inputs_are_refused_with_what_was_wanted() {
    for (dtype, shape, words) in [
        (DataType::DtString, Some(&[-1_i64][..]), "wanted are DT_FLOAT"),
        (DataType::DtFloat, Some(&[-1, 64]), "with 1 or 3 channels"),
        (DataType::DtFloat, Some(&[-1, 8, 8, 4]), "with 1 or 3 channels"),
        (DataType::DtFloat, Some(&[-1, 8, 8, -1]), "with 1 or 3 channels"),
        (DataType::DtFloat, Some(&[2, 8, 8, 1]), "batch of any size or of 1"),
        (DataType::DtFloat, Some(&[-1, 0, 8, 1]), "from 1 to 4096"),
        (DataType::DtFloat, Some(&[-1, 1 << 40, 1 << 40, 3]), "from 1 to 4096"),
        (DataType::DtFloat, None, "[...]"),
    ] {
        let error = ImageInput::of(&signature(dtype, shape), None).unwrap_err();
        assert_eq!(error.code(), "unsupported-model");
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.to_string().contains("\"x\""), "{error}");
    }
}

#[test]
fn one_of_several_inputs_is_chosen_by_name() {
    let mut signature = signature(DataType::DtFloat, Some(&[-1, 8, 8, 1]));
    signature.inputs.insert("y".to_owned(), signature.inputs["x"].clone());
    assert_eq!(ImageInput::of(&signature, Some("y")).unwrap().name(), "y");
    assert!(ImageInput::of(&signature, None).unwrap_err().to_string().contains("several inputs (x, y)"));
    assert!(ImageInput::of(&signature, Some("z")).unwrap_err().to_string().contains("it has x, y"));
}

#[test]
fn the_reference_model_takes_224_pixels_of_rgb() {
    let input = ImageInput::of(&Signature::reference(), None).unwrap();
    assert_eq!(input.name(), "input_1");
    let tensor = input.tensor(&picture()).unwrap();
    assert_eq!(sizes(&tensor), [1, 224, 224, 3]);
    assert_eq!(tensor.tensor_content.len(), 4 * 224 * 224 * 3);
}

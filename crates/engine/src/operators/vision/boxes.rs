//! NonMaxSuppression: each class of each image by itself.

use crate::{
    operators::{
        Arguments, Built, Context, Definition, OperatorError, Refusal,
        arguments::{single, tensor_of, unfit, values_of},
        cast::only,
        definition::Builder,
        layout::reserve_places,
    },
    tensor::{ElementType, Tensor},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[("", "NonMaxSuppression", suppress)];

/// A box by its corners, the lesser ones first.
#[derive(Clone, Copy, Debug)]
struct Corners {
    top: f32,
    left: f32,
    bottom: f32,
    right: f32,
}

impl Corners {
    /// Of two opposite corners, in any order.
    fn of_corners(values: &[f32]) -> Self {
        let (y1, x1, y2, x2) = (values[0], values[1], values[2], values[3]);
        Self { top: y1.min(y2), left: x1.min(x2), bottom: y1.max(y2), right: x1.max(x2) }
    }

    /// Of the centre, the width and the height.
    fn of_centre(values: &[f32]) -> Self {
        let (x, y, half_width, half_height) = (values[0], values[1], values[2] / 2.0, values[3] / 2.0);
        Self { top: y - half_height, left: x - half_width, bottom: y + half_height, right: x + half_width }
    }

    fn area(self) -> f32 {
        (self.bottom - self.top) * (self.right - self.left)
    }

    /// Whether what two boxes share is more than a part of what they cover together.
    fn overlaps(self, other: Self, threshold: f32) -> bool {
        let height = self.bottom.min(other.bottom) - self.top.max(other.top);
        let width = self.right.min(other.right) - self.left.max(other.left);
        let shared = height.max(0.0) * width.max(0.0);
        let (own, others) = (self.area(), other.area());
        if shared <= 0.0 || own <= 0.0 || others <= 0.0 {
            return false;
        }
        shared / (own + others - shared) > threshold
    }
}

fn suppress(definition: &Definition<'_>) -> Result<Built, Refusal> {
    for (index, expected) in
        [ElementType::Float, ElementType::Float, ElementType::Int64, ElementType::Float, ElementType::Float]
            .into_iter()
            .enumerate()
    {
        if (index < 2 || definition.has_input(index)) && definition.tensor_type(index)? != expected {
            return Err(definition.unsupported_type(index));
        }
    }
    let centred = definition.attributes.flag("center_point_box", false)?;
    single(definition, ElementType::Int64, move |arguments, context| run(&arguments, centred, context))
}

fn run(arguments: &Arguments, centred: bool, context: &Context<'_>) -> Result<Tensor, OperatorError> {
    let (boxes, scores) = (arguments.tensor(0)?, arguments.tensor(1)?);
    let misfit = || unfit(format!("boxes have the shape {:?}, scores {:?}", boxes.shape(), scores.shape()));
    let ([batch, count, 4], [images, classes, scored]) = (boxes.shape(), scores.shape()) else {
        return misfit();
    };
    if batch != images || count != scored {
        return misfit();
    }
    let most =
        arguments.optional(2).map(|most| only::<i64>(most, "max_output_boxes_per_class")).transpose()?;
    let most = usize::try_from(most.unwrap_or(0)).unwrap_or(0);
    let setting = |index: usize, name: &str| {
        arguments.optional(index).map(|value| only::<f32>(value, name)).transpose()
    };
    let overlap = setting(3, "iou_threshold")?.unwrap_or(0.0);
    let least = setting(4, "score_threshold")?;
    if !(0.0..=1.0).contains(&overlap) {
        return unfit(format!("the iou_threshold is {overlap}; expected 0 to 1"));
    }
    let (corners, scores) = (values_of::<f32>(boxes)?, values_of::<f32>(scores)?);
    reserve_places(count.saturating_mul(2), context)?;
    let mut chosen: Vec<i64> = Vec::new();
    if most == 0 || *count == 0 {
        return tensor_of([0, 3], chosen);
    }
    for image in 0..*batch {
        let corners: Vec<Corners> = corners[image * count * 4..(image + 1) * count * 4]
            .chunks_exact(4)
            .map(if centred { Corners::of_centre } else { Corners::of_corners })
            .collect();
        for class in 0..*classes {
            context.check()?;
            let scores = &scores[(image * classes + class) * count..][..*count];
            let mut order: Vec<usize> =
                (0..*count).filter(|place| least.is_none_or(|least| scores[*place] > least)).collect();
            // The highest score first; of equals the first box.
            order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
            let mut kept: Vec<usize> = Vec::new();
            for place in order {
                if kept.len() == most {
                    break;
                }
                if !kept.iter().any(|other| corners[place].overlaps(corners[*other], overlap)) {
                    kept.push(place);
                }
            }
            reserve_places((chosen.len() + 3 * kept.len()).saturating_mul(2), context)?;
            chosen.extend(kept.into_iter().flat_map(|place| [image as i64, class as i64, place as i64]));
        }
    }
    tensor_of([chosen.len() / 3, 3], chosen)
}

#[cfg(test)]
mod tests {
    use super::Corners;

    #[test]
    fn an_overlap_is_of_areas() {
        let (a, b) = (Corners::of_corners(&[0.0, 0.0, 1.0, 1.0]), Corners::of_corners(&[1.5, 1.0, 0.5, 0.0]));
        // Half of each is shared: a third of both.
        assert!(a.overlaps(b, 0.33) && !a.overlaps(b, 0.34));
        let same = Corners::of_centre(&[0.5, 0.5, 1.0, 1.0]);
        assert!(same.overlaps(a, 0.99));
    }
}

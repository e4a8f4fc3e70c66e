//! Decides who computes a node.

use super::{
    Facts, PlanError, Planner,
    fold::{Budget, fold, is_deterministic, largest_output},
    placement::Placement,
};
use crate::{
    facts::{
        Fact, Inferred, Query, infer,
        size::{Size, Sizes},
    },
    island::rules::{Producers, View, translate},
    onnx::model::{Node, ValueId},
    operators::{Built, Definition, Input, Refusal, find},
    tensor::{ElementType, Tensor, Value, ValueType},
};

/// Bytes that rten may compute at load beyond eight times the file.
const FIXED: usize = 64 << 20;

impl Planner<'_> {
    /// Decides who computes a node; `None` if it was computed.
    pub(super) fn place(
        &mut self,
        node: &Node,
        producers: Producers<'_>,
        facts: &mut Facts,
        sizes: &mut Sizes,
    ) -> Result<Option<Placement>, PlanError> {
        let mut inputs: Vec<Option<Fact>> = Vec::with_capacity(node.inputs.len());
        for input in &node.inputs {
            inputs.push(match input {
                None => None,
                Some(value) => Some(
                    self.fact(facts, *value)
                        .ok_or_else(|| self.refusal(node, "the type of an input is not known"))?,
                ),
            });
        }
        if !node.graphs.is_empty() {
            let (operator, output_facts) = self.control(node, facts, sizes)?;
            for (output, fact) in node.outputs.iter().zip(output_facts) {
                if let Some(output) = output {
                    facts.insert(*output, fact);
                }
            }
            return Ok(Some(Placement::Own(operator)));
        }

        let present: Vec<&Fact> = inputs.iter().flatten().collect();
        let all_constant = present.iter().all(|fact| fact.is_constant);
        let sizes_of = present.iter().map(|fact| match (&fact.constant, fact.known_shape()) {
            (Some(constant), _) => constant.bytes(),
            (None, Some(shape)) => shape.iter().copied().fold(8, usize::saturating_mul),
            (None, None) => usize::MAX,
        });
        let bytes = sizes_of.fold(0, usize::saturating_add);
        let budget = Budget { file: self.plan.file, folded: self.folded };
        if all_constant
            && is_deterministic(node)
            && let Some(largest) = largest_output(node, bytes, budget, || self.constants.held())
            && self.fold(node, largest)?
        {
            if largest == bytes {
                self.folded = self.folded.saturating_add(bytes);
            }
            return Ok(None);
        }

        let references: Vec<Option<&Fact>> = inputs.iter().map(Option::as_ref).collect();
        let fact = |value: ValueId| self.fact(facts, value);
        let view = View { node, inputs: &references, sizes, producers, fact: &fact };
        let translation = if self.is_rounded(&references) { None } else { translate(&view) };
        let inferred = infer(&Query { node, inputs: &references }, sizes);
        // rten computes at load what depends on constants only, and asks nobody for the memory.
        let is_fixed = references.iter().flatten().all(|fact| fact.is_fixed);
        let fixed = if is_fixed { known_bytes(&inferred) } else { Some(0) };
        let translation = match fixed.and_then(|bytes| self.fixed_bytes.checked_add(bytes)) {
            Some(total) if total <= self.plan.file.saturating_mul(8).saturating_add(FIXED) => {
                self.fixed_bytes = total;
                translation
            }
            _ => None,
        };
        // An island is charged by the shapes of its values, which follow from its inputs' shapes. Where
        // not even the number of dimensions is known, an operator of ours, if there is one, asks first.
        let are_known = references.iter().flatten().all(|fact| fact.shape.is_some());
        let is_bounded = are_known
            && node.outputs.iter().enumerate().all(|(index, output)| {
                output.is_none() || inferred.get(index).is_some_and(|found| found.shape.is_some())
            });
        let ours = if translation.is_some() && !is_bounded { self.build(node, facts)?.ok() } else { None };
        let (placement, types) = match (translation, ours) {
            (_, Some(built)) => (Placement::Own(built.operator), built.types),
            (Some(translation), None) => {
                let types = translation.types.clone();
                (Placement::Island(translation), types)
            }
            (None, None) => {
                let built = self.own(node, facts)?;
                (Placement::Own(built.operator), built.types)
            }
        };
        let in_island = matches!(placement, Placement::Island(_));
        if let Some(values) = known_outputs(node, &types, &inferred) {
            for (output, tensor) in node.outputs.iter().zip(values) {
                if let Some(output) = output {
                    self.constants.insert(*output, tensor);
                }
            }
            self.constants.forget(node);
            return Ok(None);
        }
        let mut inferred = inferred.into_iter();
        for (index, output) in node.outputs.iter().enumerate() {
            let found = inferred.next().unwrap_or_default();
            let Some(output) = output else { continue };
            let value_type = types.get(index).cloned().ok_or_else(|| {
                self.refusal(node, format!("it has no output {index}, which the model takes"))
            })?;
            let is_tensor = matches!(value_type, ValueType::Tensor(_));
            let mut fact = Fact::typed(value_type);
            fact.is_fixed = is_fixed && in_island;
            if is_tensor {
                fact.shape = found.shape;
                fact.range = found.range;
                fact = fact.with_contents(found.contents);
            }
            facts.insert(*output, fact);
        }
        Ok(Some(placement))
    }

    /// Whether a node's numbers are rounded to a narrow type after each operator, which islands do
    /// not: they compute in 32 bits, as other runtimes do for models with weights of 16 bits.
    /// Without such weights there is no speed to win.
    fn is_rounded(&self, inputs: &[Option<&Fact>]) -> bool {
        !self.has_half_weights
            && inputs
                .iter()
                .flatten()
                .any(|fact| matches!(fact.element_type(), Some(ElementType::Half | ElementType::Bfloat16)))
    }

    /// Computes a node of constants. False if that can't be done, or is not worth it.
    fn fold(&mut self, node: &Node, largest: usize) -> Result<bool, PlanError> {
        let Ok(Ok(built)) = self.build(node, &Facts::new()) else { return Ok(false) };
        let mut inputs = Vec::new();
        for input in &node.inputs {
            inputs.push(match input {
                None => None,
                Some(value) => self.constants.tensor(*value, self.files)?.map(Value::Tensor),
            });
        }
        let Some(outputs) = fold(built.operator.as_ref(), inputs, largest) else { return Ok(false) };
        if outputs.len() < node.outputs.len() {
            return Ok(false);
        }
        for (output, tensor) in node.outputs.iter().zip(outputs) {
            if let Some(output) = output {
                self.constants.insert(*output, tensor);
            }
        }
        self.constants.forget(node);
        Ok(true)
    }

    /// Our own operator of a node.
    fn own(&mut self, node: &Node, facts: &Facts) -> Result<Built, PlanError> {
        match self.build(node, facts)? {
            Ok(built) => Ok(built),
            Err(Some(refusal)) => Err(self.refusal(node, refusal.reason)),
            Err(None) => Err(self.refusal(
                node,
                "no operator here computes it; export the model without it, or use another engine",
            )),
        }
    }

    /// Our own operator of a node. The inner error is why not; `None` if there is none.
    pub(super) fn build(
        &mut self,
        node: &Node,
        facts: &Facts,
    ) -> Result<Result<Built, Option<Refusal>>, PlanError> {
        let Some(builder) = find(&node.domain, &node.operator) else { return Ok(Err(None)) };
        let mut known: Vec<Option<(ValueType, Option<Tensor>)>> = Vec::with_capacity(node.inputs.len());
        for input in &node.inputs {
            known.push(match input {
                None => None,
                Some(value) => match self.constants.tensor(*value, self.files)? {
                    Some(tensor) => Some((ValueType::Tensor(tensor.element_type()), Some(tensor))),
                    None => {
                        facts.get(value).and_then(|fact| fact.value_type.clone()).map(|known| (known, None))
                    }
                },
            });
        }
        let inputs: Vec<Option<Input<'_>>> = known
            .iter()
            .map(|known| {
                known.as_ref().map(|(value_type, constant)| Input { value_type, constant: constant.as_ref() })
            })
            .collect();
        let definition = Definition {
            operator: &node.operator,
            opset: node.opset,
            attributes: &node.attributes,
            inputs: &inputs,
            outputs: node.outputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1),
        };
        Ok(builder(&definition).map_err(Some))
    }
}

/// The bytes of outputs, if their shapes are known.
fn known_bytes(outputs: &[Inferred]) -> Option<usize> {
    if outputs.is_empty() {
        return None;
    }
    outputs.iter().try_fold(0_usize, |sum, output| {
        let shape = output.shape.as_ref()?;
        let bytes = shape
            .iter()
            .try_fold(4_usize, |product, size| product.checked_mul(usize::try_from(size.value()?).ok()?))?;
        sum.checked_add(bytes)
    })
}

/// The outputs of a node, if their numbers follow from what is known of shapes.
fn known_outputs(node: &Node, types: &[ValueType], inferred: &[Inferred]) -> Option<Vec<Tensor>> {
    if node.outputs.is_empty() || inferred.len() < node.outputs.len() {
        return None;
    }
    let known = |(value_type, inferred): (&ValueType, &Inferred)| {
        let shape = inferred.shape.as_ref()?;
        let shape: Option<Vec<usize>> =
            shape.iter().map(|size| usize::try_from(size.value()?).ok()).collect();
        let numbers: Option<Vec<i64>> = inferred.contents.as_ref()?.iter().map(Size::value).collect();
        match value_type.tensor()? {
            ElementType::Int64 => Tensor::from_vec(shape?, numbers?),
            ElementType::Int32 => {
                let numbers: Option<Vec<i32>> =
                    numbers?.into_iter().map(|number| i32::try_from(number).ok()).collect();
                Tensor::from_vec(shape?, numbers?)
            }
            _ => None,
        }
    };
    types.iter().zip(inferred).take(node.outputs.len()).map(known).collect()
}

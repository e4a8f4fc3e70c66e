//! Which name means which value, in nested graphs.

use std::collections::{BTreeSet, HashMap};

use super::{OnnxError, model::ValueId};

/// The names of one graph or of one call of a function.
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// `None` for an input of a function that its caller left out.
    names: HashMap<String, Option<ValueId>>,
    captures: BTreeSet<ValueId>,
}

/// The scopes that are open: those of nested graphs see those outside, up to the
/// function that they are in.
#[derive(Debug, Default)]
pub(super) struct Scopes {
    /// The names of all values.
    pub(super) values: Vec<String>,
    open: Vec<Scope>,
    /// Where the visible scopes begin: a function does not see its caller's names.
    visible: usize,
}

impl Scopes {
    /// A new value.
    pub(super) fn value(&mut self, name: &str) -> Result<ValueId, OnnxError> {
        let number = u32::try_from(self.values.len()).map_err(|_| OnnxError::TooMany {
            what: "values",
            found: self.values.len(),
            limit: u32::MAX as usize,
        })?;
        self.values.push(name.to_owned());
        Ok(ValueId(number))
    }

    /// Opens the scope of a nested graph.
    pub(super) fn enter(&mut self) {
        self.open.push(Scope::default());
    }

    /// Closes it; gives the values of outer graphs that it used.
    pub(super) fn leave(&mut self) -> Vec<ValueId> {
        self.open.pop().map(|scope| scope.captures.into_iter().collect()).unwrap_or_default()
    }

    /// Opens the scope of a function's call. Give the result to [`Scopes::leave_function`].
    pub(super) fn enter_function(&mut self) -> usize {
        self.open.push(Scope::default());
        std::mem::replace(&mut self.visible, self.open.len() - 1)
    }

    /// Closes it.
    pub(super) fn leave_function(&mut self, visible: usize) {
        self.open.pop();
        self.visible = visible;
    }

    /// Gives a value a name in the innermost scope.
    pub(super) fn bind(&mut self, name: &str, value: Option<ValueId>) -> Result<(), OnnxError> {
        let Some(scope) = self.open.last_mut() else { return Ok(()) };
        match scope.names.insert(name.to_owned(), value) {
            None => Ok(()),
            Some(_) => Err(OnnxError::Duplicate { name: name.to_owned() }),
        }
    }

    /// A new value with a name in the innermost scope.
    pub(super) fn define(&mut self, name: &str) -> Result<ValueId, OnnxError> {
        let value = self.value(name)?;
        self.bind(name, Some(value))?;
        Ok(value)
    }

    /// What the innermost scope itself calls by this name.
    pub(super) fn own(&self, name: &str) -> Option<ValueId> {
        self.open.last().and_then(|scope| scope.names.get(name)).copied().flatten()
    }

    /// The value of this name, or of no value; an error if nothing has it.
    pub(super) fn find(
        &mut self,
        name: &str,
        user: impl FnOnce() -> String,
    ) -> Result<Option<ValueId>, OnnxError> {
        let visible = self.open.get_mut(self.visible..).unwrap_or_default();
        let found = visible
            .iter()
            .enumerate()
            .rev()
            .find_map(|(index, scope)| scope.names.get(name).map(|value| (index, *value)));
        let Some((index, value)) = found else {
            return Err(OnnxError::Unknown { user: user(), name: name.to_owned() });
        };
        if let Some(value) = value {
            for scope in visible.iter_mut().skip(index + 1) {
                scope.captures.insert(value);
            }
        }
        Ok(value)
    }
}

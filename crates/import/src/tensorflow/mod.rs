//! The files that TensorFlow wrote: `saved_model.pb`, the variables and the assets.

pub(crate) mod attributes;
pub(crate) mod budget;
pub(crate) mod bundle;
pub(crate) mod defaults;
pub(crate) mod edges;
pub(crate) mod initialisers;
pub(crate) mod lookup;
pub(crate) mod messages;
pub(crate) mod model;
pub(crate) mod table;
pub(crate) mod tensors;

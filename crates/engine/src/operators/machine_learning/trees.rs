//! Ensembles of decision trees: `TreeEnsembleClassifier`, `TreeEnsembleRegressor` and,
//! from version 5 of the domain, `TreeEnsemble`.
//!
//! A model lists its nodes; [`forest`] keeps them in flat arrays with indices that were
//! checked at load, so a row goes from root to leaf without recursion. [`compiled`] makes of them what the
//! kernels take, where only orders are compared: masks of leaves for many rows, walks that take turns for a few.

mod classifier;
mod compiled;
mod draft;
mod ensemble;
mod forest;
mod listing;
mod nodes;
mod number;
mod regressor;

use super::DOMAIN;
use crate::operators::definition::Builder;

pub(in crate::operators) const OPERATORS: &[(&str, &str, Builder)] = &[
    (DOMAIN, "TreeEnsembleClassifier", classifier::build),
    (DOMAIN, "TreeEnsembleRegressor", regressor::build_regressor),
    (DOMAIN, "TreeEnsemble", regressor::build_ensemble),
];

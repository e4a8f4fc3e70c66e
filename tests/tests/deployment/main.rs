//! The deployment's files without a cluster: what `adytum deployment` prepares, what
//! the YAML starts and what `adytum provision` gives out fit together.

mod fixture;
mod helm;
mod owner_directory;
mod yaml;

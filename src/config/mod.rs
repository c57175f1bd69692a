//! Configuration: `raw` is what users write, `check` judges it, `model` is what the program uses.

pub mod model;

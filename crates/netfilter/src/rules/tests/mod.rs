//! Rules as text and as behaviour, case by case.

mod chains;
mod criteria;
mod fuzz;
mod refusals;
mod text;
mod world;

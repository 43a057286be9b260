//! Writes Windows dumps, full and bitmap.

mod plan;
mod writer;

pub use plan::WindowsSummary;
pub(crate) use plan::{PlanError, WinDmpPlan, WinDmpRequest};

//! Writing Windows dumps, full and bitmap.

mod plan;
mod writer;

pub(crate) use plan::WinDmpPlan;
pub use plan::WindowsSummary;

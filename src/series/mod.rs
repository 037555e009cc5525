//! Tables of label sets and their totals.

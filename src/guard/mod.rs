//! Sizes, media types and shapes of what a request brings, its head and its body, and that nothing
//! on which a rule decides is said twice.

mod body;
mod head;
mod host;
mod json;
mod single;

pub use body::{BodyBudget, check_json_media_type, content_length, is_json_media_type};
pub use head::check_head;
pub use host::host_of;
pub use json::read_json;
pub use single::{SingleValues, check_readable};

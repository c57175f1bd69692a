/// The reference of all keys, made from the schema: `docs/configuration.md`.
pub fn reference_markdown() -> String {
    String::new()
}

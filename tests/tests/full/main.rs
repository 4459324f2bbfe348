//! What happens while a table is full that all namespaces of the host share. By itself: other tests need room in it.

mod local;
#[path = "../needs/mod.rs"]
mod needs;

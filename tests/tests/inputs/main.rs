//! What the core makes of its inputs, without a kernel or a host: no root. See each file.

mod driven;
mod memory;
mod order;

//! The wire contract between netdx's eBPF programs and its loader.
//!
//! Owns: the byte layout of every ring-buffer record ([`record`]) and of the load-time configuration ([`config`]).
//! Must not know: std, aya, or what any of it means for a verdict.
//!
//! Rules: plain integers only, explicit padding, no Rust enum on the wire; every record begins with a
//! [`record::Header`]; all numbers in host byte order unless the field says "network order"; IPv4 addresses
//! stand in the first four bytes of a 16-byte field (network order), the rest zero.
#![no_std]

pub mod config;
#[cfg(test)]
mod layout;
pub mod record;

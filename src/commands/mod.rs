//! The commands, one file each.

pub(crate) mod analyze;
pub(crate) mod assemble;
pub(crate) mod build;
mod call;
pub(crate) mod check;
pub(crate) mod df;
pub(crate) mod diff;
pub(crate) mod export;
pub(crate) mod fsck;
pub(crate) mod history;
mod image_tree;
pub(crate) mod images;
pub(crate) mod imagetools;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod load;
pub(crate) mod login;
pub(crate) mod manifest;
pub(crate) mod plan;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod rmi;
pub(crate) mod save;
pub(crate) mod search;
pub(crate) mod tag;

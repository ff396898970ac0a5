//! What the firmware tells: the device tree, and in it the command line.
//!
//! **Spec**: Devicetree Specification 0.4, "Flattened Devicetree (DTB) Format", "`/chosen` Node".

use dtoolkit::fdt::Fdt;
use dtoolkit::{Node, Property};

use crate::memory;

const MAGIC: u32 = 0xd00d_feed;

/// The device tree, as far as every part of this kernel needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Info {
    pub(crate) tree: Fdt<'static>,
    /// Empty if there is none; `None` if it is not UTF-8.
    pub(crate) command_line: Option<&'static str>,
}

impl Info {
    /// Reads the tree at `address`, or `None` if there is none.
    pub(crate) fn read(address: usize) -> Option<Self> {
        let head = memory::bytes(address, 8)?;
        let word = |at: usize| {
            head.get(at..)?
                .first_chunk()
                .copied()
                .map(u32::from_be_bytes)
        };
        if word(0)? != MAGIC {
            return None;
        }
        let bytes = memory::bytes(address, usize::try_from(word(4)?).ok()?)?;
        let tree = Fdt::new(bytes).ok()?;
        let chosen = tree.find_node("/chosen");
        let property = chosen.and_then(|chosen| chosen.property("bootargs"));
        Some(Self {
            tree,
            command_line: property.map_or(Some(""), |property| property.value_as().ok()),
        })
    }
}

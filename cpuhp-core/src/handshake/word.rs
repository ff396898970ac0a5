//! The sync word: tag, flags and epoch of one start.

use crate::step::{How, Section};

/// What the sync word says of a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Tag {
    /// Off, confirmed.
    Dead = 0,
    /// Asked to start, not heard of yet.
    Kicked = 1,
    /// It runs and waits for its release.
    Alive = 2,
    /// Released: it walks STARTING up.
    Go = 3,
    /// Its mailbox works.
    Up = 4,
    /// Told to leave before it was released.
    Die = 5,
    /// It has said its last word and is on its way out.
    Gone = 6,
    /// Given up on before it came; it may still come.
    Cancelled = 7,
    /// It came too late, or lost patience, and rests until it is wanted again.
    Parked = 8,
}

impl Tag {
    /// Reads a tag back.
    #[inline]
    pub(crate) const fn from_bits(bits: u32) -> Self {
        match bits {
            1 => Self::Kicked,
            2 => Self::Alive,
            3 => Self::Go,
            4 => Self::Up,
            5 => Self::Die,
            6 => Self::Gone,
            7 => Self::Cancelled,
            8 => Self::Parked,
            // No other number is ever written.
            _ => Self::Dead,
        }
    }

    /// Whether the AP does not run, or rests off everything PREPARE made.
    pub(crate) const fn is_resting(self) -> bool {
        matches!(self, Self::Dead | Self::Parked)
    }

    /// Whether the AP is moving by itself, so that its state is its own.
    #[inline]
    pub(crate) const fn is_moving(self) -> bool {
        matches!(self, Self::Go | Self::Die | Self::Gone)
    }
}

/// One reading of the sync word: `tag` in bits 0..8, `flags` in 8..16, `epoch` in 16..32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Word(pub(super) u32);

/// Whether a started AP needs a release.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Release {
    /// It waits in ALIVE until the control CPU lets it go.
    ByControl,
    /// It goes on by itself up to the pre-posted request.
    Auto,
}

pub(super) const AUTO: u32 = 1 << 8;
/// Released on the way back from a failure.
pub(super) const BACK: u32 = 1 << 9;
/// Started as part of a resume.
pub(super) const RESUME: u32 = 1 << 10;

impl Word {
    #[inline]
    pub(super) const fn new(tag: Tag, flags: u32, epoch: u16) -> Self {
        Self(tag as u32 | flags | (epoch as u32) << 16)
    }

    #[inline]
    pub(crate) const fn tag(self) -> Tag {
        Tag::from_bits(self.0 & 0xff)
    }

    #[inline]
    pub(crate) const fn epoch(self) -> u16 {
        (self.0 >> 16) as u16
    }

    #[inline]
    pub(super) const fn is_auto(self) -> bool {
        self.0 & AUTO != 0
    }

    /// Whether the AP was released on the way back from a failure.
    #[inline]
    const fn is_back(self) -> bool {
        self.0 & BACK != 0
    }

    /// Returns how the AP walks STARTING up.
    pub(crate) fn how(self) -> How {
        let rollback = if self.is_back() { How::ROLLBACK } else { 0 };
        let suspend = if self.0 & RESUME != 0 {
            How::SUSPEND
        } else {
            0
        };
        How::new(Section::Starting, rollback | suspend)
    }

    /// The same start in another tag; the flags belong to KICKED, ALIVE and GO only.
    #[inline]
    pub(super) const fn to(self, tag: Tag) -> Self {
        Self::new(tag, 0, self.epoch())
    }
}

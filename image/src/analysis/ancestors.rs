//! What the directories above a path say about it.

use crate::layer::path::is_below;

/// What one layer says about everything below a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Note<T> {
    /// Position of the layer.
    pub(super) layer: usize,
    /// What it says.
    pub(super) what: T,
}

/// The notes of all directories above the current path. Paths come in order, so they are a stack.
#[derive(Debug)]
pub(super) struct Ancestors<'a, T> {
    /// For each directory with notes: those of it and of all above it, one a layer, lowest first.
    frames: Vec<(&'a [u8], Vec<Note<T>>)>,
}

impl<T> Default for Ancestors<'_, T> {
    fn default() -> Self {
        Self { frames: Vec::new() }
    }
}

impl<'a, T: Copy> Ancestors<'a, T> {
    /// Goes to the next path.
    pub(super) fn enter(&mut self, path: &[u8]) {
        while let Some((directory, _)) = self.frames.last()
            && !is_below(path, directory)
        {
            self.frames.pop();
        }
    }

    /// Returns the first note of a layer above `layer`, if it is not above `limit`.
    pub(super) fn first_between(&self, layer: usize, limit: Option<usize>) -> Option<Note<T>> {
        let (_, notes) = self.frames.last()?;
        let first = notes.partition_point(|note| note.layer <= layer);
        let note = *notes.get(first)?;
        limit
            .is_none_or(|limit| note.layer <= limit)
            .then_some(note)
    }

    /// Adds notes, lowest layer first, about what is below `path`. Where a directory above has a note
    /// of the same layer, that counts.
    pub(super) fn push(&mut self, path: &'a [u8], own: &[Note<T>]) {
        if own.is_empty() {
            return;
        }
        let mut notes = self
            .frames
            .last()
            .map_or_else(Vec::new, |(_, all)| all.clone());
        let above = notes.len();
        for note in own {
            if notes[..above]
                .binary_search_by_key(&note.layer, |note| note.layer)
                .is_err()
            {
                notes.push(*note);
            }
        }
        notes.sort_by_key(|note| note.layer);
        self.frames.push((path, notes));
    }
}

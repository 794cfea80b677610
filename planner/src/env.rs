//! An ordered environment: `NAME=value` entries, each name found at once.

use std::collections::HashMap;

/// Variables in the order in which they were first set.
///
/// Entries are kept as an image config holds them; one without `=` is a variable with an empty
/// value. Of several entries with one name the first is the one that is looked up and replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Env {
    entries: Vec<String>,
    places: HashMap<String, usize>,
    n_bytes: usize,
}

impl Env {
    /// Returns the environment with `entries` as they are, repeated names included.
    pub(crate) fn from_entries(entries: Vec<String>) -> Self {
        let mut env = Self::default();
        for entry in entries {
            env.n_bytes += entry.len();
            // A later `set` replaces the first of equal names, as BuildKit does.
            let name = name_of(&entry).to_owned();
            let place = env.entries.len();
            env.places.entry(name).or_insert(place);
            env.entries.push(entry);
        }
        env
    }

    /// Sets a variable: in its place if it is there, else at the end.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        self.n_bytes += entry.len();
        if let Some(place) = self.places.get(name) {
            self.n_bytes -= self.entries[*place].len();
            self.entries[*place] = entry;
        } else {
            self.places.insert(name.to_owned(), self.entries.len());
            self.entries.push(entry);
        }
    }

    /// Returns a variable's value.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let entry = &self.entries[*self.places.get(name)?];
        // Cut by the name's length: a name from a quoted ENV key may hold `=` itself.
        Some(entry.get(name.len() + 1..).unwrap_or_default())
    }

    /// Returns all entries in order.
    pub(crate) fn entries(&self) -> &[String] {
        &self.entries
    }

    /// Returns all names in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| name_of(entry))
    }

    /// Returns all names with their values, in order.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries
            .iter()
            .map(|entry| entry.split_once('=').unwrap_or((entry, "")))
    }

    /// Returns the size of all entries.
    pub(crate) fn n_bytes(&self) -> usize {
        self.n_bytes
    }
}

fn name_of(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_keep_their_place() {
        let mut env = Env::from_entries(vec!["A=1".into(), "B".into(), "A=2".into()]);
        assert_eq!(env.get("A"), Some("1"));
        assert_eq!(env.get("B"), Some(""));
        env.set("C", "x=y");
        env.set("A", "3");
        env.set("B", "");
        assert_eq!(env.entries(), ["A=3", "B=", "A=2", "C=x=y"]);
        assert_eq!(env.get("C"), Some("x=y"));
        assert_eq!(env.get("D"), None);
        assert_eq!(env.n_bytes(), 3 + 2 + 3 + 5);
        assert_eq!(env.names().collect::<Vec<_>>(), ["A", "B", "A", "C"]);
        assert_eq!(env.pairs().last(), Some(("C", "x=y")));
    }
}

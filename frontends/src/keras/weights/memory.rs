//! A [`Store`] in memory, for tests.

use std::collections::{BTreeMap, BTreeSet};

use crate::keras::container::store::{Member, ReadError, Store};

/// Groups, string attributes and arrays by path.
#[derive(Default)]
pub(crate) struct MemoryStore {
    groups: BTreeSet<String>,
    attributes: BTreeMap<(String, String), Vec<String>>,
    arrays: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl MemoryStore {
    /// Adds a group and its parents.
    pub fn group(mut self, path: &str) -> MemoryStore {
        for (at, _) in path.match_indices('/') {
            self.groups.insert(path[..at].to_owned());
        }
        self.groups.insert(path.to_owned());
        self
    }

    /// Adds a list of strings to a group.
    pub fn list(self, path: &str, name: &str, values: &[&str]) -> MemoryStore {
        let mut store = self.group(path);
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        store.attributes.insert((path.to_owned(), name.to_owned()), values);
        store
    }

    /// Adds an array of zeros.
    pub fn array(self, path: &str, shape: &[usize]) -> MemoryStore {
        let mut store = match path.rsplit_once('/') {
            Some((group, _)) => self.group(group),
            None => self,
        };
        store.arrays.insert(path.to_owned(), (shape.to_vec(), vec![0.0; shape.iter().product()]));
        store
    }
}

impl Store for MemoryStore {
    fn has_group(&self, path: &str) -> bool {
        path.is_empty() || self.groups.contains(path)
    }

    fn strings(&self, path: &str, name: &str) -> Result<Option<Vec<String>>, ReadError> {
        if !self.has_group(path) {
            return Err(format!("no group {path}"));
        }
        Ok(self.attributes.get(&(path.to_owned(), name.to_owned())).cloned())
    }

    fn members(&self, path: &str) -> Result<Vec<Member>, ReadError> {
        let inside = |candidate: &String| -> Option<String> {
            let rest = candidate.strip_prefix(path)?.strip_prefix('/')?;
            (!rest.contains('/')).then(|| rest.to_owned())
        };
        let groups = self.groups.iter().filter_map(inside).map(|name| Member { name, is_group: true });
        let arrays = self.arrays.keys().filter_map(inside).map(|name| Member { name, is_group: false });
        let mut members: Vec<Member> = groups.chain(arrays).collect();
        members.sort();
        Ok(members)
    }

    fn shape(&self, path: &str) -> Result<Vec<usize>, ReadError> {
        self.arrays.get(path).map(|(shape, _)| shape.clone()).ok_or_else(|| format!("no array {path}"))
    }

    fn read(&self, path: &str) -> Result<Vec<f32>, ReadError> {
        self.arrays.get(path).map(|(_, values)| values.clone()).ok_or_else(|| format!("no array {path}"))
    }
}

//! Circles in a directed graph of names.

use std::collections::{BTreeMap, BTreeSet};

/// Names, each with those that it needs.
#[derive(Clone, Default, Debug)]
pub struct Graph {
    needs: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Adds a name that needs nothing so far.
    pub fn add(&mut self, name: &str) {
        self.needs.entry(name.to_owned()).or_default();
    }

    /// Notes that `name` needs `other`, if both have been added.
    pub fn connect(&mut self, name: &str, other: &str) {
        if self.has(other)
            && let Some(needs) = self.needs.get_mut(name)
        {
            needs.insert(other.to_owned());
        }
    }

    /// True if `name` has been added.
    pub fn has(&self, name: &str) -> bool {
        self.needs.contains_key(name)
    }

    /// The number of names.
    pub fn len(&self) -> usize {
        self.needs.len()
    }

    /// The largest strongly connected component: names that need each other, by way
    /// of others too. Empty without a circle.
    pub fn largest_circle(&self) -> Vec<String> {
        let reach: BTreeMap<_, _> =
            self.needs.keys().map(|name| (name, self.reachable(name))).collect();
        let circle = |name: &String| -> Vec<String> {
            let others = reach[name].iter().filter(|other| reach[other].contains(name));
            others.cloned().collect()
        };
        let circles = self.needs.keys().map(circle).filter(|circle| circle.len() > 1);
        // The first of the largest.
        circles
            .reduce(|best, next| if next.len() > best.len() { next } else { best })
            .unwrap_or_default()
    }

    /// The needs among some names, as `a needs b, c`.
    pub fn needs_among(&self, names: &[String]) -> Vec<String> {
        let needs = |name: &String| {
            let needs =
                self.needs[name].iter().filter(|need| *need != name && names.contains(need));
            format!("{name} needs {}", needs.cloned().collect::<Vec<_>>().join(", "))
        };
        names.iter().map(needs).collect()
    }

    /// All that `name` needs, by way of others too; itself only in a circle.
    fn reachable(&self, name: &str) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut waiting = vec![name];
        while let Some(next) = waiting.pop() {
            for need in &self.needs[next] {
                if reached.insert(need.clone()) {
                    waiting.push(need);
                }
            }
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::default();
        for (from, to) in edges {
            graph.add(from);
            graph.add(to);
        }
        for (from, to) in edges {
            graph.connect(from, to);
        }
        graph
    }

    #[test]
    fn a_tree_has_no_circle_and_neither_has_a_name_that_needs_itself() {
        let tree = graph(&[("a", "b"), ("a", "c"), ("b", "c"), ("c", "c")]);
        assert!(tree.largest_circle().is_empty());
    }

    #[test]
    fn the_largest_circle_is_found_by_way_of_others() {
        let two = graph(&[("a", "b"), ("b", "a"), ("b", "x"), ("x", "y"), ("y", "z"), ("z", "x")]);
        let circle = two.largest_circle();
        assert_eq!(circle, ["x", "y", "z"]);
        assert_eq!(two.needs_among(&circle), ["x needs y", "y needs z", "z needs x"]);
    }
}

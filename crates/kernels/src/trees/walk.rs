//! Trees as nodes of one array: a walk from root to leaf.

#![expect(unsafe_code, reason = "nodes and features without a check of bounds that were checked before")]

use crate::Unfit;

/// The bit of [`Node::feature`] that says that a missing feature counts as true.
const MISSING: u32 = 1 << 31;

/// A node. The two children of a branch follow one another, the true one first.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Node<T> {
    /// Of a leaf, its value.
    threshold: T,
    feature: u32,
    /// Twice the index of the first child, and 1. Of a leaf, twice its own index: a walk stays there.
    next: u32,
}

/// A branch or a leaf, by which a [`Forest`] is built.
#[derive(Clone, Copy, Debug)]
pub enum Place<T> {
    /// `feature <= threshold`: then the node `first` is next, otherwise the one after it.
    Branch { threshold: T, feature: u32, missing_is_true: bool, first: usize },
    /// A leaf, its value, and a number for the caller.
    Leaf { value: T, number: u32 },
}

/// Trees that were checked: each child is there, and is behind its parent.
#[derive(Debug)]
pub struct Forest<T> {
    nodes: Vec<Node<T>>,
    /// By node: the caller's number of a leaf.
    numbers: Vec<u32>,
    roots: Vec<u32>,
    /// How many features a row must have.
    features: usize,
    /// Whether any branch takes a missing feature as true.
    missing: bool,
}

impl<T: Copy + PartialOrd> Forest<T> {
    /// Checks trees.
    ///
    /// # Errors
    /// A node that is not there or not behind its parent, a root that is not there, or more nodes or
    /// features than 30 bits can number.
    pub fn new(places: &[Place<T>], roots: &[usize]) -> Result<Self, Unfit> {
        const WRONG: Unfit = Unfit("trees");
        let index = |index: usize| u32::try_from(index).ok().filter(|index| *index < 1 << 30).ok_or(WRONG);
        let (mut nodes, mut numbers) = (Vec::with_capacity(places.len()), Vec::with_capacity(places.len()));
        let (mut features, mut missing) = (1, false);
        for (own, place) in places.iter().enumerate() {
            let (node, number) = match *place {
                Place::Branch { threshold, feature, missing_is_true, first } => {
                    if first <= own || first + 1 >= places.len() || feature >= 1 << 30 {
                        return Err(WRONG);
                    }
                    features = features.max(feature as usize + 1);
                    missing |= missing_is_true;
                    let mark = if missing_is_true { MISSING } else { 0 };
                    (Node { threshold, feature: feature | mark, next: index(first)? << 1 | 1 }, u32::MAX)
                }
                Place::Leaf { value, number } => {
                    (Node { threshold: value, feature: 0, next: index(own)? << 1 }, number)
                }
            };
            nodes.push(node);
            numbers.push(number);
        }
        let roots = roots.iter().map(|root| index(*root)).collect::<Result<Vec<_>, _>>()?;
        if roots.iter().any(|root| *root as usize >= nodes.len()) {
            return Err(WRONG);
        }
        Ok(Self { nodes, numbers, roots, features, missing })
    }

    /// The value of a leaf.
    pub fn value(&self, leaf: u32) -> T {
        self.nodes[leaf as usize].threshold
    }

    /// The caller's number of a leaf.
    pub fn number(&self, leaf: u32) -> u32 {
        self.numbers[leaf as usize]
    }

    /// The leaves that a row reaches in `N` trees from `first` on.
    ///
    /// # Errors
    /// A row with too few features, or trees that are not there.
    pub fn leaves_of_trees<const N: usize>(&self, first: usize, row: &[T]) -> Result<[u32; N], Unfit> {
        let roots = self.roots.get(first..).and_then(|roots| roots.first_chunk::<N>());
        self.walk(*roots.ok_or(Unfit("trees of a forest"))?, [0; N], row)
    }

    /// The leaves that `N` rows reach in a tree. The first row begins at `start`, the next ones `columns`
    /// features later each.
    ///
    /// # Errors
    /// Rows with too few features, or a tree that is not there.
    pub fn leaves_of_rows<const N: usize>(
        &self,
        tree: usize,
        rows: &[T],
        start: usize,
        columns: usize,
    ) -> Result<[u32; N], Unfit> {
        let root = *self.roots.get(tree).ok_or(Unfit("trees of a forest"))?;
        self.walk([root; N], std::array::from_fn(|row| start + row * columns), rows)
    }

    fn walk<const N: usize>(
        &self,
        starts: [u32; N],
        rows: [usize; N],
        values: &[T],
    ) -> Result<[u32; N], Unfit> {
        let is_there = |row: &usize| row.checked_add(self.features).is_some_and(|end| end <= values.len());
        if !rows.iter().all(is_there) {
            return Err(Unfit("rows of a forest"));
        }
        // SAFETY: the rows were checked, and `starts` are roots of this forest.
        Ok(unsafe {
            if self.missing {
                self.descend::<N, true>(starts, rows, values)
            } else {
                self.descend::<N, false>(starts, rows, values)
            }
        })
    }

    /// # Safety
    /// `at` are nodes that are there, and `values` has [`Self::features`] features from each row on.
    #[inline(always)]
    unsafe fn descend<const N: usize, const ANY_MISSING: bool>(
        &self,
        mut at: [u32; N],
        rows: [usize; N],
        values: &[T],
    ) -> [u32; N] {
        loop {
            let mut open = 0;
            for (at, row) in at.iter_mut().zip(rows) {
                // SAFETY: a node's children are there, as `new` checked, and so are the first nodes.
                let node = unsafe { *self.nodes.get_unchecked(*at as usize) };
                let feature = (node.feature & !MISSING) as usize;
                // SAFETY: the caller says that the row has all features.
                let value = unsafe { *values.get_unchecked(row + feature) };
                let is_below = value <= node.threshold;
                let is_false = if ANY_MISSING && node.feature & MISSING != 0 {
                    value > node.threshold
                } else {
                    !is_below
                };
                *at = (node.next >> 1) + (u32::from(is_false) & node.next);
                open |= node.next;
            }
            // Children are behind their parents, so a walk ends.
            if open & 1 == 0 {
                return at;
            }
        }
    }
}

//! Lists that give out their newest first and let go of any: nodes in one slab, linked both ways by index.

/// No node.
pub(super) const NONE: u32 = u32::MAX;

/// A socket in the row, as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    node: u32,
    /// Tells a node from the one that had its place before.
    serial: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Lists<T> {
    nodes: Vec<Node<T>>,
    /// The first node that is free; more follow by `next`.
    free: u32,
    first: Vec<u32>,
    len: usize,
}

#[derive(Clone, Debug)]
struct Node<T> {
    /// `None` in a node that is free.
    value: Option<T>,
    serial: u32,
    list: u32,
    previous: u32,
    next: u32,
}

impl<T> Lists<T> {
    pub(super) fn new(count: usize) -> Self {
        Self { nodes: Vec::new(), free: NONE, first: vec![NONE; count], len: 0 }
    }

    pub(super) fn push(&mut self, list: usize, value: T) -> Handle {
        let node = match self.free {
            NONE => {
                self.nodes.push(Node { value: None, serial: 0, list: NONE, previous: NONE, next: NONE });
                u32::try_from(self.nodes.len() - 1).expect("fewer sockets than four billion")
            }
            node => {
                self.free = self.nodes[node as usize].next;
                node
            }
        };
        self.nodes[node as usize].value = Some(value);
        let handle = Handle { node, serial: self.nodes[node as usize].serial };
        self.link(list, handle);
        handle
    }

    /// Puts a node that is in no list to the front of one.
    pub(super) fn link(&mut self, list: usize, handle: Handle) {
        let next = self.first[list];
        let node = &mut self.nodes[handle.node as usize];
        (node.list, node.previous, node.next) = (list as u32, NONE, next);
        if next != NONE {
            self.nodes[next as usize].previous = handle.node;
        }
        self.first[list] = handle.node;
        self.len += 1;
    }

    /// Takes a node out of its list and keeps it; false if it is not there any more.
    pub(super) fn unlink(&mut self, handle: Handle) -> bool {
        let Some(node) = self.nodes.get(handle.node as usize) else { return false };
        if node.serial != handle.serial || node.value.is_none() {
            return false;
        }
        let (list, previous, next) = (node.list, node.previous, node.next);
        match previous {
            NONE => self.first[list as usize] = next,
            previous => self.nodes[previous as usize].next = next,
        }
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
        self.len -= 1;
        true
    }

    pub(super) fn remove(&mut self, handle: Handle) -> Option<T> {
        if !self.unlink(handle) {
            return None;
        }
        let free = self.free;
        let node = &mut self.nodes[handle.node as usize];
        node.serial = node.serial.wrapping_add(1);
        node.next = free;
        self.free = handle.node;
        node.value.take()
    }

    pub(super) fn pop(&mut self, list: usize) -> Option<T> {
        let node = self.first(list);
        let serial = self.nodes.get(node as usize)?.serial;
        self.remove(Handle { node, serial })
    }

    pub(super) fn first(&self, list: usize) -> u32 {
        self.first[list]
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

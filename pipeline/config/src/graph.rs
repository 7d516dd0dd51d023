/// Most cycles that are reported: a person removes one at a time.
const MAX_CYCLES: usize = 16;

/// Finds cycles that share no node, each as its nodes in the direction of the edges.
pub(crate) fn cycles(n_nodes: usize, edges: &[(usize, usize)]) -> Vec<Vec<usize>> {
    let mut predecessors = vec![Vec::new(); n_nodes];
    let mut successors = vec![Vec::new(); n_nodes];
    for &(from, to) in edges {
        successors[from].push(to);
        predecessors[to].push(from);
    }
    let mut is_left = vec![true; n_nodes];
    let mut cycles = Vec::new();
    while cycles.len() < MAX_CYCLES {
        remove_unreached(&predecessors, &successors, &mut is_left);
        let Some(cycle) = walk_back(&predecessors, &is_left) else { break };
        for &node in &cycle {
            is_left[node] = false;
        }
        cycles.push(cycle);
    }
    cycles
}

/// Removes every node that no cycle leads to.
fn remove_unreached(predecessors: &[Vec<usize>], successors: &[Vec<usize>], is_left: &mut [bool]) {
    let n_predecessors = |node: usize| predecessors[node].iter().filter(|it| is_left[**it]).count();
    let mut n_left: Vec<usize> = (0..is_left.len()).map(n_predecessors).collect();
    let mut removable: Vec<usize> =
        (0..is_left.len()).filter(|node| is_left[*node] && n_left[*node] == 0).collect();
    while let Some(node) = removable.pop() {
        is_left[node] = false;
        for &successor in &successors[node] {
            n_left[successor] -= 1;
            if n_left[successor] == 0 && is_left[successor] {
                removable.push(successor);
            }
        }
    }
}

/// Follows edges backwards until a node comes again. Every node that is left has such an edge.
fn walk_back(predecessors: &[Vec<usize>], is_left: &[bool]) -> Option<Vec<usize>> {
    let mut node = is_left.iter().position(|it| *it)?;
    let mut path = Vec::new();
    let mut position = vec![None; is_left.len()];
    while position[node].is_none() {
        position[node] = Some(path.len());
        path.push(node);
        node = *predecessors[node].iter().find(|it| is_left[**it])?;
    }
    let mut cycle = path.split_off(position[node]?);
    cycle.reverse();
    Some(cycle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_has_no_cycle() {
        check(3, &[(0, 1), (1, 2)], &[]);
    }

    #[test]
    fn two_ways_to_one_end_are_no_cycle() {
        check(4, &[(0, 1), (0, 2), (1, 3), (2, 3)], &[]);
    }

    #[test]
    fn a_cycle_is_found_without_what_leads_to_it_and_from_it() {
        check(5, &[(0, 1), (1, 2), (2, 3), (3, 1), (3, 4)], &[&[2, 3, 1]]);
    }

    #[test]
    fn a_node_may_be_its_own_cycle() {
        check(2, &[(0, 1), (1, 1)], &[&[1]]);
    }

    #[test]
    fn separate_cycles_are_each_found() {
        check(4, &[(0, 1), (1, 0), (2, 3), (3, 2)], &[&[1, 0], &[3, 2]]);
    }

    #[track_caller]
    fn check(n_nodes: usize, edges: &[(usize, usize)], expected: &[&[usize]]) {
        assert_eq!(cycles(n_nodes, edges), expected);
    }
}
